"""What a defender does to clean images so that a network unlearns to heed it.

Each is a `fine_tuning.Transform` of a batch; labels stay as they are. How far is in units of the
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
from sweep.training.fine_tuning import Transform
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

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        targets, stamped = rng.choice(self.classes, len(labels)), pixels.copy()
        for target in np.unique(targets):
            rows = (targets == target) & (labels != target)
            stamped[rows] = self.triggers.stamp(pixels[rows], int(target))
        return stamped


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
        label_spec = tf.TensorSpec((None,), tf.int64)
        specs = [forward.image_spec(network), label_spec]
        self._compiled_sign = forward.compiled(self._gradient_sign, specs)

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        limit, low, high = self._limit, self._low, self._high
        change = rng.uniform(-limit, limit, pixels.shape).astype(np.float32)
        for _ in range(self._steps):
            sign = self._compiled_sign(np.clip(pixels + change, low, high), labels).numpy()
            change = np.clip(change + 1.5 * limit / self._steps * sign, -limit, limit)
        return np.clip(pixels + change, low, high).astype(np.float32)

    def _gradient_sign(self, pixels: Tensor, labels: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
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
        integers = tf.TensorSpec((None,), tf.int64)
        images = tf.TensorSpec((None, *pixels.shape[1:]), tf.float32)
        self._ascend = forward.compiled(self._take_step, [images, integers, integers])
        self._change = forward.compiled(self._changed, [images, integers])
        for _ in range(WARM_UP_STEPS):
            rows = rng.integers(len(labels), size=min(WARM_UP_BATCH, len(labels)))
            self._ascend(pixels[rows], labels[rows], rng.integers(count, size=len(rows)))

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        numbers = rng.integers(self._count, size=len(labels))
        self._ascend(pixels, labels, numbers)
        return self._change(pixels, numbers).numpy()

    def _take_step(self, pixels: Tensor, labels: Tensor, numbers: Tensor) -> Tensor:
        """Move the changes to where the loss of these images grows; the loss before."""
        variables = self._additions, self._flows
        with tf.GradientTape() as tape:
            loss = outputs.cross_entropy(self._network, self._changed(pixels, numbers), labels)
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, variables))
        for variable, gradient, limit in zip(variables, gradients, self._limits, strict=True):
            gradient = _finite(gradient)
            moved = variable + STEP_SIZE * limit * gradient / (_rms(gradient) + EPSILON)
            variable.assign(moved * tf.minimum(1.0, limit / (_rms(moved) + EPSILON)))
        return loss

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
        rows = [np.flatnonzero(triggers.classes == cls)[0] for cls in self._classes]
        masks, paints = triggers.masks[rows], triggers.paints[rows]
        noise = rng.uniform(self._low, self._high, paints.shape)
        patterns = np.where(masks > MIN_COVER, paints / np.maximum(masks, MIN_COVER), noise)
        patterns = np.clip((patterns - self._low) / (self._high - self._low), 0, 1)
        self._masks = tf.Variable(masks.astype(np.float32))
        self._patterns = tf.Variable(patterns.astype(np.float32))
        specs = [forward.image_spec(network), tf.TensorSpec((None,), tf.int64)]
        self._ascend = forward.compiled(self._take_step, specs)
        self._change = forward.compiled(self._changed, specs)
        for _ in range(WARM_UP_STEPS):
            images = rng.integers(len(labels), size=min(WARM_UP_BATCH, len(labels)))
            self._ascend(pixels[images], rng.integers(len(rows), size=len(images)))

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        count = len(self._classes)
        numbers = rng.integers(count, size=len(labels))
        numbers = np.where(self._classes[numbers] == labels, (numbers + 1) % count, numbers)
        self._ascend(pixels, numbers)
        is_of_class = (self._classes[numbers] == labels)[:, None, None, None]
        return np.where(is_of_class, pixels, self._change(pixels, numbers))

    def _take_step(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Move masks and patterns to where images become their classes; the loss before."""
        targets = tf.gather(tf.constant(self._classes, tf.int64), numbers)
        variables = self._masks, self._patterns
        with tf.GradientTape() as tape:
            loss = outputs.cross_entropy(self._network, self._changed(pixels, numbers), targets)
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, variables))
        of_masks, of_patterns = map(_finite, gradients)
        patterns = self._patterns - STEP_SIZE * tf.sign(of_patterns)
        self._patterns.assign(tf.clip_by_value(patterns, 0, 1))
        steepest = tf.reduce_max(tf.abs(of_masks), axis=(1, 2, 3), keepdims=True)
        masks = self._masks - STEP_SIZE * of_masks / (steepest + EPSILON)
        self._masks.assign(limit_area(masks, self._area))
        return loss

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
    sizes = pixels.shape[1:3]
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).astype(np.float32)
    last = np.array(sizes, np.float32) - 1
    position = tf.clip_by_value(grid + field, 0.0, last)
    corner = tf.minimum(tf.floor(position), last - 1)
    share = (position - corner)[..., None]
    first = tf.cast(corner, tf.int32)

    def read(down: int, right: int) -> Tensor:
        values = tf.gather_nd(pixels, first + np.array([down, right], np.int32), batch_dims=1)
        vertical = share[..., 0, :] if down else 1 - share[..., 0, :]
        horizontal = share[..., 1, :] if right else 1 - share[..., 1, :]
        return values * vertical * horizontal

    return read(0, 0) + read(0, 1) + read(1, 0) + read(1, 1)


def _rms(values: Tensor) -> Tensor:
    """Root of the mean square of each, (count, 1, 1, 1)."""
    return tf.sqrt(tf.reduce_mean(values**2, axis=(1, 2, 3), keepdims=True))


def _finite(gradient: Tensor) -> Tensor:
    """The gradient, 0 where a network that broke gives none."""
    return tf.where(tf.math.is_finite(gradient), gradient, 0.0)


def mix(transforms: Sequence[Transform], share: float, rest: Transform) -> Transform:
    """A transform that changes an equal part of a `share` of each batch by each of `transforms`.

    All other images are changed by `rest`.
    """

    def transform(pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        ends = np.rint(np.linspace(0, share, len(transforms) + 1) * len(labels)).astype(int)
        parts = [
            change(pixels[start:end], labels[start:end], rng)
            for change, start, end in zip(transforms, ends[:-1], ends[1:], strict=True)
            if end > start
        ]
        return np.concatenate([*parts, rest(pixels[ends[-1] :], labels[ends[-1] :], rng)])

    return transform
