"""Which of two versions of a GoodNet is the better one: the rule of the pick, between these two.

So it is decided by clean images alone (`results.pick`): a version takes the alias from another one
if the pick of both is the new one. Of equal ones the old stays, and one that could never be picked,
by an oracle, not rechecked, or more than 2 points below B, takes it from none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sweep.evaluation.significance import TOLERANCE
from sweep.results.cells import FINISHED, Cell
from sweep.results.pick import LARGEST_DROP, RESIDUAL, drop, pick

#: The metrics that the rule reads, which a version has as tags of the same names.
NUMBERS = (RESIDUAL, "badnet/valid_accuracy", "repaired/valid_accuracy")
THREAT_MODEL = "threat_model"
IMAGES = "data_digest"


@dataclass(frozen=True)
class Verdict:
    """Whether the new version is better than the old one, and why, to stand behind a colon."""

    better: bool
    why: str


def compare(new: Mapping[str, str], old: Mapping[str, str]) -> Verdict:
    """Compare two versions by their tags.

    >>> tags = {"badnet/valid_accuracy": "0.97", "repaired/valid_accuracy": "0.96"}
    >>> compare(tags | {RESIDUAL: "0.1"}, tags | {RESIDUAL: "0.4"}).why
    'reversed triggers do less on it, 10.0 % of the images against 40.0 %'
    """
    before, now = _cell(0, old), _cell(1, new)
    better = pick([before, now]).cell is now
    why = _why_better(now, before) if better else _why_not(now, before)
    same_images = old.get(IMAGES) == new.get(IMAGES)
    return Verdict(better, why if same_images else f"{why}; measured on other images")


def unfit(tags: Mapping[str, str]) -> str:
    """Return why the rule of the pick would never take a version; "" where it may."""
    return _unfit(_cell(0, tags))


def _cell(job: int, tags: Mapping[str, str]) -> Cell:
    """A version as the cell of a comparison, by its tags; a number that is none is not known."""
    metrics = {name: number for name in NUMBERS if (number := _number(tags.get(name))) is not None}
    if len(metrics) < len(NUMBERS):
        metrics.pop(RESIDUAL, None)
    return Cell(job, {}, status=FINISHED, metrics=metrics, threat_model=tags.get(THREAT_MODEL, ""))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def _unfit(cell: Cell) -> str:
    if cell.oracle:
        return "its order looked at poisoned images, which no defender has"
    if RESIDUAL not in cell.metrics:
        return "triggers were not reversed anew in its B' (recheck=true)"
    if drop(cell) > LARGEST_DROP + TOLERANCE:
        points = f"{100 * drop(cell):.2f}"
        return f"its B' is {points} points below B on clean validation images, and 2 are allowed"
    return ""


def _why_better(now: Cell, before: Cell) -> str:
    if reason := _unfit(before):
        return f"the rule of the pick does not take that one, as {reason}"
    if now.metrics[RESIDUAL] < before.metrics[RESIDUAL]:
        return f"reversed triggers do less on it, {_residuals(now, before)}"
    return f"reversed triggers do as much, and clean accuracy drops less, {_drops(now, before)}"


def _why_not(now: Cell, before: Cell) -> str:
    if reason := _unfit(now):
        return f"the rule of the pick does not take the new one, as {reason}"
    if now.metrics[RESIDUAL] > before.metrics[RESIDUAL]:
        return f"reversed triggers do more on the new one, {_residuals(now, before)}"
    if drop(now) > drop(before):
        return f"reversed triggers do as much, and clean accuracy drops more, {_drops(now, before)}"
    return "both are equal by the rule"


def _residuals(now: Cell, before: Cell) -> str:
    new, old = (100 * cell.metrics[RESIDUAL] for cell in (now, before))
    return f"{new:.1f} % of the images against {old:.1f} %"


def _drops(now: Cell, before: Cell) -> str:
    return f"{100 * drop(now):.2f} points against {100 * drop(before):.2f}"
