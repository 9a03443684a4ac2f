"""A verdict as pictures: its signs, and reversed triggers and the class that stands out by them.

Arrays in, a figure out; what they hold is told in `inversion.ReversedTriggers`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from sweep.evaluation.outliers import OUTLIER
from sweep.results.figures.run import BLUE, GREY, RED
from sweep.results.figures.signs import draw_signs

if TYPE_CHECKING:
    from sweep.inspection import Verdict

WIDTH = 11.4  # inches
SHOWN = 8  # triggers, the smallest first
NAMED = 5  # outliers that bear their class's number


def draw_reversed_triggers(
    image: NDArray[np.floating],
    classes: NDArray[np.integer],
    sizes: NDArray[np.floating],
    indices: NDArray[np.floating],
    masks: NDArray[np.floating],
    paints: NDArray[np.floating],
    limits: tuple[float, float] | NDArray[np.floating],
    title: str = "",
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """The figure of the smallest triggers: on `image`, alone, and where they lie.

    It is drawn in `figure`, where one is given. `image` is (height, width, channels). Below them
    are `indices`, how far each class stands out. Where nothing is covered (additive triggers) the
    trigger alone is what it adds to grey, brightened as told, and its place is how far it moves.
    """
    order = np.argsort(sizes, kind="stable")[:SHOWN]
    low, high = map(float, limits)
    covers, span = bool(np.any(masks)), high - low
    gain = 1.0 if covers else span / (2 * max(float(abs(paints[order]).max()), 1e-6 * span))
    figure = figure or Figure(figsize=(WIDTH, 7.4), layout="constrained")
    figure.suptitle(title)
    above, below = figure.subfigures(2, 1, height_ratios=(2.1, 1), squeeze=False)[:, 0]
    axs = above.subplots(3, SHOWN, squeeze=False)
    names = ("trigger", "mask") if covers else (f"change x {gain:.1f}", "how far")
    for row, name in zip(axs, ("stamped", *names), strict=True):
        row[0].set_ylabel(name)
    for column, place in zip(axs.T, order, strict=False):
        mask, paint = masks[place], paints[place]
        stamped = (np.clip((1 - mask) * image + paint, low, high) - low) / span
        trigger = (paint - low * mask) / span if covers else 0.5 + gain * paint / span
        extent = mask if covers else 2 * gain * abs(paint).max(axis=2, keepdims=True) / span
        for ax, picture in zip(column, (stamped, trigger, extent), strict=True):
            _show_image(ax, picture)
        colour = RED if indices[place] > OUTLIER else "black"
        heading = f"class {classes[place]}\nsize {sizes[place]:.2g}\nindex {indices[place]:.1f}"
        column[0].set_title(heading, fontsize="small", color=colour)
    for column in axs.T[len(order) :]:
        for ax in column:
            ax.set_axis_off()
    _draw_indices(below.subplots(), np.asarray(classes), indices)
    return figure


def _show_image(ax: Axes, picture: NDArray[np.floating]) -> None:
    coloured = picture.shape[2] in (3, 4)
    shown = np.clip(picture if coloured else picture[..., 0], 0, 1)
    ax.imshow(shown, "gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])


def _draw_indices(ax: Axes, classes: NDArray[np.integer], indices: NDArray[np.floating]) -> None:
    """A bar for each class up or down to its index; those that were not found have none."""
    shown = np.nan_to_num(indices, nan=0, posinf=0, neginf=0)
    outliers = indices > OUTLIER
    ax.bar(classes, shown, width=0.8, color=np.where(outliers, RED, BLUE))
    ax.axhline(OUTLIER, color=GREY, linestyle="--", linewidth=1)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.annotate(
        f"above {OUTLIER:g} a class stands out", (1, OUTLIER), (-4, 3),
        xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", va="bottom", color=GREY, fontsize="small",
    )  # fmt: skip
    for place in np.argsort(-shown, kind="stable")[:NAMED]:
        if outliers[place]:
            ax.annotate(
                str(classes[place]), (classes[place], shown[place]), (0, 2), color=RED,
                textcoords="offset points", ha="center", va="bottom", fontsize="small",
            )  # fmt: skip
    ax.set(
        xlabel="class",
        ylabel="anomaly index",
        xlim=(min(classes) - 1, max(classes) + 1),
        ylim=(min(-1.0, 1.1 * shown.min()), 1.2 * max(shown.max(), 1.3 * OUTLIER)),
    )
    ax.grid(axis="y", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def draw_verdict(verdict: Verdict, layer: str) -> Figure:
    """The figure of what corruptions do, of reversed triggers, and of what pruning costs.

    Each only where it was asked for, or could be told. The costs are by order and at `layer`:
    points of clean accuracy that B' loses, and the share of clean images on which it differs from
    B.
    """
    costs = [
        (cost.order, verdict.accuracy - cost.accuracy, cost.differs)
        for cost in verdict.costs
        if cost.accuracy is not None and cost.differs is not None
    ]
    where = f" Pruning at {layer}." if costs else ""
    heights = [5.6] * bool(verdict.corruptions) + [6.6] * len(verdict.triggers)
    if costs:
        heights.append(1 + 0.24 * len(costs))
    figure = Figure(figsize=(WIDTH, sum(heights, start=0.6)), layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(verdict.sentence + where, 110)))
    if not heights:
        return figure
    parts = iter(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if verdict.corruptions:
        draw_signs(verdict, next(parts))
    for kind, triggers in verdict.triggers.items():
        draw_reversed_triggers(
            verdict.image,
            triggers.classes,
            triggers.sizes,
            verdict.indices[kind],
            triggers.masks,
            triggers.paints,
            triggers.pixel_range,
            title=f"reversed triggers: {kind}",
            figure=next(parts),
        )
    if costs:
        _draw_costs(next(parts).subplots(), costs)
    return figure


def _draw_costs(ax: Axes, costs: Sequence[tuple[str, float, float]]) -> None:
    """Two bars an order."""
    names, lost, differs = zip(*costs, strict=True)
    places = np.arange(len(names))
    ax.barh(places - 0.2, lost, 0.4, color=BLUE, label="clean accuracy lost")
    ax.barh(places + 0.2, differs, 0.4, color=GREY, label="clean images: B and B' differ")
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_title("what each order would cost at this stop", loc="left")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize="small")
