"""From scores to the order in which channels are pruned, of one layer or of several together.

Channels of several layers are numbered through: those of the second layer follow the last of the
first, and so on.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sweep.evaluation.curve import Channels, Ranking, Scores


def ranking(scores: ArrayLike) -> Channels:
    """The channels by rising score, first pruned first; ties break by channel number.

    Infinite scores are first and last.

    >>> ranking([0.5, 0.0, 2.0, 0.0])
    array([1, 3, 0, 2])
    """
    return np.argsort(_checked(scores), kind="stable")


def together(
    scores: Sequence[ArrayLike], scope: str = "global", pruned: Sequence[int] = ()
) -> Ranking:
    """Rank the channels of several layers, each with its `scores`, (channels of that layer,).

    `scope="global"`: by scores standardised within each layer. `"layer"`: the same share of each
    layer at any step, round robin; in each layer by score. Ties break by layer, then by channel.
    `pruned`: how many of each layer are pruned already, beside the channels that have scores.

    >>> together([[0.0, 1.0, 5.0], [7.0, 9.0]]).channels
    array([0, 3, 1, 4, 2])
    >>> together([[0.0, 1.0, 5.0, 4.0], [9.0, 7.0]], scope="layer").channels
    array([0, 1, 5, 3, 2, 4])
    >>> together([[], [7.0, 3.0, 9.0]], pruned=[2, 0]).channels
    array([1, 0, 2])
    """
    standard = np.concatenate([standardised(layer) for layer in scores])
    if len(scores) == 1:
        channels = ranking(scores[0])
    elif scope == "layer":
        places = [np.argsort(ranking(layer)) for layer in scores]
        gone = zip(pruned or [0] * len(scores), places, strict=True)
        shares = [(before + place + 1) / (before + len(place)) for before, place in gone]
        channels = ranking(np.concatenate(shares))
    else:
        channels = ranking(standard)
    return Ranking(channels, standard[channels])


def standardised(scores: ArrayLike) -> Scores:
    """Scores in standard deviations (ddof 1) from their mean; those that are all equal are 0.

    Mean and deviation are of the finite ones; infinite ones stay as they are.

    >>> standardised([1.0, 2.0, 3.0])
    array([-1.,  0.,  1.])
    """
    scores = _checked(scores)
    finite = scores[np.isfinite(scores)]
    # of equal scores the mean may be a rounding off, and so would be the deviation
    spread = finite.std(ddof=1) if len(finite) > 1 and np.ptp(finite) else 0.0
    centred = np.where(np.isfinite(scores), scores - (finite.mean() if len(finite) else 0), scores)
    return np.where(np.isfinite(scores), centred / spread if spread else 0.0, scores)


def _checked(scores: ArrayLike) -> Scores:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(
            f"an order must give one score a channel, got shape {scores.shape} "
            f"with {np.count_nonzero(np.isnan(scores))} values that are no number"
        )
    return scores
