"""How well one number ranks what another one does: Spearman's correlation, with an interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

DRAWS = 2000  # of the bootstrap
LEAST = 5  # pairs, below which a correlation is not told


def spearman(one: ArrayLike, other: ArrayLike) -> float | None:
    """Spearman's rank correlation of two lists, (n,); None where one has no differences.

    Equal values share the mean of their ranks. Source: Spearman, American Journal of Psychology
    1904.

    >>> spearman([0.1, 0.2, 0.9], [1, 5, 7]), spearman([0.1, 0.2, 0.9], [7, 5, 1])
    (1.0, -1.0)
    """
    pairs = pd.DataFrame({"one": np.asarray(one), "other": np.asarray(other)})
    rank = float(pairs.corr(method="spearman").loc["one", "other"])
    return None if np.isnan(rank) else round(rank, 12)


def interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the correlation by a bootstrap of the pairs; None: not to be had."""
    pairs = np.array([one, other], np.float64)
    if pairs.shape[1] < LEAST:
        return None
    rng = np.random.default_rng(0)
    drawn = (pairs[:, rng.integers(pairs.shape[1], size=pairs.shape[1])] for _ in range(DRAWS))
    known = [rank for sample in drawn if (rank := spearman(*sample)) is not None]
    if len(known) < DRAWS / 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
