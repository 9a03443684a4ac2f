"""What a defender does to clean images so that a network unlearns to heed it.

Each is a `transforms.Transform` of a batch; labels stay as they are. How far is in units of the
images: pixels by their range, displacements by their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.data.images import HeldPixels, pixel_range
from sweep.networks import forward, outputs
from sweep.networks.keras_internals import Tensor
from sweep.training.inversion import ReversedTriggers

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
EPSILON = 1e-12
GRID = 6  # points a side from which a smooth field is drawn out
STEP_SIZE = 0.1  # of a change, as a share of what it may at most be
WARM_UP_STEPS = 60  # by which changes are found before the network learns
WARM_UP_BATCH = 64  # images a step
MIN_COVER = 1e-3  # of a mask, below which nothing is known of the pattern behind it
HALVINGS = 20


@dataclass(frozen=True)
class StampedTriggers:
    """Reversed triggers, each image with that of one of `classes`, another than its own."""

    triggers: ReversedTriggers
    classes: Sequence[int]

    @property
    def rows(self) -> list[int]:
        """Where in `triggers` those of `classes` stand."""
        return [int(np.flatnonzero(self.triggers.classes == cls)[0]) for cls in self.classes]

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Labels:
        """Which of `classes` each image is to become, (n,), by its place."""
        return rng.integers(len(self.classes), size=len(labels))

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """The images with triggers, but for those that are of the class already."""
        triggers, rows = self.triggers, self.rows
        masks, paints = (tf.gather(part[rows], drawn) for part in (triggers.masks, triggers.paints))
        stamped = tf.clip_by_value((1 - masks) * pixels + paints, *triggers.pixel_range)
        return _but_for_own(self.classes, labels, drawn, pixels, stamped)


class AdversarialPerturbation:
    """Each image moved so that its loss grows, every pixel by at most `strength` of the range.

    `steps` along the sign of the gradient, from a random start (Madry et al., ICLR 2018, arXiv
    1706.06083).
    """

    def __init__(
        self, network: keras.Model, pixels: HeldPixels, *, strength: float, steps: int
    ) -> None:
        self._network, self._steps = network, steps
        self._low, self._high = pixel_range(pixels)
        self._limit = strength * (self._high - self._low)

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        """Where each pixel starts from, of the pixels' shape."""
        return rng.uniform(-self._limit, self._limit, pixels.shape).astype(np.float32)

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """The images, moved from where it was drawn."""
        limit, low, high = self._limit, self._low, self._high
        change = drawn
        for _ in range(self._steps):
            sign = self._gradient_sign(tf.clip_by_value(pixels + change, low, high), labels)
            change = tf.clip_by_value(change + 1.5 * limit / self._steps * sign, -limit, limit)
        return tf.clip_by_value(pixels + change, low, high)

    def _gradient_sign(self, pixels: Tensor, labels: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            loss = outputs.cross_entropy(self._network, pixels, labels)
        return tf.sign(tape.gradient(loss, pixels))


class UniversalPerturbation:
    """Changes that are the same for all images, found while the network learns to resist them.

    A backdoor is what turns any image into another class by one and the same change; so a network
    is taught that no such change matters (I-BAU, Zeng et al., ICLR 2022, arXiv 2110.03735). Of
    `count` changes every other one is added to the images, the root of its mean square at most
    `strength` of their range; the rest move pixels along a smooth field, by at most `flow` of the
    images' height, root mean square too. Each image gets one of them. Before every batch they are
    moved up the gradient of its loss.

    Differs: there one perturbation, added, and the network learns by an implicit gradient through
    it; here there are several, they learn side by side with the network, and some move pixels: a
    warp adds nothing that is the same for all images.
    """

    def __init__(
        self,
        network: keras.Model,
        pixels: Array,
        labels: Labels,
        *,
        count: int,
        strength: float,
        flow: float,
        seed: int,
    ) -> None:
        self._low, self._high = pixel_range(pixels)
        self._count, self._network = count, network
        self._limits = strength * (self._high - self._low), flow * pixels.shape[1]
        shapes = (count, *pixels.shape[1:]), (count, GRID, GRID, 2)
        rng = np.random.default_rng([seed, 3])
        self._additions, self._flows = (
            tf.Variable(rng.normal(0, limit / 10, shape).astype(np.float32))
            for limit, shape in zip(self._limits, shapes, strict=True)
        )
        self.variables = [self._additions, self._flows]
        integers = tf.TensorSpec((None,), tf.int64)
        images = tf.TensorSpec((None, *pixels.shape[1:]), tf.float32)
        step = forward.compiled(self.__call__, [images, integers, integers])
        for _ in range(WARM_UP_STEPS):
            rows = rng.integers(len(labels), size=min(WARM_UP_BATCH, len(labels)))
            step(pixels[rows], labels[rows], rng.integers(count, size=len(rows)))

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Labels:
        """Which of the changes each image gets, (n,)."""
        return rng.integers(self._count, size=len(labels))

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """Move the changes to where the loss of these images grows; the images, changed then."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            loss = outputs.cross_entropy(self._network, self._changed(pixels, drawn), labels)
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, self.variables))
        for variable, gradient, limit in zip(self.variables, gradients, self._limits, strict=True):
            gradient = _finite(gradient)
            moved = variable + STEP_SIZE * limit * gradient / (_rms(gradient) + EPSILON)
            variable.assign(moved * tf.minimum(1.0, limit / (_rms(moved) + EPSILON)))
        return self._changed(pixels, drawn)

    def _changed(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """The images, each with the change of its number."""
        is_flow = tf.cast(numbers % 2 == 0, tf.float32)[:, None, None, None]
        field = tf.image.resize(tf.gather(self._flows, numbers), pixels.shape[1:3], "bicubic")
        moved = displaced(pixels, field * is_flow)
        changed = moved + tf.gather(self._additions, numbers) * (1 - is_flow)
        return tf.clip_by_value(changed, self._low, self._high)


class AdaptiveMasks:
    """Reversed masks that follow what B' still heeds: moved and grown while it learns.

    A reversed trigger is the least that works, often a corner of the real one; a network that has
    unlearned the corner may heed the rest. So each of the masks of `stamped` starts where it was
    found, and before every batch goes up the gradient of the probability of its class, the pattern
    by its sign, the mask by its size, at most a share `area` of the image. No image is learned with
    the mask of its own class. Rounds of reversing and unlearning (Neural Cleanse, Wang et al., S&P
    2019), in steps of a batch.
    """

    def __init__(
        self,
        network: keras.Model,
        pixels: Array,
        labels: Labels,
        *,
        stamped: StampedTriggers,
        area: float,
        seed: int,
    ) -> None:
        triggers, rng = stamped.triggers, np.random.default_rng([seed, 7])
        self._low, self._high = map(float, triggers.pixel_range)
        self._network, self._area = network, area
        self._classes = np.asarray(stamped.classes)
        rows = stamped.rows
        masks, paints = triggers.masks[rows], triggers.paints[rows]
        noise = rng.uniform(self._low, self._high, paints.shape)
        patterns = np.where(masks > MIN_COVER, paints / np.maximum(masks, MIN_COVER), noise)
        patterns = np.clip((patterns - self._low) / (self._high - self._low), 0, 1)
        self._masks = tf.Variable(masks.astype(np.float32))
        self._patterns = tf.Variable(patterns.astype(np.float32))
        self.variables = [self._masks, self._patterns]
        integers = tf.TensorSpec((None,), tf.int64)
        step = forward.compiled(self.__call__, [forward.image_spec(network), integers, integers])
        for _ in range(WARM_UP_STEPS):
            images = rng.integers(len(labels), size=min(WARM_UP_BATCH, len(labels)))
            step(pixels[images], labels[images], rng.integers(len(rows), size=len(images)))

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Labels:
        """Whose mask each image gets, (n,), by its place; another than of its own class."""
        count = len(self._classes)
        drawn = rng.integers(count, size=len(labels))
        return np.where(self._classes[drawn] == labels, (drawn + 1) % count, drawn)

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        """Move masks and patterns to where images become their classes; the images with them."""
        targets = tf.gather(tf.constant(self._classes, tf.int64), drawn)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            loss = outputs.cross_entropy(self._network, self._changed(pixels, drawn), targets)
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, self.variables))
        of_masks, of_patterns = map(_finite, gradients)
        patterns = self._patterns - STEP_SIZE * tf.sign(of_patterns)
        self._patterns.assign(tf.clip_by_value(patterns, 0, 1))
        steepest = tf.reduce_max(tf.abs(of_masks), axis=(1, 2, 3), keepdims=True)
        masks = self._masks - STEP_SIZE * of_masks / (steepest + EPSILON)
        self._masks.assign(limit_area(masks, self._area))
        return _but_for_own(self._classes, labels, drawn, pixels, self._changed(pixels, drawn))

    def _changed(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """The images, each with the mask of its number."""
        mask, pattern = tf.gather(self._masks, numbers), tf.gather(self._patterns, numbers)
        return (1 - mask) * pixels + mask * (self._low + (self._high - self._low) * pattern)


def limit_area(masks: Tensor, area: float) -> Tensor:
    """The nearest masks, (count, height, width, 1) in 0..1, of a mean of at most `area`.

    What is nearest is lower by the same everywhere, as on a simplex (Duchi et al., ICML 2008).
    """
    low = tf.zeros_like(masks[:, :1, :1])
    high = low + tf.reduce_max(masks, axis=(1, 2, 3), keepdims=True)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_larger = _area(masks - middle) > area
        low, high = tf.where(is_larger, middle, low), tf.where(is_larger, high, middle)
    excess = tf.where(_area(masks) > area, high, 0.0)
    return tf.clip_by_value(masks - excess, 0, 1)


def _area(masks: Tensor) -> Tensor:
    """The share of the image that each covers, (count, 1, 1, 1)."""
    return tf.reduce_mean(tf.clip_by_value(masks, 0, 1), axis=(1, 2, 3), keepdims=True)


def displaced(pixels: Tensor, field: Tensor) -> Tensor:
    """Images of which each pixel is read from where `field` points, bilinearly; differentiable.

    Pixels are (n, height, width, channels), the field is (n, height, width, 2): how many pixels
    down and to the right. What lies beyond an edge is read from the edge.
    """
    _, height, width, channels = pixels.shape
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    last = np.array([height, width], np.float32) - 1
    position = tf.clip_by_value(grid.astype(np.float32) + field, 0.0, last)
    corner = tf.minimum(tf.floor(position), last - 1)
    down, right = tf.split(position - corner, 2, axis=-1)
    row, column = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
    first = (tf.range(tf.shape(pixels)[0])[:, None, None] * height + row) * width + column
    flat = tf.reshape(pixels, (-1, channels))  # so that a pixel's place is a single number

    def read(left: Tensor) -> Tensor:
        return tf.gather(flat, left) * (1 - right) + tf.gather(flat, left + 1) * right

    return read(first) * (1 - down) + read(first + width) * down


def _rms(values: Tensor) -> Tensor:
    """Root of the mean square of each, (count, 1, 1, 1)."""
    return tf.sqrt(tf.reduce_mean(values**2, axis=(1, 2, 3), keepdims=True))


def _finite(gradient: Tensor) -> Tensor:
    """The gradient, 0 where a network that broke gives none."""
    return tf.where(tf.math.is_finite(gradient), gradient, 0.0)


def _but_for_own(
    classes: Sequence[int] | Labels, labels: Tensor, drawn: Tensor, pixels: Tensor, changed: Tensor
) -> Tensor:
    """The images `changed`, of those whose own class was drawn of `classes` the `pixels`."""
    is_own = tf.gather(tf.constant(classes, tf.int64), drawn) == labels
    return tf.where(is_own[:, None, None, None], pixels, changed)
