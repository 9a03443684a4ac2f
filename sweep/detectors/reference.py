"""What a detector is: from what a defender has, to a score for each image that is to be tested.

A detector is a function `(reference, ...) -> score`, and `score` one from images to suspicion. All
that it may learn it learns from the `Reference`: no image that its threshold is set on, no test
image and no poisoned one is in there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sweep.networks.forward import Pixels

#: From images, float32 (n, height, width, channels), to how suspect each is, float64 (n,): the
#: higher the more; always finite.
Score = Callable[[Pixels], NDArray[np.float64]]


@dataclass(frozen=True)
class Reference:
    """The suspect network B (`badnet`), the repaired one B', and clean images with their labels.

    pixels: float32 (n, height, width, channels), as the networks see them.
    labels: int64 (n,).
    seed: the run's one integer.
    """

    badnet: keras.Model
    repaired: keras.Model
    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    seed: int = 0


Detector = Callable[[Reference], Score]
