"""Orders by the weights that make the channels.

`W_c` is the filter of channel c, without bias.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.evaluation.curve import Scores
from sweep.pruning import Evidence, needs
from sweep.pruning.evidence import required


@needs("weights")
def l1_norm(evidence: Evidence, *, descending: bool = False) -> Scores:
    """L1 norm of the filter, lowest first, or highest.

    Score: the sum of `|w|` over `W_c`; negated if `descending`.

    Source: lowest first Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for Efficient
    ConvNets", ICLR 2017, arXiv 1608.08710, for compression. Highest first because backdoor channels
    often have larger weights: Zhu et al., FT-SAM, ICCV 2023, arXiv 2304.11823.

    Differs: Li et al. retrain afterwards. Zhu et al. do not prune, but fine-tune norms smaller.
    """
    norms = np.array([np.abs(filter).sum() for filter in _filters(evidence)])
    return -norms if descending else norms


@needs("weights")
def l2_norm(evidence: Evidence, *, descending: bool = False) -> Scores:
    """L2 norm of the filter, lowest first, or highest.

    Score: the square root of the sum of `w^2` over `W_c`; negated if `descending`.

    Source: as `l1_norm`: arXiv 1608.08710 compares both, arXiv 2304.11823 for highest first.

    Differs: as `l1_norm`.
    """
    norms = np.array([np.sqrt(np.square(filter).sum()) for filter in _filters(evidence)])
    return -norms if descending else norms


@needs("weights")
def fpgm(evidence: Evidence) -> Scores:
    """Distance of the filter to all others, lowest first.

    Score: the sum over j of `||W_c - W_j||_2`. Filters in the middle of the others can be replaced
    by these (filter pruning via geometric median).

    Source: He, Liu, Wang, Hu, Yang, CVPR 2019, arXiv 1811.00250.

    Differs: there filters are zeroed again and again during training, and may come back.
    """
    filters = np.array(list(_filters(evidence)))

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
    weights = required(evidence.weights).astype(np.float64)
    changes = [
        (weights * gradient).reshape(-1, evidence.channels).sum(axis=0)
        for gradient in required(evidence.gradients)(batch_size)
    ]
    return np.square(changes).mean(axis=0)


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
    largest = np.array([np.linalg.norm(filter, ord=2) for filter in _filters(evidence)])
    norm = evidence.norm
    if norm is None:
        return -largest
    scaled = largest * np.abs(norm.gamma, dtype=np.float64)
    spread = np.sqrt(norm.variance, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return -np.divide(scaled, spread, out=np.zeros(len(scaled)), where=scaled > 0)


def _filters(evidence: Evidence) -> Iterable[NDArray[np.float64]]:
    """The filters of the channels one by one, each (inputs, positions of the kernel)."""
    weights = required(evidence.weights)
    for filter in weights.reshape(-1, *weights.shape[-2:]).T:
        yield filter.astype(np.float64)
