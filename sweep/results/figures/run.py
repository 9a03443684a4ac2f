"""Pictures of one cell: its attack, its pruning curve, the channels' mean activations."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sweep.evaluation import PruningCurve
from sweep.evaluation.curve import Channels, Steps
from sweep.evaluation.significance import wilson

# Okabe and Ito's palette, told apart by colour-blind readers too
BLUE, SKY, RED, GREEN, GREY = "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#777777"

#: The rates of a curve in each of its two axes, by title: name, legend, colour, line style.
SUBPLOTS = {
    "B' (at 0: B)": (
        ("valid_accuracy", "clean validation accuracy", SKY, "--"),
        ("clean_accuracy", "clean test accuracy", BLUE, "-"),
        ("attack_success_rate", "attack success rate", RED, "-"),
    ),
    "GoodNet (B and B')": (
        ("goodnet_accuracy", "clean test accuracy", BLUE, "-"),
        ("goodnet_attack_success_rate", "attack success rate", RED, "-"),
        ("goodnet_detection_rate", "poisoned images flagged", GREEN, "-"),
        ("goodnet_false_alarm_rate", "clean images flagged", GREY, ":"),
    ),
}

#: Images, the same ones poisoned, and the true class and the target of each.
Examples = tuple[NDArray[np.floating], NDArray[np.floating], Sequence[tuple[int, int]]]
MOST_MAPS = 144  # more small maps than this cannot be told apart
GAP = 3  # pixels between two of them, for the channel's number


def draw_cell(
    curve: PruningCurve,
    step: int,
    means: Mapping[str, NDArray[np.floating]],
    locate: Callable[[int], tuple[str, int]],
    order: str,
) -> dict[str, Figure]:
    """The figures of one cell by their file names.

    `means` are the mean maps of each layer, (..., channels); `locate` gives a channel's layer and
    its number there.
    """
    layers = ", ".join(means) if len(means) < 4 else f"{len(means)} layers"
    count, at_a_time = len(curve.channels), int(curve.steps[1])
    some = f", {at_a_time} at a time" if at_a_time > 1 else ""
    title = f"{layers}, {count} channels{some}, order {order}"
    drawn = draw_curve(curve.steps, curve.rates, curve.images, step, title)
    figures = {"figures/curve.png": drawn}
    located = [locate(channel) for channel in curve.channels.tolist()]
    for layer, maps in means.items():
        channels = np.array([channel for place, channel in located if place == layer])
        pruned = sum(place == layer for place, _ in located[:step])
        if len(means) == 1:
            figures["figures/activations.png"] = draw_activations(maps, channels, pruned, title)
        else:
            figure = draw_activations(maps, channels, pruned, f"{layer}: {title}")
            figures[f"figures/activations/{layer}.png"] = figure
    return figures


def draw_channels(means: Mapping[str, NDArray[np.floating]]) -> dict[str, Figure]:
    """The figures of each layer's mean maps, (..., channels), by number; by their file names."""
    return {
        "channels.png" if len(means) == 1 else f"channels/{layer}.png": draw_activations(
            maps, np.arange(maps.shape[-1]), None, f"{layer}, {maps.shape[-1]} channels"
        )
        for layer, maps in means.items()
    }


