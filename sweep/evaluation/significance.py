"""How surely counts of images tell something: intervals and tests.

Rates, probabilities and drops of accuracy are in [0, 1].
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# A drop of 0.95 - 0.93 is one of 0.02, whatever its float says; so is 0.05 of 20 images one image.
TOLERANCE = 1e-9
Z = 1.959964  # standard errors of a 95 % interval
TINY = 1e-12  # in place of a size of 0 under a logarithm


def wilson(hits: ArrayLike, n: ArrayLike, z: float = Z) -> tuple[Array, Array]:
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


def clopper_pearson(hits: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Lowest and highest rate that `hits` of `n` agree with, never surer than 1 - `alpha`.

    Where a threshold is set so that `hits` of `n` images are above it, it is also the tolerance
    interval of the share of further images above it (Wilks, Annals of Mathematical Statistics
    1941): that share follows a Beta distribution. Of no images nothing is known: 0 to 1.
    Source: Clopper & Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 1934.

    >>> low, high = clopper_pearson(1, 100)
    >>> print(f"{low:.4f} {high:.4f}")
    0.0003 0.0545
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} images: expected 0 to all of them")
    low = 0.0 if hits == 0 else _rate_at(lambda rate: 1 - _at_most(hits - 1, n, rate), alpha / 2)
    high = 1.0 if hits == n else _rate_at(lambda rate: 1 - _at_most(hits, n, rate), 1 - alpha / 2)
    return low, high


def _rate_at(probability: Callable[[float], float], wanted: float) -> float:
    """The rate in [0, 1] at which a probability that rises with it is as wanted: by halving."""
    low, high = 0.0, 1.0
    while high - low > TINY:
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < wanted else (low, middle)
    return (low + high) / 2


def _at_most(hits: int, n: int, rate: float) -> float:
    """P(at most `hits` of `n`), each with probability `rate`, which is neither 0 nor 1."""
    k = np.arange(hits + 1)
    steps = np.log((n - k[:-1]) / (k[:-1] + 1))  # of binomial coefficients, from one to the next
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    terms = logs + k * math.log(rate) + (n - k) * math.log1p(-rate)
    return float(np.exp(terms).sum())


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
        return min(1.0, 2 * _upper_tail(max(lost, gained), lost + gained))
    if lost < gained:
        return 1 - _upper_tail(gained + 1, lost + gained)
    return _upper_tail(lost, lost + gained)


def _upper_tail(heads: int, n: int) -> float:
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
        raise ValueError(
            f"predictions {right_a.shape} and {right_b.shape} are not of the same images"
        )
    lost = int(np.count_nonzero(right_a & ~right_b))
    gained = int(np.count_nonzero(right_b & ~right_a))
    return lost, gained, mcnemar(lost, gained, two_sided=True)


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """Return the p of many tests, (tests,), raised for their number.

    Call only those below 0.05 differences, and chance of any mistake among them is at most 5 %.
    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979.

    >>> holm([0.01, 0.5, 0.02])
    array([0.03, 0.5 , 0.04])
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    factors = np.arange(len(values), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(values[order] * factors, 1))
    return adjusted
