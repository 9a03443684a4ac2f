"""What any detector of poisoned images has to be better than."""

import numpy as np
from numpy.typing import NDArray

from sweep.detectors.panel.surety import Array, by_batches, log_odds, log_probabilities
from sweep.detectors.reference import Reference, Score


def confidence(reference: Reference) -> Score:
    """The control: how sure B is.

    Score: `log(p / (1 - p))` of B's highest probability p; it rises with p.

    Needs: B alone.

    Passes: 1 of B an image.

    Source: none as a detector of backdoors; the highest probability as a score is Hendrycks &
    Gimpel's, ICLR 2017, arXiv 1610.02136, for images of no class, which have a low one.

    Differs: log-odds in place of p, in the same order: p itself is rounded to 1 for most poisoned
    images and many clean ones, and these would be ties.
    """
    logs_of = log_probabilities(reference.badnet)

    def score(pixels: NDArray[np.float32]) -> Array:
        logs = logs_of(pixels)
        return log_odds(logs, logs.argmax(axis=1))

    return by_batches(reference.badnet, score)
