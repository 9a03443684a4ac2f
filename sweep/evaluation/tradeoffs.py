"""What a pruning curve trades: attack success that is left for clean accuracy that is paid."""

import numpy as np
from numpy.typing import ArrayLike

from sweep.evaluation.significance import TOLERANCE, Array


def attack_at_drop(accuracy: ArrayLike, attack: ArrayLike, drop: float) -> float:
    """Attack success that is left where at most `drop` of clean accuracy may be paid.

    `accuracy` and `attack` are a pruning curve, (channels + 1,). Told is the attack success of the
    last step before accuracy has for the first time dropped by more than `drop` below step 0.

    >>> attack_at_drop([0.9, 0.89, 0.5, 0.9], [1.0, 0.7, 0.2, 0.1], drop=0.04)
    0.7
    """
    if not drop >= 0:
        raise ValueError(f"a drop of {drop}; expected at least 0")
    drops, attack = _drops(accuracy, attack)
    return float(attack[np.count_nonzero(drops <= drop + TOLERANCE) - 1])


def attack_area(accuracy: ArrayLike, attack: ArrayLike) -> float:
    """Mean of `attack_at_drop` over all drops from 0 to the largest of the curve; 0 is ideal.

    The exact integral of that step function over the largest drop, so mind that curves whose
    largest drops differ are averaged over different drops. Where accuracy never drops: the attack
    success of the last step.

    >>> attack_area([1.0, 0.75, 0.0], [1.0, 0.5, 0.0])  # 1 * 0.25 + 0.5 * 0.75
    0.625
    """
    drops, attack = _drops(accuracy, attack)
    if drops[-1] <= TOLERANCE:
        return float(attack[-1])
    return float(np.clip(attack[:-1] @ np.diff(drops) / drops[-1], 0, 1))


def front(lost: ArrayLike, success: ArrayLike) -> list[int]:
    """The Pareto front of what is lost, (n,), and what attacks still do, (n,), least lost first.

    Given are places in both; for each, no other one is at most as large in both and smaller in one.
    Of equal ones the first is taken.

    >>> front([0.01, 0.0, 0.02, 0.03], [0.5, 0.9, 0.6, 0.1])
    [1, 0, 3]
    """
    lost, success = np.asarray(lost, np.float64), np.asarray(success, np.float64)
    chosen: list[int] = []
    for place in np.lexsort((success, lost)).tolist():
        if not chosen or success[place] < success[chosen[-1]]:
            chosen.append(place)
    return chosen


def dominated_share(lost: ArrayLike, success: ArrayLike, most: float) -> float:
    """The share of all (lost, success), from 0 to `most` and from 0 to 1, that is no better.

    That is the hypervolume of the front (Zitzler & Thiele, PPSN 1998) towards (`most`, 1), 1 where
    one of them loses nothing and leaves nothing. What is gained counts as nothing lost.

    >>> dominated_share([0.0, 0.05], [0.8, 0.2], most=0.1)  # 0.2 of all, and 0.6 of a half
    0.5
    """
    lost, success = np.maximum(np.asarray(lost, np.float64), 0), np.asarray(success, np.float64)
    area, above = 0.0, 1.0
    for place in front(lost, success):
        area += max(0.0, most - lost[place]) * (above - min(above, success[place]))
        above = min(above, success[place])
    return float(area / most)


def _drops(accuracy: ArrayLike, attack: ArrayLike) -> tuple[Array, Array]:
    """Return the largest drop of accuracy up to each step, and the attack success there."""
    accuracy, attack = np.asarray(accuracy, np.float64), np.asarray(attack, np.float64)
    if accuracy.ndim != 1 or accuracy.shape != attack.shape:
        raise ValueError(f"shapes {accuracy.shape} and {attack.shape}; expected those of one curve")
    return np.maximum.accumulate(accuracy[0] - accuracy), attack
