"""How sure a network is of what it says, without the rounding of probabilities near 1.

In float32 a probability above 1 - 6e-8 is 1. Poisoned images, and a good part of the clean ones,
are beyond that; they can be told apart by the log-odds of the same probability.
"""

from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput
from sweep.detectors.reference import Score
from sweep.networks import forward, outputs
from sweep.networks.forward import Pixels
from sweep.networks.graph import Graph

Array = NDArray[np.float64]


def log_probabilities(network: keras.Model) -> Callable[[NDArray[np.float32]], Array]:
    """From images of one batch to the logarithm of each class' probability, (n, classes), finite.

    Compiled once; of a softmax at the end the logits are taken, so that none is rounded to 0.
    """
    run = forward.compiled(
        lambda pixels: outputs.log_probabilities(network, pixels), [forward.image_spec(network)]
    )

    def finite(pixels: NDArray[np.float32]) -> Array:
        logs = np.asarray(run(pixels), np.float64)
        if not np.isfinite(logs).all():
            raise BadInput(forward.NOT_FINITE)
        return logs

    return finite


def log_odds(logs: Array, classes: NDArray[np.int64]) -> Array:
    """`log(p / (1 - p))` of the probability of one class of each image, (n,).

    logs: logarithms of probabilities, or of what is proportional to them, (n, classes).
    1 - p is the sum of the others', and as exact as these.
    """
    rows = np.arange(len(logs))
    others = logs.copy()
    others[rows, classes] = -np.inf
    return logs[rows, classes] - np.logaddexp.reduce(others, axis=1)


def by_batches(network: keras.Model, score: Callable[[NDArray[np.float32]], Array]) -> Score:
    """From the score of a batch to one of any number of images, of which one batch is in memory."""
    size = forward.batch_size(Graph(network).tensors)

    def score_all(pixels: Pixels) -> Array:
        batches = forward.batches(len(pixels), size)
        parts = [score(np.asarray(pixels[rows], np.float32)) for rows in batches]
        return np.concatenate([np.empty(0), *parts])

    return score_all


def sigmoid(odds: ArrayLike) -> Array:
    """The probability whose log-odds these are."""
    return np.exp(-np.logaddexp(0, -np.asarray(odds, np.float64)))
