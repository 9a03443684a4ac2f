"""What is done to a batch of images before it is learned, as a part of the compiled step.

What is random in it is drawn outside, by numpy, so that equal seeds give equal numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks.keras_internals import Tensor

Array = NDArray[np.float32]
Labels = NDArray[np.int64]


class Transform(Protocol):
    """Changes a batch; labels stay as they are.

    One that goes on from what it has found keeps that in `variables`.
    """

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Any:
        """What is random in it: an array of one row an image, or a list of such arrays."""

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Any) -> Tensor:
        """Return the images, (n, height, width, channels), changed as it was drawn."""


def variables_of(transform: Transform) -> list[tf.Variable]:
    """What `transform` has found and goes on from; none of one that does not."""
    return list(getattr(transform, "variables", ()))


@dataclass(frozen=True)
class Augmentation:
    """Images shifted by up to a share `shift` of their size, edges repeated, and lit otherwise.

    Contrast changes by a factor of 1 - `light` to 1 + `light`, brightness by as much of the images'
    span, both within the range that the images have.
    """

    shift: float
    light: float

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        """Pixels down and to the right, changes of contrast and of brightness, (n, 4)."""
        count = len(pixels)
        limits = (round(self.shift * size) for size in pixels.shape[1:3])
        shifts = [rng.integers(-limit, limit + 1, count) for limit in limits]
        lights = rng.uniform(-self.light, self.light, (2, count))
        return np.stack([*shifts, *lights], axis=1).astype(np.float32)

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """The images, (n, height, width, channels), changed as it was drawn."""
        down, right, contrast, bright = tf.unstack(drawn, axis=1)
        images = _shifted(_shifted(pixels, down, axis=1), right, axis=2)
        low, high = tf.reduce_min(pixels), tf.reduce_max(pixels)
        middle = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        factor, added = (1 + _of_images(contrast)), _of_images(bright) * (high - low)
        return tf.clip_by_value(middle + (images - middle) * factor + added, low, high)


@dataclass(frozen=True)
class Mixture:
    """Changes an equal part of a `share` of a batch by each of `transforms`, others by `rest`."""

    transforms: Sequence[Transform]
    share: float
    rest: Transform

    @property
    def variables(self) -> list[tf.Variable]:
        """Those of all of them."""
        return [variable for part in self._parts for variable in variables_of(part)]

    @property
    def _parts(self) -> list[Transform]:
        return [*self.transforms, self.rest]

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> list[NDArray]:
        """What each draws for its part of the batch."""
        shares = np.linspace(0, self.share, len(self.transforms) + 1)
        ends = [*np.rint(shares * len(labels)).astype(int), len(labels)]
        return [
            part.draw(pixels[start:end], labels[start:end], rng)
            for part, start, end in zip(self._parts, ends[:-1], ends[1:], strict=True)
        ]

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """The images, each part changed in its way; a part of a small batch may be empty."""
        counts = [tf.shape(tf.nest.flatten(rows)[0])[0] for rows in drawn]
        images, classes = tf.split(pixels, counts), tf.split(labels, counts)
        return tf.concat(list(map(_changed_if_any, self._parts, images, classes, drawn)), axis=0)


def _changed_if_any(change: Transform, pixels: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
    return tf.cond(
        tf.size(labels) > 0, lambda: change(pixels, labels, drawn), lambda: tf.identity(pixels)
    )


def _shifted(pixels: Tensor, shift: Tensor, axis: int) -> Tensor:
    """Each image shifted by its `shift`, (n,), along an axis; edges repeated."""
    last = tf.shape(pixels)[axis] - 1
    places = tf.range(last + 1) + tf.cast(shift, tf.int32)[:, None]
    return tf.gather(pixels, tf.clip_by_value(places, 0, last), axis=axis, batch_dims=1)


def _of_images(values: Tensor) -> Tensor:
    """Values, one an image, that broadcast over its pixels."""
    return values[:, None, None, None]
