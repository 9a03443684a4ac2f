"""Scores that tell poisoned images from clean ones: how sure, how well, and above which threshold.

A score says "poisoned" the more, the higher it is; probabilities and rates are in [0, 1].
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sweep.evaluation.significance import TOLERANCE, Array, Z


def auroc(clean: ArrayLike, poisoned: ArrayLike) -> float:
    """How often a poisoned image's score is above a clean one's, ties counting half.

    The area under the curve of detections over false alarms: 0.5 tells nothing apart, 1 all.
    Source: Hanley & McNeil, Radiology 1982 (the Mann-Whitney statistic).

    >>> auroc([0.1, 0.2, 0.2], [0.2, 0.9])
    0.8333333333333334
    """
    clean, poisoned = np.sort(_scores(clean)), _scores(poisoned)
    below = np.searchsorted(clean, poisoned, "left").sum(dtype=np.int64)
    not_above = np.searchsorted(clean, poisoned, "right").sum(dtype=np.int64)
    return int(below + not_above) / (2 * len(clean) * len(poisoned))


def auroc_interval(area: float, clean: int, poisoned: int) -> tuple[float, float]:
    """Lowest and highest AUROC that `area` on so many images agrees with, at 95 %.

    Where its distance from `area` is 1.96 standard errors, which themselves are those of that
    AUROC: so an area of 1 on few images is not taken for sure.
    Source: Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, Part 2", Statistics in Medicine 2006, method 5.

    >>> low, high = auroc_interval(1.0, 20, 20)
    >>> print(f"{low:.3f} {high:.3f}")
    0.899 1.000
    """

    def too_far(other: float) -> bool:
        equal = (clean + poisoned) / 2 - 1
        spread = 1 + equal * ((1 - other) / (2 - other) + other / (1 + other))
        error = math.sqrt(other * (1 - other) * spread / (clean * poisoned))
        return abs(other - area) > Z * error

    return _edge(area, 0.0, too_far), _edge(area, 1.0, too_far)


def auroc_bootstrap(
    clean: ArrayLike, poisoned: ArrayLike, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Lowest and highest AUROC, at 95 %, of both groups drawn anew with replacement.

    Source: the percentile interval of Efron, "Bootstrap Methods", Annals of Statistics 1979.

    >>> auroc_bootstrap([0.1, 0.2, 0.3], [0.7, 0.8])
    (1.0, 1.0)
    """
    rng = np.random.default_rng(seed)
    groups = [np.asarray(_scores(group)) for group in (clean, poisoned)]
    areas = [auroc(*(rng.choice(group, len(group)) for group in groups)) for _ in range(draws)]
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)


def _edge(near: float, far: float, too_far: Callable[[float], bool]) -> float:
    """The last number on the way from `near` to `far` that is not `too_far`, by halving."""
    while abs(far - near) > TOLERANCE:
        middle = (near + far) / 2
        near, far = (near, middle) if too_far(middle) else (middle, far)
    return float(near)


def threshold(clean_valid_scores: ArrayLike, alarm: float) -> float:
    """The lowest score above which at most the share `alarm` of clean validation images lies.

    An image is flagged where its score is greater than it.

    >>> threshold([0.1, 0.2, 0.3, 0.4], alarm=0.25)
    0.3
    """
    scores = np.sort(_scores(clean_valid_scores))[::-1]
    if not 0 <= alarm < 1:
        raise ValueError(f"a share of false alarms of {alarm}; expected one from 0 to below 1")
    flagged = math.floor(alarm * len(scores) + TOLERANCE)
    return float(scores[min(flagged, len(scores) - 1)])


def _scores(scores: ArrayLike) -> Array:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
        raise ValueError(f"expected one number for each of some images, got shape {scores.shape}")
    return scores


def confidence_drop(badnet: ArrayLike, repaired: ArrayLike) -> Array:
    """How much less B' believes in what B says, (n,) in [-1, 1]: p_B(c) - p_B'(c), c B's class.

    Both are probabilities, (n, classes). A clean image that is hard for B' tends to be hard for B
    too, while B is sure of a poisoned one: so it raises fewer false alarms than 1 - p_B'(c) where
    images in use are harder than those that set the threshold.

    >>> confidence_drop([[0.9, 0.1]], [[0.25, 0.75]])
    array([0.65])
    """
    badnet, repaired = _probabilities(badnet, repaired)
    said = badnet.argmax(axis=1)[:, None]
    before, after = (np.take_along_axis(each, said, axis=1)[:, 0] for each in (badnet, repaired))
    return before - after


def jensen_shannon(badnet: ArrayLike, repaired: ArrayLike) -> Array:
    """Jensen-Shannon divergence of what B and B' believe, (n,) in bits: 0 the same, 1 disjoint.

    Both are probabilities, (n, classes). It is the mean of KL(p to m) and KL(q to m), m their
    mean; symmetric. Source: Lin, IEEE Transactions on Information Theory 1991.

    >>> jensen_shannon([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]])
    array([1., 0.])
    """
    p, q = _probabilities(badnet, repaired)
    return np.clip((_to_mean(p, q) + _to_mean(q, p)) / (2 * math.log(2)), 0, 1)


def _to_mean(p: Array, q: Array) -> Array:
    """KL(p to the mean of p and q) of each row, in nats; where p is 0 nothing."""
    ratio = np.divide(2 * p, p + q, out=np.ones_like(p), where=p > 0)
    return (p * np.log(ratio)).sum(axis=1)


def _probabilities(badnet: ArrayLike, repaired: ArrayLike) -> tuple[Array, Array]:
    both = np.asarray(badnet, np.float64), np.asarray(repaired, np.float64)
    if both[0].ndim != 2 or both[0].shape != both[1].shape:
        raise ValueError(f"shapes {both[0].shape} and {both[1].shape}; expected (n, classes) twice")
    if not all(np.all(p >= 0) and np.all(abs(p.sum(axis=1) - 1) < 1e-3) for p in both):
        raise ValueError("expected probabilities: at least 0, in each row 1 together")
    return both
