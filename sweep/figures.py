"""Pictures: a pruning curve, the channels' mean activations, the cells of a sweep side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sweep.curve import PruningCurve, Rates
from sweep.orders import Channels

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

#: Metrics of a cell in the comparison: name, legend, colour, marker.
MARKS = (
    ("repaired/clean_accuracy", "B' clean accuracy", BLUE, "o"),
    ("goodnet/clean_accuracy", "G clean accuracy", BLUE, "s"),
    ("repaired/attack_success_rate", "B' attack success", RED, "o"),
    ("goodnet/attack_success_rate", "G attack success", RED, "s"),
    ("goodnet/detection_rate", "G poisoned flagged", GREEN, "^"),
    ("goodnet/false_alarm_rate", "G clean flagged", GREY, "v"),
)
MOST_MAPS = 144  # more small maps than this cannot be told apart
GAP = 3  # pixels between two of them, for the channel's number


def of_cell(
    pruned: PruningCurve, step: int, means: NDArray[np.floating], title: str
) -> dict[str, Figure]:
    """The figures of one cell by their file names; `means` are mean maps, (..., channels)."""
    return {
        "figures/curve.png": curve(pruned.rates, step, title),
        "figures/activations.png": activations(means, pruned.channels, step, title),
    }


def curve(rates: Rates, step: int, title: str) -> Figure:
    """Every rate against channels pruned, B' beside GoodNet, the chosen step marked."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, 2, sharey=True)
    for panel, (name, lines) in zip(axes, PANELS.items(), strict=True):
        for key, label, colour, line in lines:
            if key in rates:
                panel.plot(rates[key], line, color=colour, label=label, linewidth=2)
        panel.axvline(step, color="black", linewidth=1, label=f"stop: {step} pruned")
        panel.set(title=name, xlabel="channels pruned", xlim=(0, len(rates["valid_accuracy"]) - 1))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.legend(loc="best", fontsize="small")
    _percent(axes[0], "y", "share of images")
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


def comparison(names: Sequence[str], cells: Sequence[Mapping[str, float]], title: str) -> Figure:
    """One row a cell, one mark a rate; `cells` hold MLflow metrics, those missing are left out."""
    figure = Figure(figsize=(9, 2.1 + 0.35 * len(names)), layout="constrained")
    panel = figure.subplots()
    for key, label, colour, marker in MARKS:
        found = [(cell[key], row) for row, cell in enumerate(cells) if key in cell]
        if found:
            panel.plot(
                *zip(*found, strict=True),
                marker,
                color=colour,
                label=label,
                fillstyle="none" if marker == "s" else "full",
                markersize=10 if marker == "s" else 6,
            )
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(-0.02, 1.02)
    panel.set_title(title)
    panel.grid(alpha=0.3)
    _percent(panel, "x", "share of images")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _percent(panel: Axes, axis: str, label: str) -> None:
    getattr(panel, f"{axis}axis").set_major_formatter(PercentFormatter(1.0))
    panel.set(**{f"{axis}label": label})
    if axis == "y":
        panel.set_ylim(-0.02, 1.02)
