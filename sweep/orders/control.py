"""The control: an order that looks at nothing."""

import numpy as np

from sweep.evaluation.curve import Scores
from sweep.pruning import Evidence, needs


@needs()
def random(evidence: Evidence) -> Scores:
    """A permutation drawn by `seed`.

    Score: the place in the permutation; nothing of the network is looked at.

    Source: none; the control that every comparison needs.
    """
    return np.random.default_rng(evidence.seed).permutation(evidence.channels).astype(np.float64)
