"""Pictures of a whole sweep: its cells side by side, and what each order trades for the attack.

Orders that need poisoned images are oracles, marked †. `random` is the control.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sweep.results.cells import ORACLE
from sweep.results.figures.run import BLUE, GREEN, GREY, RED, SKY, percent_axis

#: Metrics of a cell in the comparison: name, legend, colour, marker, size.
MARKS = (
    ("repaired/clean_accuracy", "B' clean accuracy", BLUE, "o", 6),
    ("goodnet/clean_accuracy", "G clean accuracy", BLUE, "s", 10),
    ("repaired/attack_success_rate", "B' attack success", RED, "o", 6),
    ("goodnet/attack_success_rate", "G attack success", RED, "s", 10),
    ("goodnet/detection_rate", "G poisoned flagged", GREEN, "^", 6),
    ("goodnet/false_alarm_rate", "G clean flagged", GREY, "v", 6),
)
ROW = 0.35  # inches that a row of the comparison takes, where there are few
ROWS = 27.0  # inches that all of them take at most
MOST_ROWS = 300  # more rows than this cannot be read

Style = str | tuple[int, tuple[float, ...]]  # of a line, as matplotlib takes it

# What tells orders apart: Okabe and Ito's colours, in every line style
COLOURS = (BLUE, RED, GREEN, "#cc79a7", "#e69f00", SKY)
STYLES: tuple[Style, ...] = ("-", (0, (6, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
IDEAL = "#f0e442"  # the star in the corner where everyone wants to be
NOTE = {"ha": "center", "zorder": 8, "bbox": {"color": "white", "alpha": 0.8, "pad": 1}}
ZOOM = 0.1  # clean accuracy that the near view of the trade-off spans below B's


@dataclass(frozen=True)
class CellRates:
    """One row of the comparison: `rates` by metric, a value a seed."""

    name: str
    rates: Mapping[str, Sequence[float]]
    oracle: bool = False
    control: bool = False


@dataclass(frozen=True)
class OrderCurves:
    """One order's curves, one a seed: channels pruned, clean test accuracy, attack success.

    Each is of shape (3, steps). `stops` are the steps that were chosen: number of the curve,
    channels pruned.
    """

    name: str
    curves: list[NDArray[np.float64]]
    stops: list[tuple[int, int]] = field(default_factory=list)
    oracle: bool = False
    control: bool = False


def draw_comparison(cells: Sequence[CellRates], title: str) -> Figure:
    """The figure of all rates, a row a cell: means over seeds, and lines from lowest to highest."""
    if len(cells) > MOST_ROWS:
        title += f", the first {MOST_ROWS} of {len(cells)}"
        cells = cells[:MOST_ROWS]
    height = min(ROW, ROWS / max(len(cells), 1))
    shrink = height / ROW  # below 1 where there are many
    figure = Figure(figsize=(9, 2.1 + height * len(cells)), layout="constrained")
    ax = figure.subplots()
    for row, cell in enumerate(cells):
        for key, _, colour, marker, size in MARKS:
            if key in cell.rates:
                seeds = np.asarray(cell.rates[key])
                ends = [seeds.min(), seeds.max()]
                size_here = size * max(shrink, 0.4) ** 0.5
                style = _marker_style(colour, marker, size_here, cell.oracle)
                ax.plot(ends, [row, row], color=colour, linewidth=1, gid=f"{key} over seeds")
                ax.plot(seeds.mean(), row, **style, clip_on=False, gid=key)
    ax.set_yticks(range(len(cells)), [_label(cell) for cell in cells])
    for label, cell in zip(ax.get_yticklabels(), cells, strict=True):
        label.set(color=GREY if cell.oracle else "black", fontsize=min(10, 16 * shrink))
    ax.set(ylim=(len(cells) - 0.5, -0.5), title=title)
    ax.grid(alpha=0.3)
    ax.tick_params(axis="x", top=shrink < 1, labeltop=shrink < 1)
    percent_axis(ax, "x", "share of images")
    figure.legend(handles=_legend(cells), loc="outside lower center", ncols=3)
    return figure


def _legend(cells: Sequence[CellRates]) -> list[Line2D]:
    """What the marks of the comparison mean, those that are there."""
    handles = [
        Line2D([], [], **_marker_style(colour, marker, size, oracle=False), label=label)
        for key, label, colour, marker, size in MARKS
        if any(key in cell.rates for cell in cells)
    ]
    if any(len(set(seeds)) > 1 for cell in cells for seeds in cell.rates.values()):
        handles.append(Line2D([], [], color="black", linewidth=1, label="lowest to highest seed"))
    if any(cell.oracle for cell in cells):
        style = _marker_style(GREY, "o", 6, oracle=True)
        handles.append(Line2D([], [], **style, label=f"{ORACLE} hollow: oracle, no defence"))
    return handles


def _marker_style(colour: str, marker: str, size: float, oracle: bool) -> dict[str, Any]:
    """How one mark looks; GoodNet's square stands around that of B' and is always hollow."""
    hollow = oracle or marker == "s"
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "none",
        "markersize": size,
        "markerfacecolor": "none" if hollow else colour,
        "markeredgewidth": 1.0,
    }


def draw_tradeoff(orders: Sequence[OrderCurves], title: str) -> Figure:
    """The figure of attack success against clean test accuracy, of all steps and near B.

    The best corner is the lower right one: nothing of the accuracy lost, nothing of the attack
    left. Dots are the stops that were chosen.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    figure.suptitle(title)
    far, near = figure.subplots(1, 2, sharey=True)
    handles = []
    for order, style in zip(orders, _line_styles(orders), strict=True):
        dots = {"color": style["color"], "zorder": style["zorder"] + 1, "markersize": 6}
        dots["markerfacecolor"] = "white" if order.oracle else style["color"]
        for ax in (far, near):
            for number, (pruned, accuracy, attack) in enumerate(order.curves):
                ax.plot(accuracy, attack, **style, gid=order.name)
                chosen = np.isin(pruned, [step for curve, step in order.stops if curve == number])
                ax.plot(accuracy[chosen], attack[chosen], "o", **dots, gid="stops")
        thick = style | {"linewidth": 1.8}
        handles.append(Line2D([], [], **thick, label=_label(order, " (oracle)")))
    starts = np.array([curve[1:, 0] for order in orders for curve in order.curves])
    best = starts[:, 0].max()
    most = max(curve[1].max() for order in orders for curve in order.curves)
    for ax in (far, near):
        ax.plot(*np.unique(starts, axis=0).T, "D", color="black", zorder=7)
        ax.plot(best, 0, "*", color=IDEAL, mec="black", mew=0.6, ms=16, clip_on=False, zorder=8)
        ax.annotate("ideal", (best, 0), (0, 10), textcoords="offset points", **NOTE)
        ax.grid(alpha=0.3)
        percent_axis(ax, "x", "clean test accuracy of B' (better \u2192)")
    handles += [
        Line2D([], [], marker="o", color=GREY, linestyle="none", label="a stop that was chosen"),
        Line2D([], [], marker="D", color="black", linestyle="none", label="B, nothing pruned"),
    ]
    far.set_title("all steps")
    near.set(title=f"within {100 * ZOOM:.0f} points of B", xlim=(best - ZOOM, most + ZOOM / 20))
    percent_axis(far, "y", "attack success rate of B' (\u2190 better)")
    figure.legend(handles=handles, loc="outside right center", fontsize="small", handlelength=3.2)
    return figure


def _line_styles(orders: Sequence[OrderCurves]) -> list[dict[str, Any]]:
    """A line for each: the control grey, oracles black and broken, all others in colours."""
    colours = cycle((colour, style) for style in STYLES for colour in COLOURS)
    oracles, controls = cycle(STYLES[1:]), cycle(STYLES)
    line_styles = []
    for order in orders:
        width = 0.8 if len(order.curves) > 1 else 1.6
        if order.oracle:
            colour, style, zorder = "black", next(oracles), 4
        elif order.control:
            colour, style, zorder = GREY, next(controls), 1
        else:
            (colour, style), zorder = next(colours), 2
        line_styles.append(
            {"color": colour, "linestyle": style, "zorder": zorder, "linewidth": width}
        )
    return line_styles


def _label(drawn: CellRates | OrderCurves, oracle: str = "") -> str:
    """The name, and what it is for where it is no defence."""
    if drawn.oracle:
        return drawn.name + oracle
    return f"{drawn.name} (control)" if drawn.control else drawn.name
