"""How much each setting of a space mattered to what was found."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.search.space import Value, Values

PARTS = 3  # that a setting of many numbers is cut into


def importances(trials: Sequence[Values], outcomes: Sequence[float]) -> dict[str, float]:
    """Return by setting the share of the variance of `outcomes` that it explains, most first.

    Epsilon squared (Kelley 1935): the sum of squares between a setting's values, less what as many
    values of no meaning would have, over that of all trials; in 0..1, and not adding up to 1. Of a
    setting that hangs on another one only the trials that have it are compared with each other, so
    that it is not credited with what the other one does. Numbers of more than `PARTS` values are
    cut into as many parts of equal size.

    >>> trials = [{"by": "a"}, {"by": "a"}, {"by": "b"}, {"by": "b"}]
    >>> importances(trials, [0.1, 0.1, 0.9, 0.9])
    {'by': 1.0}
    """
    results = np.asarray(outcomes, np.float64)
    total = float(((results - results.mean()) ** 2).sum()) if len(results) else 0.0
    names = dict.fromkeys(name for values in trials for name in values)
    shares = {}
    for name in names:
        having = [place for place, values in enumerate(trials) if name in values]
        levels = _levels([trials[place][name] for place in having])
        shares[name] = _explained(levels, results[having]) / total if total else 0.0
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _levels(values: Sequence[Value]) -> NDArray[np.int64]:
    """The number of each value among those there are, or of the part that a number lies in."""
    different = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    places = np.array([different.index(value) for value in values])
    if len(different) > PARTS and not any(isinstance(value, str) for value in values):
        ranks = np.argsort(np.argsort(places, kind="stable"), kind="stable")
        return np.asarray(ranks * PARTS // len(ranks))
    return places


def _explained(levels: NDArray[np.int64], outcomes: NDArray[np.float64]) -> float:
    """The sum of squares between levels beyond that of as many levels without a meaning."""
    means = {level: outcomes[levels == level].mean() for level in set(levels.tolist())}
    fitted = np.array([means[level] for level in levels.tolist()])
    free = len(outcomes) - len(means)
    if free < 1 or len(means) < 2:
        return 0.0
    between = float(((fitted - outcomes.mean()) ** 2).sum())
    noise = float(((outcomes - fitted) ** 2).sum()) / free
    return max(0.0, between - (len(means) - 1) * noise)
