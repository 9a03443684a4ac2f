"""What is done to a batch of images before it is learned, as a part of the compiled step.

What is random in it is drawn outside, by numpy, so that equal seeds give equal numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import outputs
from sweep.networks.keras_internals import Tensor

Array = NDArray[np.float32]
Labels = NDArray[np.int64]


class Transform(Protocol):
    """Changes a batch; labels stay as they are.

    One that goes on from what it has found keeps that in `variables`. One that makes other images
    of them, which are to be something else, says what by `targets`.
    """

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Any:
        """What is random in it: an array of one row an image, or a list of such arrays."""

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Any) -> Tensor:
        """Return the images, (n, height, width, channels), changed as it was drawn."""


def variables_of(transform: Transform) -> list[tf.Variable]:
    """What `transform` has found and goes on from; none of one that does not."""
    return list(getattr(transform, "variables", ()))


def targets_of(
    transform: Transform, pixels: Tensor, labels: Tensor, targets: Tensor, drawn: Any
) -> Tensor:
    """What images that `transform` has changed are to be, (n, classes): `targets`, or what it says.

    `labels` and `targets` are those of the images as they were.
    """
    say = getattr(transform, "targets", None)
    return targets if say is None else say(pixels, labels, targets, drawn)


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


MUCH = Augmentation(shift=0.1, light=0.4)


@dataclass(frozen=True)
class MatchedMixtures:
    """Images mixed with each other, which are to be what a teacher says of the mixture.

    Each is augmented, much, and mixed with another of the batch by any share from 0 to 1. So few
    images make endlessly many, on which a network is kept to what its teacher does. Source:
    function matching, Beyer et al., CVPR 2022, arXiv 2106.05237; mixup, Zhang et al., ICLR 2018,
    arXiv 1710.09412.
    """

    teacher: keras.Model
    augmentation: Augmentation = MUCH

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> list[NDArray]:
        """What the augmentation draws, the other image of each, and its own share, (n,) both."""
        count = len(pixels)
        augmented = self.augmentation.draw(pixels, labels, rng)
        return [augmented, rng.permutation(count), rng.random(count).astype(np.float32)]

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """The mixtures, (n, height, width, channels)."""
        augmented, others, shares = drawn
        images, own = self.augmentation(pixels, labels, augmented), _of_images(shares)
        return own * images + (1 - own) * tf.gather(images, others)

    def targets(self, pixels: Tensor, labels: Tensor, targets: Tensor, drawn: Any) -> Tensor:
        """What the teacher says of the mixtures, (n, classes); where it is no number, `targets`."""
        said = tf.exp(outputs.log_probabilities(self.teacher, pixels))
        is_said = tf.reduce_all(tf.math.is_finite(said), axis=1, keepdims=True)
        return tf.where(is_said, said, targets)


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
        changed = [
            _if_any(part, images, images, classes, of_part)
            for part, images, classes, of_part in self._split(drawn, pixels, labels)
        ]
        return tf.concat(changed, axis=0)

    def targets(
        self, pixels: Tensor, labels: Tensor, targets: Tensor, drawn: Sequence[Tensor]
    ) -> Tensor:
        """What the images are to be, (n, classes), as each part says."""
        said = [
            _if_any(partial(targets_of, part), wanted, images, classes, wanted, of_part)
            for part, images, classes, wanted, of_part in self._split(
                drawn, pixels, labels, targets
            )
        ]
        return tf.concat(said, axis=0)

    def _split(self, drawn: Sequence[Tensor], *arrays: Tensor) -> Iterator[tuple[Any, ...]]:
        """Each part, its images' rows of the arrays, and what was drawn for it."""
        counts = [tf.shape(tf.nest.flatten(rows)[0])[0] for rows in drawn]
        split = (tf.split(array, counts) for array in arrays)
        return zip(self._parts, *split, drawn, strict=True)


def _if_any(make: Callable[..., Tensor], otherwise: Tensor, *arguments: Tensor) -> Tensor:
    """What is made of some images; `otherwise` where there is none."""
    return tf.cond(
        tf.shape(otherwise)[0] > 0, lambda: make(*arguments), lambda: tf.identity(otherwise)
    )


def _shifted(pixels: Tensor, shift: Tensor, axis: int) -> Tensor:
    """Each image shifted by its `shift`, (n,), along an axis; edges repeated."""
    last = tf.shape(pixels)[axis] - 1
    places = tf.range(last + 1) + tf.cast(shift, tf.int32)[:, None]
    return tf.gather(pixels, tf.clip_by_value(places, 0, last), axis=axis, batch_dims=1)


def _of_images(values: Tensor) -> Tensor:
    """Values, one an image, that broadcast over its pixels."""
    return values[:, None, None, None]
