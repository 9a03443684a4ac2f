"""What counts and scores of images tell, and how surely: intervals, tests, thresholds, trade-offs.

Plain functions on numbers and numpy arrays. Rates, probabilities and drops of accuracy are in
[0, 1]; scores say "poisoned" the more, the higher they are.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# A drop of 0.95 - 0.93 is one of 0.02, whatever its float says; so is 0.05 of 20 images one image.
TOLERANCE = 1e-9
TINY = 1e-12  # in place of a size of 0 under a logarithm

#: The modified z-score above which a class stands out. Iglewicz and Hoaglin ("How to Detect and
#: Handle Outliers", 1993) recommend 3.5 for one of them; here two must be above it.
OUTLIER = 3.0


def wilson(hits: ArrayLike, n: ArrayLike, z: float = 1.959964) -> tuple[Array, Array]:
    """Lowest and highest rate that `hits` of `n` agree with, at z standard errors (1.96: 95 %).

    `hits` and `n` may be arrays of one shape. Of no images nothing is known: 0 to 1.
    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA
    1927; the score interval without continuity correction.

    >>> low, high = wilson(45, 50)
    >>> print(f"{low:.4f} {high:.4f}")
    0.7864 0.9565
    """
    hits, n = np.asarray(hits, np.float64), np.asarray(n, np.float64)
    if not np.all((hits >= 0) & (hits <= n)):
        raise ValueError(f"{hits} of {n} images: expected 0 to all of them")
    rate = hits / np.maximum(n, 1)
    centre, spread = hits + z**2 / 2, z * np.sqrt(rate * (n - hits) + z**2 / 4)
    low, high = (centre - spread) / (n + z**2), (centre + spread) / (n + z**2)
    # at rates of 0 and 1 the interval ends there, which rounding may miss
    return np.clip(low, 0, rate), np.clip(high, rate, 1)


def mcnemar(lost: int, gained: int, two_sided: bool = False) -> float:
    """p of `lost` against `gained` images if each of them had been as likely the other.

    Two networks on the same images: `lost` are right in the first only, `gained` in the second
    only. One-sided: at least so many lost. Two-sided: at least so uneven. Exact, no approximation.
    Source: McNemar, Psychometrika 1947, as a binomial test.

    >>> mcnemar(5, 0), mcnemar(5, 0, two_sided=True)
    (0.03125, 0.0625)
    """
    lost, gained = int(lost), int(gained)
    if min(lost, gained) < 0:
        raise ValueError(f"{lost} images lost and {gained} gained: expected counts")
    if two_sided:
        return min(1.0, 2 * _at_least(max(lost, gained), lost + gained))
    if lost < gained:
        return 1 - _at_least(gained + 1, lost + gained)
    return _at_least(lost, lost + gained)


def _at_least(heads: int, n: int) -> float:
    """P(at least `heads` of `n` fair coins), for heads >= n / 2, where every term is a smaller one.

    Quotients of whole numbers are rounded once, and what underflows is as good as nothing.
    """
    first = math.comb(n, heads) / 2**n if heads <= n else 0.0
    others = np.arange(heads, n, dtype=np.float64)
    return float(min(1.0, first * (1 + np.cumprod((n - others) / (others + 1)).sum())))


def paired(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Compare two networks on the same images: how many b lost, how many it gained, two-sided p.

    `right_a` and `right_b`, (n,), say which images each gets right.

    >>> paired(np.array([True, True, True, False]), np.array([True, False, False, False]))
    (2, 0, 0.5)
    """
    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if right_a.ndim != 1 or right_a.shape != right_b.shape:
        raise ValueError(f"answers {right_a.shape} and {right_b.shape} are not of the same images")
    lost = int(np.count_nonzero(right_a & ~right_b))
    gained = int(np.count_nonzero(right_b & ~right_a))
    return lost, gained, mcnemar(lost, gained, two_sided=True)


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


