"""Orders by what the channels do on clean images.

`a_c` is the feature map of channel c, `z_c` the same before its activation; D are the clean
validation images.
"""

import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable
from sweep.evaluation.curve import Scores
from sweep.pruning import Evidence, needs
from sweep.pruning.evidence import required
from sweep.pruning.producer import Array


def mean_activation(evidence: Evidence) -> Scores:
    """Mean activation, lowest first.

    Score: the mean of `a_c` over D and positions. What sleeps on clean images may wait for a
    trigger.

    Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning", RAID 2018, arXiv 1805.12185.

    Differs: there the network is fine-tuned afterwards; here that is a repair of its own.
    """
    return evidence.per_image(lambda maps: maps.mean(axis=1, dtype=np.float64)).mean(axis=0)


def max_activation(evidence: Evidence) -> Scores:
    """Largest activation, lowest first.

    Score: the maximum of `a_c` over D and positions.

    Source: none; `mean_activation` for channels that answer at few positions.
    """
    largest = evidence.per_image(lambda maps: maps.max(axis=1)).max(axis=0)
    return largest.astype(np.float64)


def apoz(evidence: Evidence) -> Scores:
    """Share of zero activations, highest first.

    Score: the share of D and positions where `a_c` is exactly 0 (average percentage of zeros),
    negated. Without a single zero the order does not apply.

    Source: Hu, Peng, Tai, Tang, "Network Trimming", 2016, arXiv 1607.03250.

    Differs: there it compresses: channels one standard deviation above their layer's mean go, and
    the network is retrained, in turn.
    """
    zero, other = evidence.per_image(
        lambda maps: np.stack([(maps == 0).sum(axis=1), (maps != 0).sum(axis=1)], axis=1)
    ).sum(axis=0)
    if not zero.any():
        raise NotApplicable(
            "this order counts activations that are exactly zero, and there is none; "
            "take another order, or a layer with an activation like ReLU"
        )
    return -zero / (zero + other)


@needs("norm")
def bnp(evidence: Evidence) -> Scores:
    """Divergence from the BN's running statistics, highest first.

    Score: `KL(N(mu_D, s_D^2) || N(mu_run, s_run^2))`, which is `ln(s_run / s_D) + (s_D^2 +
    (mu_D - mu_run)^2) / (2 s_run^2) - 1/2`, negated. mu_D and s_D are mean and standard deviation
    of what enters the BatchNormalization, over D and positions; the running ones were taken in
    training, with the poisoned images. A channel of variance 0 diverges infinitely.

    Source: Zheng, Tang, Li, Liu, "Pre-activation Distributions Expose Backdoor Neurons", NeurIPS
    2022.

    Differs: as `clp`, there is a threshold and here a ranking. The variance is the population's, of
    all images together; no epsilon is added.
    """
    norm = required(evidence.norm)

    # by image, and these together: as exact however they are dealt, and 0 where all are equal
    def moments(maps: Array) -> NDArray[np.float64]:
        maps = maps.astype(np.float64)
        return np.stack([maps.mean(axis=1), maps.var(axis=1)], axis=1)

    means, variances = evidence.per_image(moments, of=norm.inputs).swapaxes(0, 1)
    mean = means.mean(axis=0)
    variance = (variances + np.square(means - mean)).mean(axis=0)
    running = norm.variance.astype(np.float64)
    divergence = np.full(evidence.channels, np.inf)
    finite = (variance > 0) & (running > 0)
    ratio = variance[finite] / running[finite]
    shift = np.square(mean - norm.mean)[finite] / running[finite]
    divergence[finite] = (ratio - 1 - np.log(ratio) + shift) / 2
    return -divergence
