"""What a defender does to clean images so that a network unlearns to heed it.

Each is a `fine_tuning.Transform` of a batch; labels stay as they are. How far is in units of the
images: pixels by their range, displacements by their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.training.fine_tuning import Transform
from sweep.training.inversion import ReversedTriggers

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
TINY = 1e-12
GRID = 6  # points a side from which a smooth field is drawn out
RATE = 0.1  # how far a step of a change goes, as a share of what it may at most be
WARM = 60  # batches by which changes are found before the network learns
SEEN = 1e-3  # of a mask, below which nothing is known of the pattern behind it
HALVINGS = 20


@dataclass(frozen=True)
class StampedTriggers:
    """Reversed triggers, each image with that of one of `classes`, another than its own."""

    triggers: ReversedTriggers
    classes: Sequence[int]

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        wanted, changed = rng.choice(self.classes, len(labels)), pixels.copy()
        for one in np.unique(wanted):
            rows = (wanted == one) & (labels != one)
            changed[rows] = self.triggers.stamp(pixels[rows], int(one))
        return changed


class AdversarialPerturbation:
    """Each image moved so that its loss grows, every pixel by at most `strength` of the range.

    `steps` along the sign of the gradient, from a random start (Madry et al., ICLR 2018, arXiv
    1706.06083).
    """

    def __init__(self, network: keras.Model, pixels: Array, *, strength: float, steps: int) -> None:
        self._low, self._high = pixel_range(pixels)
        self._most, self._steps = strength * (self._high - self._low), steps

        def uphill(pixels: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                loss = outputs.cross_entropy(network, pixels, labels)
            return tf.sign(tape.gradient(loss, pixels))

        labels = tf.TensorSpec((None,), tf.int64)
        self._uphill = forward.compiled(uphill, [forward.image_spec(network), labels])

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        most, low, high = self._most, self._low, self._high
        moved = rng.uniform(-most, most, pixels.shape).astype(np.float32)
        for _ in range(self._steps):
            way = self._uphill(np.clip(pixels + moved, low, high), labels).numpy()
            moved = np.clip(moved + 1.5 * most / self._steps * way, -most, most)
        return np.clip(pixels + moved, low, high).astype(np.float32)


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
        self._most = strength * (self._high - self._low), flow * pixels.shape[1]
        shapes = (count, *pixels.shape[1:]), (count, GRID, GRID, 2)
        rng = np.random.default_rng([seed, 3])
        self._added, self._moved = (
            tf.Variable(rng.normal(0, most / 10, shape).astype(np.float32))
            for most, shape in zip(self._most, shapes, strict=True)
        )
        number = tf.TensorSpec((None,), tf.int64)
        images = tf.TensorSpec((None, *pixels.shape[1:]), tf.float32)
        self._grow = forward.compiled(self._uphill, [images, number, number])
        self._change = forward.compiled(self._changed, [images, number])
        for _ in range(WARM):
            some = rng.integers(len(labels), size=min(64, len(labels)))
            self._grow(pixels[some], labels[some], rng.integers(count, size=len(some)))

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        which = rng.integers(self._count, size=len(labels))
        self._grow(pixels, labels, which)
        return self._change(pixels, which).numpy()

    def _uphill(self, pixels: Any, labels: Any, which: Any) -> Any:
        """Move the changes to where the loss of these images grows; the loss before."""
        found = self._added, self._moved
        with tf.GradientTape() as tape:
            loss = outputs.cross_entropy(self._network, self._changed(pixels, which), labels)
        slopes = map(tf.convert_to_tensor, tape.gradient(loss, found))
        for values, slope, most in zip(found, slopes, self._most, strict=True):
            slope = tf.where(tf.math.is_finite(slope), slope, 0.0)  # of a network that broke
            moved = values + RATE * most * slope / (_size(slope) + TINY)
            values.assign(moved * tf.minimum(1.0, most / (_size(moved) + TINY)))
        return loss

    def _changed(self, pixels: Any, which: Any) -> Any:
        """The images, each with the change of its number."""
        moves = tf.cast(which % 2 == 0, tf.float32)[:, None, None, None]
        field = tf.image.resize(tf.gather(self._moved, which), pixels.shape[1:3], "bicubic")
        moved = displaced(pixels, field * moves) + tf.gather(self._added, which) * (1 - moves)
        return tf.clip_by_value(moved, self._low, self._high)


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
        self._network, self._area, self._goals = network, area, np.asarray(stamped.classes)
        places = [np.flatnonzero(triggers.classes == goal)[0] for goal in self._goals]
        mask, paint = triggers.masks[places], triggers.paints[places]
        anything = rng.uniform(self._low, self._high, paint.shape)
        pattern = np.where(mask > SEEN, paint / np.maximum(mask, SEEN), anything)
        pattern = np.clip((pattern - self._low) / (self._high - self._low), 0, 1)
        self._masks, self._patterns = (
            tf.Variable(value.astype(np.float32)) for value in (mask, pattern)
        )
        number = tf.TensorSpec((None,), tf.int64)
        self._grow = forward.compiled(self._uphill, [forward.image_spec(network), number])
        self._change = forward.compiled(self._changed, [forward.image_spec(network), number])
        for _ in range(WARM):
            some = rng.integers(len(labels), size=min(64, len(labels)))
            self._grow(pixels[some], rng.integers(len(places), size=len(some)))

    def __call__(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        count = len(self._goals)
        which = rng.integers(count, size=len(labels))
        which = np.where(self._goals[which] == labels, (which + 1) % count, which)
        self._grow(pixels, which)
        there = (self._goals[which] == labels)[:, None, None, None]
        return np.where(there, pixels, self._change(pixels, which))

    def _uphill(self, pixels: Any, which: Any) -> Any:
        """Move masks and patterns to where images become their classes; the loss before."""
        goals = tf.gather(tf.constant(self._goals, tf.int64), which)
        found = self._masks, self._patterns
        with tf.GradientTape() as tape:
            loss = outputs.cross_entropy(self._network, self._changed(pixels, which), goals)
        slopes = map(tf.convert_to_tensor, tape.gradient(loss, found))
        mask, pattern = (tf.where(tf.math.is_finite(slope), slope, 0.0) for slope in slopes)
        self._patterns.assign(tf.clip_by_value(self._patterns - RATE * tf.sign(pattern), 0, 1))
        steepest = tf.reduce_max(tf.abs(mask), axis=(1, 2, 3), keepdims=True)
        self._masks.assign(within(self._masks - RATE * mask / (steepest + TINY), self._area))
        return loss

    def _changed(self, pixels: Any, which: Any) -> Any:
        """The images, each with the mask of its number."""
        mask, pattern = tf.gather(self._masks, which), tf.gather(self._patterns, which)
        return (1 - mask) * pixels + mask * (self._low + (self._high - self._low) * pattern)


def within(masks: Any, area: float) -> Any:
    """The nearest masks, (count, height, width, 1) in 0..1, of a mean of at most `area`.

    What is nearest is lower by the same everywhere, as on a simplex (Duchi et al., ICML 2008).
    """
    low = tf.zeros_like(masks[:, :1, :1])
    high = low + tf.reduce_max(masks, axis=(1, 2, 3), keepdims=True)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        over = _covered(masks - middle) > area
        low, high = tf.where(over, middle, low), tf.where(over, high, middle)
    lower = tf.where(_covered(masks) > area, high, 0.0)
    return tf.clip_by_value(masks - lower, 0, 1)


def _covered(masks: Any) -> Any:
    """The share of the image that each covers, (count, 1, 1, 1)."""
    return tf.reduce_mean(tf.clip_by_value(masks, 0, 1), axis=(1, 2, 3), keepdims=True)


def displaced(pixels: Any, field: Any) -> Any:
    """Images of which each pixel is read from where `field` points, bilinearly; differentiable.

    Pixels are (n, height, width, channels), the field is (n, height, width, 2): how many pixels
    down and to the right. What lies beyond an edge is read from the edge.
    """
    sizes = pixels.shape[1:3]
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).astype(np.float32)
    last = np.array(sizes, np.float32) - 1
    place = tf.clip_by_value(grid + field, 0.0, last)
    corner = tf.minimum(tf.floor(place), last - 1)
    share = (place - corner)[..., None]
    first = tf.cast(corner, tf.int32)

    def read(down: int, right: int) -> Any:
        there = tf.gather_nd(pixels, first + np.array([down, right], np.int32), batch_dims=1)
        vertical = share[..., 0, :] if down else 1 - share[..., 0, :]
        return there * vertical * (share[..., 1, :] if right else 1 - share[..., 1, :])

    return read(0, 0) + read(0, 1) + read(1, 0) + read(1, 1)


def _size(values: Any) -> Any:
    """Root of the mean square of each, (count, 1, 1, 1)."""
    return tf.sqrt(tf.reduce_mean(values**2, axis=(1, 2, 3), keepdims=True))


def mixed(transforms: Sequence[Transform], share: float, rest: Transform) -> Transform:
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
