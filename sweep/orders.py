"""Which channel first: an order scores the channels of a layer from evidence.

An order is a pure function `(evidence, ...) -> scores`, float64 (channels,), the lowest pruned
first, so one that wants the highest first negates. Infinite scores go first and last, NaN never
comes out. What an order needs beyond activations it declares with `@needs`, beside its formula.

In a docstring `a_c` is the feature map of channel c, `z_c` the same before its activation, `W_c`
its filter without bias; D are the clean validation images. The first line says which channel goes
first; what published code and this order do differently stands under "Differs".
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable
from sweep.evidence import Array, Evidence, Oracle, Scores, needs

#: Width of a bin of the histogram of `ep`, in standard deviations.
BIN = 0.01


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


@needs("weights")
def l1_norm(evidence: Evidence, *, descending: bool = False) -> Scores:
    """L1 norm of the filter, lowest first, or highest.

    Score: the sum of `|w|` over `W_c`; negated if `descending`.

    Source: lowest first Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for Efficient
    ConvNets", ICLR 2017, arXiv 1608.08710, for compression. Highest first because backdoor channels
    often have larger weights: Zhu et al., FT-SAM, ICCV 2023, arXiv 2304.11823.

    Differs: Li et al. retrain afterwards. Zhu et al. do not prune, but fine-tune norms smaller.
    """
    norms = np.array([np.abs(filter).sum() for filter in _filters(evidence.weights)])
    return -norms if descending else norms


@needs("weights")
def l2_norm(evidence: Evidence, *, descending: bool = False) -> Scores:
    """L2 norm of the filter, lowest first, or highest.

    Score: the square root of the sum of `w^2` over `W_c`; negated if `descending`.

    Source: as `l1_norm`: arXiv 1608.08710 compares both, arXiv 2304.11823 for highest first.

    Differs: as `l1_norm`.
    """
    norms = np.array([np.sqrt(np.square(filter).sum()) for filter in _filters(evidence.weights)])
    return -norms if descending else norms


@needs("weights")
def fpgm(evidence: Evidence) -> Scores:
    """Distance of the filter to all others, lowest first.

    Score: the sum over j of `||W_c - W_j||_2`. Filters in the middle of the others can be replaced
    by these (filter pruning via geometric median).

    Source: He, Liu, Wang, Hu, Yang, CVPR 2019, arXiv 1811.00250.

    Differs: there filters are zeroed again and again during training, and may come back.
    """
    filters = np.array(list(_filters(evidence.weights)))

    def to_all(filter: NDArray) -> float:
        # differences, not inner products, and a sum that no order of its terms changes:
        # filters that are equally far stay exactly equal
        return math.fsum(np.sqrt(np.square(filters - filter).sum(axis=(1, 2))))

    return np.array([to_all(filter) for filter in filters])


@needs("weights", "labels", "gradients")
def taylor(evidence: Evidence, *, batch_size: int = 128) -> Scores:
    """Expected change of the loss without it, lowest first.

    Score: the mean over batches of `batch_size` images of D of `(sum of w dLoss/dw over W_c)^2`,
    the loss being the batch's mean cross-entropy: its change to first order, squared, if the filter
    were zero.

    Source: Molchanov, Mallya, Tyree, Frosio, Kautz, CVPR 2019, arXiv 1906.10771.

    Differs: there the network is pruned a little after each few batches of training; here it is
    scored once, by the clean validation images. Of that paper's variants this is the one on weights
    whose products are summed before they are squared; others sum the squares or `|w dLoss/dw|`, or
    put the gate behind the BatchNormalization. The last batch, if smaller, counts as any other.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise BadInput(f"prune.order.batch_size is {batch_size!r}; expected 1 or more images")
    weights = evidence.weights.astype(np.float64)
    changes = [
        (weights * gradient).reshape(-1, evidence.channels).sum(axis=0)
        for gradient in evidence.gradients(batch_size)
    ]
    return np.square(changes).mean(axis=0)


@needs()
def random(evidence: Evidence) -> Scores:
    """A permutation drawn by `seed`.

    Score: the place in the permutation; nothing of the network is looked at.

    Source: none; the control that every comparison needs.
    """
    return np.random.default_rng(evidence.seed).permutation(evidence.channels).astype(np.float64)


@needs("weights")
def clp(evidence: Evidence) -> Scores:
    """Channel Lipschitzness, highest first.

    Score: the largest singular value of `W_c` as a matrix (inputs, positions of the kernel), times
    `|gamma| / sqrt(running variance)` where a BatchNormalization follows, negated. A channel of
    gamma or weights 0 scores 0, whatever the variance; else a variance of 0 is infinite. A trigger
    is small, so channels that amplify small changes are suspect. No image is looked at.

    Source: Zheng, Tang, Li, Liu, ECCV 2022, arXiv 2208.03111.

    Differs: there every channel of the network above its layer's mean + 3 standard deviations goes
    at once; this is the ranking of one layer, for any stop (`outlier` is that threshold).
    """
    largest = np.array([np.linalg.norm(filter, ord=2) for filter in _filters(evidence.weights)])
    norm = evidence.norm
    if norm is None:
        return -largest
    scaled = largest * np.abs(norm.gamma, dtype=np.float64)
    spread = np.sqrt(norm.variance, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return -np.divide(scaled, spread, out=np.zeros(len(scaled)), where=scaled > 0)


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
    norm = evidence.norm

    # by image, and these together: as exact however they are dealt, and 0 where all are equal
    def moments(maps: Array) -> NDArray[np.float64]:
        maps = maps.astype(np.float64)
        return np.stack([maps.mean(axis=1), maps.var(axis=1)], axis=1)

    means, variances = evidence.per_image(moments, of=norm.inputs).swapaxes(0, 1)
    mean = means.mean(axis=0)
    variance = (variances + np.square(means - mean)).mean(axis=0)
    running = norm.variance.astype(np.float64)
    divergence = np.full(evidence.channels, np.inf)
    told = (variance > 0) & (running > 0)
    ratio = variance[told] / running[told]
    away = np.square(mean - norm.mean)[told] / running[told]
    divergence[told] = (ratio - 1 - np.log(ratio) + away) / 2
    return -divergence


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
        some.per_image(lambda maps: maps.max(axis=1), of=some.preactivations)
        for some in (evidence, evidence.poisoned)
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


def _filters(weights: Array) -> Iterable[NDArray[np.float64]]:
    """The filters of (..., inputs, channels) one by one, each (inputs, positions of the kernel)."""
    inputs, channels = weights.shape[-2:]
    for filter in weights.reshape(-1, inputs, channels).T:
        yield filter.astype(np.float64)


def _entropy(values: NDArray) -> float:
    """Entropy in nats of the histogram of `values`, (images,), standardised, in bins of `BIN`."""
    values = values.astype(np.float64)
    spread = values.std()
    standard = (values - values.mean()) / spread if spread else np.zeros(len(values))
    _, counts = np.unique(np.floor(standard / BIN), return_counts=True)
    shares = np.sort(counts) / len(values)  # sorted: equal shares give exactly equal entropies
    return float((shares * -np.log(shares)).sum())
