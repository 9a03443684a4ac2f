"""Orders that look at poisoned images, which no defender has: they show what is possible.

`a_c` is the feature map of channel c, `z_c` the same before its activation; D are the clean
validation images.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.evaluation.curve import Scores
from sweep.pruning import Oracle, needs

#: Width of a bin of the histogram of `ep`, in standard deviations.
BIN = 0.01


@needs("poisoned", "preactivations")
def ep(evidence: Oracle, *, rate: float = 0.1) -> Scores:
    """Entropy of the pre-activation, lowest first.

    Score: the entropy of the histogram, in bins of 0.01, of the maximum of `z_c` over positions,
    standardised over the images: all of D and, drawn by `seed`, so many poisoned ones that they are
    the share `rate` of both, or all that there are. Two heaps far apart leave most bins empty.

    Source: Zheng, Tang, Li, Liu, "Pre-activation Distributions Expose Backdoor Neurons", NeurIPS
    2022.

    Differs: there the images are the poisoned training set that somebody was given, without knowing
    which are poisoned; here clean and poisoned validation images stand in for it, so this is an
    oracle. There, too, is a threshold below the layer's mean.
    """
    if not 0 < rate < 1:
        raise BadInput(f"prune.order.rate is {rate!r}; expected a share between 0 and 1")
    clean, poisoned = (
        images.per_image(lambda maps: maps.max(axis=1), of=images.preactivations)
        for images in (evidence, evidence.poisoned)
    )
    count = min(round(rate / (1 - rate) * len(clean)), len(poisoned))
    chosen = np.random.default_rng(evidence.seed).choice(len(poisoned), count, replace=False)
    return np.array([_entropy(values) for values in np.concatenate([clean, poisoned[chosen]]).T])


@needs("poisoned")
def tac(evidence: Oracle) -> Scores:
    """Change by the trigger, highest first.

    Score: the mean over pairs of `||a_c(poisoned) - a_c(clean)||_2`, the norm over positions,
    negated (trigger-activated change). It knows the trigger, so others are measured by it; but a
    channel that the trigger and the classes share goes first too, so it is no strict bound.

    Source: Zheng, Tang, Li, Liu, ECCV 2022, arXiv 2208.03111, where it explains `clp`.

    Differs: there the poisoned images are made from the clean ones by the trigger itself; here the
    pairs are those that the files tell.
    """

    def changes() -> Iterable[NDArray]:
        for poisoned, clean in zip(evidence.poisoned.maps, evidence.clean.maps, strict=True):
            if poisoned.shape != clean.shape:
                raise ValueError(f"maps of pairs differ: {poisoned.shape} and {clean.shape}")
            yield poisoned.astype(np.float64) - clean

    return -evidence.per_image(lambda maps: np.linalg.norm(maps, axis=1), of=changes()).mean(axis=0)


def _entropy(values: NDArray) -> float:
    """Entropy in nats of the histogram of `values`, (images,), standardised, in bins of `BIN`."""
    values = values.astype(np.float64)
    spread = values.std()
    standard = (values - values.mean()) / spread if spread else np.zeros(len(values))
    _, counts = np.unique(np.floor(standard / BIN), return_counts=True)
    shares = np.sort(counts) / len(values)  # sorted: equal shares give exactly equal entropies
    return float((shares * -np.log(shares)).sum())
