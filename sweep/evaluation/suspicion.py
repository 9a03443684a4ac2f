"""Whether what corruptions do to a network, beside one without a backdoor, tells of a backdoor.

Shares are those of clean images that a corruption turns into each class and, at the end, over all
classes (`training.corruptions.most_heeded`), (classes + 1,), by family.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Shares = NDArray[np.float64]

SMALL, WEIGHT = 0.03, 0.5  # see `excess`
LEAST = 0.5  # of the images that become a class: less is no sign, however seldom it is
#: By family, mean and standard deviation of the largest excess of a class, and of the excess over
#: all classes, in networks without a backdoor: nine DeepIDs and a VGG on signs, so few that no
#: deviation below 0.3 is believed (`python benchmarks/verdict.py` prints them for others).
USUAL: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "stripes": ((1.55, 0.60), (0.22, 0.30)),
    "pattern": ((0.49, 0.30), (0.02, 0.30)),
    "cover": ((1.88, 0.55), (0.48, 0.46)),
    "few_values": ((-0.70, 0.53), (-0.55, 0.30)),
    "noise": ((-0.79, 0.30), (-0.72, 0.30)),
    "flow": ((-0.22, 0.30), (0.57, 0.35)),
    "tint": ((1.07, 0.87), (-0.26, 0.30)),
    "small_cover": ((1.44, 0.52), (0.15, 0.37)),
}
#: Of the log-odds of a backdoor, by the score of the strongest sign: set by hand, so that it is one
#: half between these ten and the networks with a backdoor that were tried, too few to fit it.
INTERCEPT, SLOPE = -4.2, 1.5


@dataclass(frozen=True)
class Sign:
    """What a family of corruptions does to a class more than in a network without a backdoor.

    cls: the class; None where images become many others, as an all-to-all trigger makes them.
    share, reference: of the images, what becomes it in the network and in the other one.
    score: how far its excess, see `excess`, is above the usual one, in standard deviations; of a
        share below `LEAST` at most 0.
    """

    family: str
    cls: int | None
    share: float
    reference: float
    score: float


def excess(share: ArrayLike, reference: ArrayLike) -> Shares:
    """Return how suspicious it is that so many images become a class, where `reference` are usual.

    In log-odds: those of `share`, less `WEIGHT` times those of `reference`. Both are shares of one
    shape, and are moved away from 0 and 1 by `SMALL`, about the images that can be told apart.

    >>> excess([0.97, 0.97, 0.5, 0.0], [0.1, 0.97, 0.5, 0.0]).round(1)
    array([ 3.8,  1.4,  0. , -1.8])
    """
    odds = [
        np.log((each + SMALL) / (1 + SMALL - each))
        for each in (np.asarray(share, np.float64), np.asarray(reference, np.float64))
    ]
    return np.asarray(odds[0] - WEIGHT * odds[1], np.float64)


def signs(shares: Mapping[str, Shares], reference: Mapping[str, Shares]) -> list[Sign]:
    """Return what stands out of each family, for each class and over all; the strongest first."""
    found = []
    for family, of_class in shares.items():
        of_classes, over_all = USUAL[family]
        for place, share in enumerate(of_class):
            is_last = place == len(of_class) - 1
            mean, deviation = over_all if is_last else of_classes
            other = float(reference[family][place])
            score = (float(excess(share, other)) - mean) / deviation
            score = score if share >= LEAST else min(score, 0.0)
            found.append(Sign(family, None if is_last else place, float(share), other, score))
    return sorted(found, key=lambda sign: -sign.score)


def probability(strongest: float) -> float:
    """Return how probable a backdoor is, in 0..1, by the score of the strongest sign.

    Of as many networks with a backdoor as without one; another share of them before one looks makes
    it another.

    >>> round(probability(2.8), 2)
    0.5
    """
    return float(1 / (1 + np.exp(-(INTERCEPT + SLOPE * strongest))))
