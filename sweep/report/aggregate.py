"""From rates of single cells to what a table says: intervals, means over seeds, tests, the front.

Pure functions of numbers; nothing here knows of MLflow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sweep.evaluation.significance import holm, wilson

LEVEL = 0.05  # p below which a difference is called more than chance


@dataclass(frozen=True)
class Rate:
    """A rate and the ends of its 95 % interval, None where the number of images is not known."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """Whether it has an interval."""
        return self.low is not None and self.high is not None


def rate(value: float, images: int | None) -> Rate:
    """The rate of so many images, with its Wilson interval.

    >>> rate(0.9, 50)
    Rate(value=0.9, low=0.7864, high=0.9565)
    """
    if not images:
        return Rate(value)
    low, high = wilson(min(round(value * images), images), images)
    return Rate(value, round(float(low), 4), round(float(high), 4))


def over_seeds(rates: Sequence[Rate]) -> Rate:
    """The mean of one strategy's rates, from the lowest lower to the highest upper end.

    >>> over_seeds([Rate(0.25, 0.125, 0.5), Rate(0.75, 0.5, 0.875)])
    Rate(value=0.5, low=0.125, high=0.875)
    """
    lows = [one.low for one in rates if one.low is not None]
    highs = [one.high for one in rates if one.high is not None]
    value = fmean(one.value for one in rates)
    if len(lows) < len(rates):
        return Rate(value)
    return Rate(value, min(lows), max(highs))


def overlap(a: Rate, b: Rate) -> bool:
    """Whether two intervals have a value in common; where one is not known, they may."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True
    return a.low <= b.high and b.low <= a.high


@dataclass(frozen=True)
class Versus:
    """How the best strategy compares with another one: `p` in every seed, None: by intervals."""

    chance: bool
    p: float | None = None
    images: int = 0
    seeds: int = 1


def in_every_seed(tests: Sequence[tuple[float, float]]) -> float:
    """The p of a difference that every seed has, from (difference, p) of each seed.

    The largest p of the seeds: the difference is there in each of them. 1 where the seeds point in
    different ways. It assumes nothing of how alike the seeds are, and says nothing of other seeds.

    >>> in_every_seed([(-0.2, 0.01), (-0.1, 0.03)]), in_every_seed([(-0.2, 0.01), (0.1, 0.01)])
    (0.03, 1.0)
    """
    if not tests or len({difference > 0 for difference, _ in tests}) > 1:
        return 1.0
    return max(p for _, p in tests)


def versus(
    best: Rate, others: Sequence[Rate], tests: Sequence[tuple[float, int, int] | None]
) -> list[Versus]:
    """Whether each of the `others` differs from the best by more than chance.

    `tests` holds p, images and seeds of each where both say something of the same images (McNemar);
    these p are raised for their number, since the best was picked of all (Holm). Of the rest the
    intervals must not overlap.
    """
    known = [test for test in tests if test is not None]
    raised = iter(holm([p for p, *_ in known]).tolist())
    compared = []
    for other, test in zip(others, tests, strict=True):
        if test is None:
            compared.append(Versus(overlap(best, other)))
        else:
            p = next(raised)
            compared.append(Versus(p >= LEVEL, p, *test[1:]))
    return compared


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front of (accuracy, attack success), most accurate first, by places in `points`.

    Of these none is at least as accurate with less attack success.

    >>> front([(0.9, 0.5), (0.8, 0.6), (0.7, 0.1), (0.95, 1.0)])
    [3, 0, 2]
    """
    best, chosen = float("inf"), []
    order = sorted(range(len(points)), key=lambda at: (-points[at][0], points[at][1]))
    for at in order:
        if points[at][1] < best:
            best = points[at][1]
            chosen.append(at)
    return chosen
