"""What corruptions do to a network beside another one, as pictures.

Arrays in, a figure out; what they hold is told in `evaluation.suspicion`.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from sweep.results.figures.run import RED

if TYPE_CHECKING:
    from sweep.evaluation.suspicion import Sign
    from sweep.inspection import Verdict

SHOWN = 5  # corruptions, the most suspicious of each class


def draw_signs(verdict: Verdict, figure: Figure | SubFigure) -> None:
    """Draw a clean image, the most suspicious corruptions of it, and all differences below."""
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25), squeeze=False)[:, 0]
    axs = above.subplots(1, 1 + SHOWN, squeeze=False)[0]
    low, high = verdict.pixel_range
    _show(axs[0], (verdict.image - low) / max(high - low, 1e-9), "clean")
    shown = verdict.strongest[:SHOWN]
    for ax, sign in zip(axs[1:], shown, strict=False):
        is_suspicious = any(sign is suspect for suspect in verdict.suspects)
        _show(ax, verdict.corrupted(sign), _heading(sign), RED if is_suspicious else "black")
    for ax in axs[1 + len(shown) :]:
        ax.set_axis_off()
    _draw_differences(below, verdict)


def _heading(sign: Sign) -> str:
    into = "many classes" if sign.cls is None else f"class {sign.cls}"
    shares = f"{100 * sign.share:.0f} %, anew {100 * sign.reference:.0f} %"
    return f"{sign.family.replace('_', ' ')}\n{into}: {shares}\nscore {sign.score:.1f}"


def _show(ax: Axes, picture: np.ndarray, heading: str, colour: str = "black") -> None:
    coloured = picture.shape[2] in (3, 4)
    ax.imshow(np.clip(picture if coloured else picture[..., 0], 0, 1), "gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.set_title(heading, fontsize="small", color=colour)


def _draw_differences(figure: SubFigure, verdict: Verdict) -> None:
    """A row a family, a column a class, at the right over all classes: suspect less reference."""
    families = list(verdict.corruptions)
    found = verdict.corruptions.values()
    differences = np.array([each.shares - each.reference for each in found])
    classes = differences.shape[1] - 1
    ax = figure.subplots()
    picture = ax.imshow(100 * differences, "RdBu_r", vmin=-100, vmax=100, aspect="auto")
    figure.colorbar(picture, ax=ax, label="points", shrink=0.9)
    for sign in verdict.suspects:
        column = classes if sign.cls is None else sign.cls
        corner = (column - 0.5, families.index(sign.family) - 0.5)
        ax.add_patch(
            Rectangle(corner, 1, 1, fill=False, edgecolor=RED, linewidth=1.5, clip_on=False)
        )
    ax.set_yticks(range(len(families)), [family.replace("_", " ") for family in families])
    ticks = [*range(0, classes - 1, max(1, round(classes / 20))), classes]
    ax.set_xticks(ticks, [*map(str, ticks[:-1]), "many"])
    ax.set_xlabel("class that images become")
    title = (
        "images that a corruption turns into a class: B less a network that learned them anew; "
        "framed: suspicious"
    )
    ax.set_title("\n".join(textwrap.wrap(title, 110)), loc="left", fontsize="medium")
