"""GoodNet's answer and what an attack is judged by, as plain functions on integer arrays.

Class N, one above the network's classes 0 .. N-1, is GoodNet's answer "backdoored". Poisoned images
whose true class is the target say nothing about an attack: `attacked` leaves them out wherever true
classes are known.
"""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]


def goodnet(badnet: Labels, repaired: Labels, classes: int) -> Labels:
    """Answer of GoodNet: the class on which B and B' agree, `classes` where they do not.

    >>> goodnet(np.array([0, 1, 2]), np.array([0, 2, 2]), classes=3)
    array([0, 3, 2])
    """
    return np.where(badnet == repaired, badnet, classes)


def attacked(target: Labels, true_labels: Labels | None) -> NDArray[np.bool_]:
    """Which poisoned images count for an attack, shape (n,): those not of the target's class.

    Without true labels all count.
    """
    if true_labels is None:
        return np.ones(len(target), dtype=bool)
    return target != true_labels


def defense_effectiveness(
    attack_before: float, attack_after: float, clean_before: float, clean_after: float
) -> float:
    """DER = (max(0, drop in ASR) - max(0, drop in clean accuracy) + 1) / 2, in [0, 1].

    Source: Zhu et al., "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware
    Minimization", ICCV 2023, arXiv 2304.11823. 0.5 is a defence that does nothing.

    >>> defense_effectiveness(1.0, 0.0, 0.95, 0.95)
    1.0
    """
    attack_drop = max(0.0, attack_before - attack_after)
    clean_drop = max(0.0, clean_before - clean_after)
    return (attack_drop - clean_drop + 1) / 2
