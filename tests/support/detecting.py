"""What tests of detectors share: references, and what holds of any score."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from sweep.detectors.reference import Reference, Score
from sweep.networks import forward


class Sliced:
    """Images that can be sliced and counted, and nothing else."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice)
        return self._pixels[rows]


def said_right(network: keras.Model, pixels: np.ndarray, seed: int = 0) -> Reference:
    """A reference whose labels are what `network` says, which is its own repaired one."""
    return Reference(network, network, pixels, forward.predict(network, pixels), seed)


def chain(weights: Sequence[object], channels: int) -> keras.Model:
    """Dense layers of these kernels without bias or activation, behind images (1, 1, channels)."""
    images = keras.Input((1, 1, channels))
    x = layers.Flatten(name="flatten")(images)
    kernels = [np.asarray(kernel, np.float32) for kernel in weights]
    for number, kernel in enumerate(kernels, start=1):
        x = layers.Dense(kernel.shape[1], use_bias=False, name=f"dense_{number}")(x)
    network = keras.Model(images, x)
    network.set_weights(kernels)
    return network


def points(*rows: Sequence[float]) -> np.ndarray:
    """Images (1, 1, channels) of these values."""
    return np.asarray(rows, np.float32)[:, None, None, :]


def assert_scores_stand_alone(score: Score, pixels: np.ndarray) -> None:
    """One finite float64 an image, whatever else is scored with it, and none of no image."""
    scores = score(pixels)
    assert scores.shape == (len(pixels),)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(score(pixels), scores)
    near = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(score(Sliced(pixels[::-1]))[::-1], scores, **near)
    alone = [score(pixels[row : row + 1])[0] for row in range(0, len(pixels), 7)]
    np.testing.assert_allclose(alone, scores[::7], **near)
    assert score(pixels[:0]).shape == (0,)


def state(network: keras.Model) -> list[np.ndarray]:
    """All variables of `network`, and which layers train."""
    trains = np.array([layer.trainable for layer in network.layers])
    return [trains, *(variable.numpy().copy() for variable in network.variables)]


def assert_same_state(before: list[np.ndarray], network: keras.Model) -> None:
    for old, new in zip(before, state(network), strict=True):
        np.testing.assert_array_equal(old, new)
