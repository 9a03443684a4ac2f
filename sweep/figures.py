"""Pictures: a pruning curve, the channels' mean activations, the cells of a sweep side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sweep.curve import Rates
from sweep.orders import Channels

BLUE, SKY, RED, ORANGE, GREEN, GREY = (
    "#0072b2",
    "#56b4e9",
    "#d55e00",
    "#e69f00",
    "#009e73",
    "#777777",
)  # Okabe and Ito's palette, told apart by colour-blind readers too

#: Rates of a curve, panel by panel: name, legend, colour, line.
PANELS = {
    "B'": (
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
    ("goodnet/clean_accuracy", "G clean accuracy", SKY, "s"),
    ("repaired/attack_success_rate", "B' attack success", RED, "o"),
    ("goodnet/attack_success_rate", "G attack success", ORANGE, "s"),
    ("goodnet/detection_rate", "G poisoned flagged", GREEN, "^"),
    ("goodnet/false_alarm_rate", "G clean flagged", GREY, "v"),
)
MOST_MAPS = 144  # more small maps than this cannot be told apart


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
        panel.legend(loc="center left", fontsize="small")
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
    figure = Figure(figsize=(columns * 0.8, rows * 0.95 + 0.8), layout="constrained")
    missing = f", the first {len(shown)} of {len(channels)}" if len(shown) < len(channels) else ""
    figure.suptitle(f"{title}\nmean activation in pruning order{missing}; framed: pruned")
    grid = figure.subplots(rows, columns, squeeze=False)
    top = float(means.max()) or 1.0
    for panel in grid.flat:
        panel.set_axis_off()
    for place, (panel, channel) in enumerate(zip(grid.flat, shown, strict=False)):
        image = panel.imshow(means[..., channel], vmin=min(0.0, float(means.min())), vmax=top)
        panel.set_title(str(channel), fontsize="small", pad=2)
        if place < step:
            frame = Rectangle((0, 0), 1, 1, transform=panel.transAxes, fill=False, clip_on=False)
            panel.add_patch(frame)
            frame.set(edgecolor=RED, linewidth=2)
    figure.colorbar(image, ax=grid, label="mean activation", shrink=0.8)
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
    figure = Figure(figsize=(9, 1.8 + 0.35 * len(names)), layout="constrained")
    panel = figure.subplots()
    for key, label, colour, marker in MARKS:
        found = [(cell[key], row) for row, cell in enumerate(cells) if key in cell]
        if found:
            panel.plot(*zip(*found, strict=True), marker, color=colour, label=label, alpha=0.85)
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(-0.02, 1.02)
    panel.set_title(title)
    panel.grid(alpha=0.3)
    _percent(panel, "x", "share of images")
    panel.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.9 / (0.6 + 0.35 * len(names))), ncols=3
    )
    return figure


def _percent(panel: Axes, axis: str, label: str) -> None:
    getattr(panel, f"{axis}axis").set_major_formatter(PercentFormatter(1.0))
    panel.set(**{f"{axis}label": label})
    if axis == "y":
        panel.set_ylim(-0.02, 1.02)