def draw_curve(
    steps: Steps,
    rates: Mapping[str, NDArray[np.floating]],
    images: Mapping[str, int],
    step: int,
    title: str,
) -> Figure:
    """The figure of each rate, with its 95 % interval, against channels pruned, and the stop.

    `rates` are those of a curve by name, (steps,), `images` of how many each is a share.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    axs = figure.subplots(1, 2, sharey=True)
    for ax, (name, lines) in zip(axs, SUBPLOTS.items(), strict=True):
        for key, label, colour, style in lines:
            if key in rates:
                ax.plot(steps, rates[key], style, color=colour, label=label, linewidth=2)
                n = images[key]
                low, high = wilson(np.rint(rates[key] * n), n)
                ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.axvline(step, color="black", linewidth=1, label=f"stop: {step} pruned")
        ax.set(title=name, xlabel="channels pruned", xlim=(0, steps[-1]))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.legend(loc="best", fontsize="small")
    percent_axis(axs[0], "y", "share of images")
    return figure


def draw_activations(
    means: NDArray[np.floating], channels: Channels, step: int | None, title: str
) -> Figure:
    """The figure of the channels' mean maps as they are pruned; those pruned at `step` are framed.

    With `step` None `channels` stand by their numbers, as in every order. `means` is (height,
    width, channels), or (channels,) for a layer without positions.
    """
    if means.ndim != 3:
        return _draw_bars(means.reshape(-1, means.shape[-1]).mean(axis=0), channels, step, title)
    shown = channels[:MOST_MAPS]
    columns = min(len(shown), 12)
    rows = -(-len(shown) // columns)
    height, width = means.shape[0] + GAP, means.shape[1] + GAP
    mosaic = np.full((rows * height, columns * width), np.nan)
    figure = Figure(figsize=(columns * 0.8 + 1, rows * 0.8 * height / width + 1))
    ax = figure.add_axes((0.02, 0.02, 0.88, 1 - 0.9 / figure.get_figheight()))
    for place, channel in enumerate(shown):
        top, left = place // columns * height + GAP, place % columns * width
        mosaic[top : top + height - GAP, left : left + width - GAP] = means[..., channel]
        ax.text(left + (width - GAP) / 2, top - 0.9, str(channel), ha="center", fontsize="small")
        if place < (step or 0):
            corner = (left - 0.5, top - 0.5)
            ax.add_patch(
                Rectangle(corner, width - GAP, height - GAP, fill=False, edgecolor=RED, linewidth=2)
            )
    image = ax.imshow(mosaic, aspect="auto", vmin=min(0.0, float(means.min())))
    ax.margins(0.01)
    ax.set_axis_off()
    missing = f", the first {len(shown)} of {len(channels)}" if len(shown) < len(channels) else ""
    ordered = "by number" if step is None else "in pruning order"
    framed = "" if step is None else "; framed: pruned"
    ax.set_title(f"{title}\nmean activation {ordered}{missing}{framed}", pad=12)
    bar = figure.add_axes((0.92, 0.2, 0.015, 0.5))
    figure.colorbar(image, cax=bar, label="mean activation")
    return figure


def _draw_bars(
    means: NDArray[np.floating], channels: Channels, step: int | None, title: str
) -> Figure:
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(channels))
    ax.bar(places, means[channels], color=np.where(places < (step or 0), RED, BLUE))
    ax.set(title=title, xlabel="channel", ylabel="mean activation")
    if step is not None:
        ax.set(title=f"{title}; red: pruned", xlabel="place in pruning order")
    return figure


def draw_attack(examples: Examples | None) -> dict[str, Figure]:
    """The figure of clean images, of them poisoned, and of how far each pixel moved, by file name.

    `examples` are both, (n, height, width, channels), shown from their darkest pixel, or 0, to
    their brightest, and the true class and the target of each; None: there is no figure.
    """
    if examples is None:
        return {}
    clean, poisoned, classes = examples
    dark = min(0.0, float(clean.min()), float(poisoned.min()))
    span = max(float(clean.max()), float(poisoned.max()), dark + 1e-6) - dark
    moved = np.abs(poisoned - clean).max(axis=3, keepdims=True) / span
    gain = 1 / max(float(moved.max()), 1e-6)
    rows = {"clean": (clean - dark) / span, "poisoned": (poisoned - dark) / span}
    rows[f"change x {gain:.1f}"] = gain * moved
    figure = Figure(figsize=(1.5 * len(clean) + 0.4, 5.4), layout="constrained")
    axs = figure.subplots(len(rows), len(clean), squeeze=False)
    for row, (name, pictures) in zip(axs, rows.items(), strict=True):
        row[0].set_ylabel(name)
        for ax, picture in zip(row, np.clip(pictures, 0, 1), strict=True):
            coloured = picture.shape[2] in (3, 4)
            ax.imshow(picture if coloured else picture[..., 0], "gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
    for ax, (true, target) in zip(axs[0], classes, strict=True):
        ax.set_title(f"class {true} as {target}", fontsize="small")
    return {"attack.png": figure}


def draw_flagged(
    pictures: Mapping[str, NDArray[np.floating]], titles: Mapping[str, Sequence[str]]
) -> Figure:
    """The figure of flagged images: a row of each kind, each image under its title.

    `pictures` are (n, height, width, channels) by kind, shown from their darkest pixel, or 0, to
    their brightest; n may be 0 and differs between kinds.
    """
    every = [values for values in pictures.values() if len(values)]
    dark = min([0.0, *(float(values.min()) for values in every)])
    span = max([dark + 1e-6, *(float(values.max()) for values in every)]) - dark
    columns = max([1, *map(len, every)])
    figure = Figure(figsize=(1.5 * columns + 0.4, 1.9 * len(pictures)), layout="constrained")
    axs = figure.subplots(len(pictures), columns, squeeze=False)
    for row, (kind, values) in zip(axs, pictures.items(), strict=True):
        row[0].set_ylabel(kind)
        for ax in row:
            ax.set(xticks=[], yticks=[])
        for ax in row[len(values) :]:
            ax.set_frame_on(False)
        for ax, picture, title in zip(row, (values - dark) / span, titles[kind], strict=False):
            coloured = picture.shape[2] in (3, 4)
            ax.imshow(picture if coloured else picture[..., 0], "gray", vmin=0, vmax=1)
            ax.set_title(title, fontsize="small")
    return figure


def percent_axis(ax: Axes, axis: str, label: str) -> None:
    """Show rates in % on the "x" or the "y" axis, from 0 to 100 % with some room for marks."""
    getattr(ax, f"{axis}axis").set_major_formatter(PercentFormatter(1.0))
    ax.set(**{f"{axis}label": label, f"{axis}lim": (-0.02, 1.02)})
