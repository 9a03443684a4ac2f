"""The pick of a sweep: which cell a defender would take, who knows no poisoned image.

Defined here once, for the comparison and for whatever registers or searches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sweep.evaluation.significance import TOLERANCE
from sweep.results.cells import Cell

LARGEST_DROP = 0.02  # of B's accuracy on clean validation images, that a pick may cost
RESIDUAL = "repaired/reversed_trigger_success"
CORRUPTION = "repaired/corruption_success"
EXCESS = "repaired/corruption_excess"
ASR = "repaired/attack_success_rate"
NOT_COMPUTED = (
    "No pick: triggers were not reversed anew in B'; give recheck=true, and the comparison names "
    "the cell on which they do least."
)
NONE_SAFE = (
    "No pick: no defender's cell with recheck=true is at most {:g} points below B on clean "
    "validation images."
)


@dataclass(frozen=True)
class Proxy:
    """What stands in for attack success, which no defender knows: rates that clean images tell.

    Of several of the recheck's `metrics` the mean counts: the largest would be the one of them that
    does its most on every network, and hide what the other tells. `sentence` says what is least.
    """

    metrics: Sequence[str]
    sentence: str

    def of(self, metrics: Mapping[str, float]) -> float | None:
        """The proxy of a cell's metrics, in 0..1; None where one of them is not known."""
        known = [metrics[name] for name in self.metrics if name in metrics]
        return fmean(known) if len(known) == len(self.metrics) else None


REVERSED = Proxy([RESIDUAL], "reversed triggers do least there")
BOTH = Proxy(
    [RESIDUAL, EXCESS],
    "reversed triggers do least there, and corruptions least for one class alone, in the mean",
)


@dataclass(frozen=True)
class Pick:
    """The cell that is picked, None where there is none, and a sentence on it.

    rank: its place among the defenders' cells by the attack success that is left, 1 the lowest;
    None where that is not known. of: how many cells that is among.
    """

    cell: Cell | None
    sentence: str
    rank: int | None = None
    of: int = 0


def pick(cells: Sequence[Cell], by: Proxy = REVERSED, largest_drop: float = LARGEST_DROP) -> Pick:
    """Pick among the defenders' cells at most `largest_drop` below B on clean validation images.

    Taken is the one on which the proxy, found anew in its B', is least; of equal ones the more
    accurate on clean validation images. Never is attack success looked at.
    """
    defenders = [cell for cell in cells if cell.finished and not cell.oracle]
    known = [(cell, by.of(cell.metrics)) for cell in defenders]
    computed = [(cell, proxy) for cell, proxy in known if proxy is not None]
    if not computed:
        return Pick(None, NOT_COMPUTED)
    safe = [(cell, proxy) for cell, proxy in computed if drop(cell) <= largest_drop + TOLERANCE]
    if not safe:
        return Pick(None, NONE_SAFE.format(100 * largest_drop))
    best, least = min(safe, key=lambda one: (one[1], drop(one[0]), one[0].job))
    success = [cell.metrics[ASR] for cell in defenders if ASR in cell.metrics]
    sentence = (
        f"The pick is cell {best.job}: of the {len(safe)} defenders' cells at most "
        f"{100 * largest_drop:g} points below B on clean validation images, {by.sentence} "
        f"({100 * least:.1f} % of the images)."
    )
    if ASR not in best.metrics:
        return Pick(best, sentence)
    rank = 1 + sum(rate < best.metrics[ASR] for rate in success)
    sentence += f" By true attack success, which no defender knows, its place is {rank} of "
    return Pick(best, f"{sentence}{len(success)}.", rank, len(success))


def drop(cell: Cell) -> float:
    """Return how far B' is below B on clean validation images."""
    return cell.metrics["badnet/valid_accuracy"] - cell.metrics["repaired/valid_accuracy"]
