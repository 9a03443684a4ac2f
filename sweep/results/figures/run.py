"""Pictures of one cell: its attack, its pruning curve, the channels' mean activations."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sweep.evaluation import PruningCurve
from sweep.evaluation.curve import Channels
from sweep.evaluation.significance import wilson

# Okabe and Ito's palette, told apart by colour-blind readers too
BLUE, SKY, RED, GREEN, GREY = "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#777777"

#: Rates of a curve, panel by panel: name, legend, colour, line.
PANELS = {
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

MOST_MAPS = 144  # more small maps than this cannot be told apart
GAP = 3  # pixels between two of them, for the channel's number


def of_cell(
    pruned: PruningCurve,
    step: int,
    means: Mapping[str, NDArray[np.floating]],
    named: Callable[[int], tuple[str, int]],
    order: str,
) -> dict[str, Figure]:
    """The figures of one cell by their file names.

    `means` are the mean maps of each layer, (..., channels); `named` tells of a channel its layer
    and its number there.
    """
    layers = ", ".join(means) if len(means) < 4 else f"{len(means)} layers"
    title = f"{layers}, {len(pruned.channels)} channels, order {order}"
    figures = {"figures/curve.png": curve(pruned, step, title)}
    places = list(map(named, pruned.channels.tolist()))
    for layer, maps in means.items():
        own = np.array([channel for place, channel in places if place == layer])
        gone = sum(place == layer for place, _ in places[:step])
        name = "activations" if len(means) == 1 else f"activations/{layer}"
        head = title if len(means) == 1 else f"{layer}: {title}"
        figures[f"figures/{name}.png"] = activations(maps, own, gone, head)
    return figures


def curve(pruned: PruningCurve, step: int, title: str) -> Figure:
    """Every rate and its 95 % interval against channels pruned, B' beside GoodNet, and the stop."""
    figure, rates = Figure(figsize=(10, 4), layout="constrained"), pruned.rates
    figure.suptitle(title)
    axes = figure.subplots(1, 2, sharey=True)
    for panel, (name, lines) in zip(axes, PANELS.items(), strict=True):
        for key, label, colour, line in lines:
            if key in rates:
                panel.plot(rates[key], line, color=colour, label=label, linewidth=2)
                low, high = wilson(np.rint(rates[key] * pruned.images[key]), pruned.images[key])
                panel.fill_between(range(len(low)), low, high, color=colour, alpha=0.2, linewidth=0)
        panel.axvline(step, color="black", linewidth=1, label=f"stop: {step} pruned")
        panel.set(title=name, xlabel="channels pruned", xlim=(0, len(rates["valid_accuracy"]) - 1))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.legend(loc="best", fontsize="small")
    percent(axes[0], "y", "share of images")
    return figure


def activations(means: NDArray[np.floating], channels: Channels, step: int, title: str) -> Figure:
    """The channels' mean maps in the order pruned; those pruned at `step` are framed.

    `means` is (height, width, channels), or (channels,) for a layer without positions.
    """
    if means.ndim != 3:
        return _bars(means.reshape(-1, means.shape[-1]).mean(axis=0), channels, step, title)
    shown = channels[:MOST_MAPS]
    columns = min(len(shown), 12)
    rows = -(-len(shown) // columns)
    height, width = means.shape[0] + GAP, means.shape[1] + GAP
    mosaic = np.full((rows * height, columns * width), np.nan)
    figure = Figure(figsize=(columns * 0.8 + 1, rows * 0.8 * height / width + 1))
    panel = figure.add_axes((0.02, 0.02, 0.88, 1 - 0.9 / figure.get_figheight()))
    for place, channel in enumerate(shown):
        top, left = place // columns * height + GAP, place % columns * width
        mosaic[top : top + height - GAP, left : left + width - GAP] = means[..., channel]
        panel.text(left + (width - GAP) / 2, top - 0.9, str(channel), ha="center", fontsize="small")
        if place < step:
            corner = (left - 0.5, top - 0.5)
            panel.add_patch(
                Rectangle(corner, width - GAP, height - GAP, fill=False, edgecolor=RED, linewidth=2)
            )
    image = panel.imshow(mosaic, aspect="auto", vmin=min(0.0, float(means.min())))
    panel.margins(0.01)
    panel.set_axis_off()
    missing = f", the first {len(shown)} of {len(channels)}" if len(shown) < len(channels) else ""
    panel.set_title(f"{title}\nmean activation in pruning order{missing}; framed: pruned", pad=12)
    bar = figure.add_axes((0.92, 0.2, 0.015, 0.5))
    figure.colorbar(image, cax=bar, label="mean activation")
    return figure


def _bars(means: NDArray[np.floating], channels: Channels, step: int, title: str) -> Figure:
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    panel = figure.subplots()
    places = np.arange(len(channels))
    panel.bar(places, means[channels], color=np.where(places < step, RED, BLUE))
    panel.set(
        title=f"{title}; red: pruned", xlabel="place in pruning order", ylabel="mean activation"
    )
    return figure


def attack(
    clean: NDArray[np.floating],
    poisoned: NDArray[np.floating],
    classes: Sequence[tuple[int, int]],
) -> Figure:
    """Clean images, the poisoned ones made of them, and below how far each pixel moved.

    Both are (n, height, width, channels), shown from their darkest pixel, or 0, to their brightest;
    `classes` are the true class and the target of each.
    """
    dark = min(0.0, float(clean.min()), float(poisoned.min()))
    span = max(float(clean.max()), float(poisoned.max()), dark + 1e-6) - dark
    moved = np.abs(poisoned - clean).max(axis=3, keepdims=True) / span
    gain = 1 / max(float(moved.max()), 1e-6)
    rows = {"clean": (clean - dark) / span, "poisoned": (poisoned - dark) / span}
    rows[f"change x {gain:.1f}"] = gain * moved
    figure = Figure(figsize=(1.5 * len(clean) + 0.4, 5.4), layout="constrained")
    panels = figure.subplots(len(rows), len(clean), squeeze=False)
    for line, (name, pictures) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for panel, picture in zip(line, np.clip(pictures, 0, 1), strict=True):
            coloured = picture.shape[2] in (3, 4)
            panel.imshow(picture if coloured else picture[..., 0], "gray", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
    for panel, (true, target) in zip(panels[0], classes, strict=True):
        panel.set_title(f"class {true} as {target}", fontsize="small")
    return figure


def percent(panel: Axes, axis: str, label: str) -> None:
    """Show rates in % on the "x" or the "y" axis, from 0 to 100 % with some room for marks."""
    getattr(panel, f"{axis}axis").set_major_formatter(PercentFormatter(1.0))
    panel.set(**{f"{axis}label": label, f"{axis}lim": (-0.02, 1.02)})
