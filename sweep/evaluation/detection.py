"""Scores that tell poisoned images from clean ones: how sure, how well, and above which threshold.

A score says "poisoned" the more, the higher it is; probabilities and rates are in [0, 1].
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from sweep.evaluation.significance import TOLERANCE, Array


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


def doubt(badnet: ArrayLike, repaired: ArrayLike) -> Array:
    """How little B' believes in what B says, (n,) in [0, 1]: 1 - p_B'(class that B says).

    Both are probabilities, (n, classes). The higher, the more they disagree.

    >>> doubt([[0.9, 0.1]], [[0.25, 0.75]])
    array([0.75])
    """
    badnet, repaired = _probabilities(badnet, repaired)
    said = badnet.argmax(axis=1)[:, None]
    return np.clip(1 - np.take_along_axis(repaired, said, axis=1)[:, 0], 0, 1)


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