def anomaly(sizes: ArrayLike) -> Array:
    """How far each size lies below the others, (n,), in deviations: above 2 is an outlier.

    (median - size) / (1.4826 * MAD), MAD being the median distance from the median; 1.4826 makes
    it a standard deviation where sizes are normal. Infinite sizes, of what was not found, are left
    out of both and told as -inf. Fewer than 3 sizes tell nothing: 0. Where more than half are
    equal, MAD is 0 and whoever differs is infinitely far. Source: Neural Cleanse (Wang et al., S&P
    2019), which takes the absolute value and then looks at the smaller ones only.

    >>> anomaly([1.0, 4.0, 5.0, 6.0, 7.0]).round(2)
    array([ 2.7 ,  0.67,  0.  , -0.67, -1.35])
    """
    sizes = np.asarray(sizes, np.float64)
    if sizes.ndim != 1 or np.isnan(sizes).any() or np.any(sizes == -np.inf):
        raise ValueError(f"sizes {sizes}; expected one number for each class, or infinity")
    found = np.isfinite(sizes)
    if np.count_nonzero(found) < 3:
        return np.where(found, 0.0, -np.inf)
    below = np.median(sizes[found]) - sizes
    spread = 1.4826 * np.median(abs(below[found]))
    near = np.isclose(below, 0, rtol=0, atol=TOLERANCE)
    return np.where(near, 0.0, below / spread if spread > TOLERANCE else np.copysign(np.inf, below))


def standing_out(sizes: ArrayLike, usual: ArrayLike | None = None) -> Array:
    """How far each size lies below the others, by logarithms, (n,): above `OUTLIER` it stands out.

    `anomaly` of the logarithms, since what half and what double the size are as far from it: sizes
    of triggers differ by factors, and their own deviations let one class in 43 of a clean network
    stand out by chance. `usual` are the sizes of the same classes in a network without a backdoor,
    in 0..1, infinite where none was found, NaN where none was sought: where there is one, a class
    stands out no farther than its size does in units of that.

    >>> standing_out([0.01, 0.4, 0.5, 0.6, 0.7]).round(1)
    array([11.8,  0.7,  0. , -0.6, -1. ])
    >>> standing_out([0.01, 0.4, 0.5, 0.6, 0.7], [0.01, 0.5, 0.4, 0.7, 0.7]).round(1)
    array([ 0. ,  0.7, -1. , -0.6, -1. ])
    """
    sizes = np.maximum(sizes, TINY)
    alone = anomaly(np.log(sizes))
    if usual is None:
        return alone
    usual = np.asarray(usual, np.float64)
    if usual.shape != sizes.shape:
        raise ValueError(f"{sizes.shape} sizes beside {usual.shape} of another network")
    known = ~np.isnan(usual)
    beside = anomaly(np.log(sizes[known] / np.clip(usual[known], TINY, 1)))
    alone[known] = np.minimum(alone[known], beside)
    return alone


def _scores(scores: ArrayLike) -> Array:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
        raise ValueError(f"expected one number for each of some images, got shape {scores.shape}")
    return scores


def attack_at_drop(accuracy: ArrayLike, attack: ArrayLike, drop: float) -> float:
    """Attack success that is left where at most `drop` of clean accuracy may be paid.

    `accuracy` and `attack` are a pruning curve, (channels + 1,). Told is the attack success of the
    last step before accuracy has for the first time dropped by more than `drop` below step 0.

    >>> attack_at_drop([0.9, 0.89, 0.5, 0.9], [1.0, 0.7, 0.2, 0.1], drop=0.04)
    0.7
    """
    if not drop >= 0:
        raise ValueError(f"a drop of {drop}; expected at least 0")
    paid, attack = _paid(accuracy, attack)
    return float(attack[np.count_nonzero(paid <= drop + TOLERANCE) - 1])


def attack_area(accuracy: ArrayLike, attack: ArrayLike) -> float:
    """Mean of `attack_at_drop` over all drops from 0 to the largest of the curve; 0 is ideal.

    The exact integral of that step function over the largest drop, so mind that curves whose
    largest drops differ are averaged over different drops. Where accuracy never drops: the attack
    success of the last step.

    >>> attack_area([1.0, 0.75, 0.0], [1.0, 0.5, 0.0])  # 1 * 0.25 + 0.5 * 0.75
    0.625
    """
    paid, attack = _paid(accuracy, attack)
    if paid[-1] <= TOLERANCE:
        return float(attack[-1])
    return float(np.clip(attack[:-1] @ np.diff(paid) / paid[-1], 0, 1))


def _paid(accuracy: ArrayLike, attack: ArrayLike) -> tuple[Array, Array]:
    """The largest drop of accuracy up to each step, and the attack success of each."""
    accuracy, attack = np.asarray(accuracy, np.float64), np.asarray(attack, np.float64)
    if accuracy.ndim != 1 or accuracy.shape != attack.shape:
        raise ValueError(f"shapes {accuracy.shape} and {attack.shape}; expected those of one curve")
    return np.maximum.accumulate(accuracy[0] - accuracy), attack


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
