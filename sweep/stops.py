"""How many channels: a stop reads the curve on clean validation images and names one step.

A stop is a pure function `(curve: ValidCurve, ...) -> Stop`. A `ValidCurve` holds nothing but what
a defender can count on clean validation images, so a stop cannot look at test images or at attack
success. A criterion is looked for at the steps 1 .. channels - 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput

# Counts of images decide, never rounded rates: 0.02 * 3000 must mean 60 whatever its float says.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class ValidCurve:
    """The pruning curve on `images` clean validation images; arrays of shape (channels + 1,).

    Entry k is after k channels were pruned, entry 0 the untouched network B. All entries count
    images: `correct` are right, `newly_wrong` were right in B and are not now, `newly_right` the
    other way round, `differ` got another class than B gave.
    """

    images: int
    correct: NDArray[np.int64]
    newly_wrong: NDArray[np.int64]
    newly_right: NDArray[np.int64]
    differ: NDArray[np.int64]

    @classmethod
    def of(cls, predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> "ValidCurve":
        """Count `predicted`, shape (channels + 1, images), against `labels`, shape (images,)."""
        right = predicted == labels
        return cls(
            images=len(labels),
            correct=right.sum(axis=1),
            newly_wrong=(right[0] & ~right).sum(axis=1),
            newly_right=(~right[0] & right).sum(axis=1),
            differ=(predicted != predicted[0]).sum(axis=1),
        )

    @property
    def channels(self) -> int:
        return len(self.correct) - 1


@dataclass(frozen=True)
class Stop:
    """The chosen step (= channels pruned), and whether its criterion was met at all."""

    step: int
    reached: bool = True


def accuracy_drop(curve: ValidCurve, *, frac: float, keep: str = "breaching") -> Stop:
    """Stop where clean validation accuracy has dropped by at least `frac` (0.02 = 2 points).

    The lab's criterion: correct[0] - correct[k] >= frac * images. A rise is never a drop.
    `keep="breaching"` gives the first such step, `"safe"` the step before it (0 where the very
    first channel breaches). Where no candidate breaches: all but one channel, not reached.
    """
    _check(frac, keep)
    drop = curve.correct[0] - curve.correct[1 : curve.channels]
    breaching = np.flatnonzero((drop > 0) & (drop >= frac * curve.images - TOLERANCE)) + 1
    if not len(breaching):
        return Stop(curve.channels - 1, reached=False)
    return Stop(int(breaching[0]) - (keep == "safe"))


def channel_fraction(curve: ValidCurve, *, frac: float, keep: str = "breaching") -> Stop:
    """Stop after the share `frac` of the channels, whatever the accuracy.

    `keep="breaching"` rounds up, `"safe"` down; at most all but one channel.
    """
    _check(frac, keep)
    exact = frac * curve.channels
    step = math.floor(exact + TOLERANCE) if keep == "safe" else math.ceil(exact - TOLERANCE)
    return Stop(min(step, curve.channels - 1))


def _check(frac: float, keep: str) -> None:
    if not 0 < frac < 1:
        raise BadInput(f"prune.frac is {frac}; expected a fraction between 0 and 1 (0.02 = 2 %)")
    if keep not in ("breaching", "safe"):
        raise BadInput(f"prune.keep is {keep!r}; expected 'breaching' or 'safe'")
