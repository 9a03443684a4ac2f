"""SCALE-UP: what a trigger says is said however bright the image is made."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.data.images import pixel_range
from sweep.detectors.panel.settings import is_number
from sweep.detectors.panel.surety import (
    Array,
    by_batches,
    log_odds,
    log_probabilities,
    sigmoid,
)
from sweep.detectors.reference import Reference, Score


def scale_up(reference: Reference, *, factors: Sequence[float] = (3, 5, 7, 9, 11)) -> Score:
    """SCALE-UP: B's class stays the same while pixels are multiplied.

    Score: the share of `factors` n for which the class of `clip(n x)` is that of x, plus the mean
    probability of that class over them divided by the number of factors + 1, which breaks ties and
    nothing else. Pixels are multiplied from black on, and clipped at white: the range of the
    reference pixels.

    Needs: B, and clean images for the range of pixels alone; no labels.

    Passes: 1 + the number of `factors` of B an image (6).

    Source: Guo, Li, Chen, Guo, Sun, Liu, "SCALE-UP: An Efficient Black-box Input-level Backdoor
    Detection via Analyzing Scaled Prediction Consistency", ICLR 2023, arXiv 2302.03251.

    Differs: the paper sees classes alone, and its shares take 6 values; many clean images, and
    nearly all poisoned ones, have 1, so that no threshold lies between. Whoever has B has its
    probabilities. This is the data-free variant; the other one takes the mean and deviation of each
    class' clean images off.
    """
    try:
        fit = len(factors) > 0 and all(is_number(factor, 1) for factor in factors)
    except TypeError:
        fit = False
    if not fit:
        raise BadInput(f"detector.factors is {factors!r}; expected one or more numbers above 1")
    black, white = pixel_range(reference.pixels)
    logs_of = log_probabilities(reference.badnet)

    def score(pixels: NDArray[np.float32]) -> Array:
        said = logs_of(pixels).argmax(axis=1)
        same, probability = np.zeros(len(pixels)), np.zeros(len(pixels))
        for factor in factors:
            logs = logs_of(np.clip(black + np.float32(factor) * (pixels - black), black, white))
            same += logs.argmax(axis=1) == said
            probability += sigmoid(log_odds(logs, said))
        return (same + probability / (len(factors) + 1)) / len(factors)

    return by_batches(reference.badnet, score)
