"""GoodNet itself as a detector among others: by its score, and by its vote."""

import numpy as np
from numpy.typing import NDArray

from sweep.detectors.reference import Reference, Score
from sweep.evaluation.detection import confidence_drop
from sweep.networks import forward, outputs


def goodnet_score(reference: Reference) -> Score:
    """How much less B' believes than B in what B says.

    s(x) = p_B(c|x) - p_B'(c|x), c the class that B says.

    Needs: B'.

    Passes: 1 of B and 1 of B' an image.

    Source: ours, see `evaluation.detection.confidence_drop`.
    """

    def score(pixels: forward.Pixels) -> NDArray[np.float64]:
        return confidence_drop(*_probabilities(reference, pixels))

    return score


def goodnet_vote(reference: Reference) -> Score:
    """Whether B' says another class than B.

    s(x) = 1 where the classes differ, else 0.

    Needs: B'.

    Passes: 1 of B and 1 of B' an image.

    Source: the lab's GoodNet, after Liu et al., "Fine-Pruning", RAID 2018, arXiv 1805.12185.

    Differs: a vote has no threshold, and its false alarms cannot be chosen: where more clean images
    are voted down than may be, at that share it flags none.
    """

    def score(pixels: forward.Pixels) -> NDArray[np.float64]:
        badnet, repaired = _probabilities(reference, pixels)
        return (badnet.argmax(axis=1) != repaired.argmax(axis=1)).astype(np.float64)

    return score


def _probabilities(
    reference: Reference, pixels: forward.Pixels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What B and B' believe of images, (n, classes) each."""
    badnet, repaired = (
        outputs.probabilities(network, forward.scores(network, pixels))
        for network in (reference.badnet, reference.repaired)
    )
    return badnet, repaired
