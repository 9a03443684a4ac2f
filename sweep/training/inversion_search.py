"""The search for reversed triggers, of many classes at once: Adam on the values, a price on size.

Source: Neural Cleanse (Wang et al., S&P 2019).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.training.defender import Defender

Array = NDArray[np.float32]
Progress = Callable[[int], None]
Values = Sequence[Any]  # what is searched, tensors of (classes, height, width, 1 or channels)

START, LEAST = 2.0, 0.5  # price of a size of 1, in units of cross-entropy
DEARER, CHEAPER = 1.15, 0.82  # how it moves in a step, while the goal is reached and while not
KEPT, FIRST, SECOND = 0.9, 0.9, 0.99  # what a step leaves of the mean success, and of Adam's means
TINY = 1e-12


@dataclass(frozen=True)
class Kind:
    """A family of triggers: stamped = (1 - cover) * pixels + paint, clipped, pixels in 0..1.

    start: values to begin with, for one class, of an image's shape.
    cover: (cover, paint) of the values.
    size: (classes,) of the values, in shares of 0..1: what is made as small as can be.
    lowest: of each of the values; the highest is 1. rate: how far they go in a step, about.
    """

    start: Callable[[tuple[int, ...], np.random.Generator], list[NDArray]]
    cover: Callable[[Values], tuple[Any, Any]]
    size: Callable[[Values], Any]
    lowest: tuple[float, ...]
    rate: float


KINDS = {
    "mask": Kind(
        start=lambda shape, rng: [np.full((*shape[:2], 1), 0.1), rng.random(shape)],
        cover=lambda values: (values[0], values[0] * values[1]),
        size=lambda values: tf.reduce_mean(values[0], axis=(1, 2, 3)),
        lowest=(0.0, 0.0),
        rate=0.1,
    ),
    "additive": Kind(
        start=lambda shape, rng: [np.zeros(shape)],
        cover=lambda values: (tf.zeros_like(values[0][..., :1]), values[0]),
        size=lambda values: tf.sqrt(tf.reduce_mean(values[0] ** 2, axis=(1, 2, 3)) + TINY),
        lowest=(-1.0,),
        rate=0.05,
    ),
}


@dataclass(frozen=True)
class Search:
    """How triggers are searched for.

    kind: "mask", a pattern shown through a mask; or "additive", a change of all pixels.
    steps: of all classes, after which they are compared; `images` are drawn for each, None: 16, or
        8 where there are more than 64 classes, which takes long.
    refine: how many of the smallest are searched for `longer` more steps, of 4 times the images;
        their sizes stay those that were compared, so that all are searched alike.
    goal: share of images that a trigger must make its class, in the mean of the last steps.
    """

    kind: str = "mask"
    steps: int = 200
    images: int | None = None
    refine: int = 4
    longer: int = 100
    goal: float = 0.99

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"a reversed trigger of kind {self.kind}; expected {' or '.join(KINDS)}")
        fewest = min(self.steps, self.images or 1, 1 + self.refine, 1 + self.longer)
        if fewest < 1 or not 0 < self.goal < 1:
            expected = "steps, images > 0; refine, longer >= 0; 0 < goal < 1"
            raise BadInput(f"{self} came for reversed triggers; expected {expected}")

    def total(self, classes: int) -> int:
        """Steps of single classes in all, as many as `progress` is told of."""
        return classes * self.steps + min(self.refine, classes) * self.longer


SMALLEST, VALUES = 2, 3  # where they stand in the state of a search


class TriggerSearch:
    """The search itself, of as many classes at once as memory is meant to hold.

    Its state, arrays with one row a class: the price of size, the mean success, the smallest size
    that reached the goal, the values, those of the smallest, and Adam's two means of slopes.
    """

    def __init__(self, defender: Defender, search: Search, progress: Progress) -> None:
        self.defender, self.network, self.progress = defender, defender.network, progress
        self.kind, self.goal = KINDS[search.kind], search.goal
        self.pixel_range = pixel_range(defender.pixels)
        self.most = forward.batch_size(Graph(self.network).tensors)
        number, label = tf.TensorSpec((), tf.float32), tf.TensorSpec((None,), tf.int64)
        state = [tf.TensorSpec((None, *part.shape[1:]), tf.float32) for part in self.begun(1)]
        specs = [forward.image_spec(self.network), label, label, number, *state]
        self.step = forward.compiled(self._step, specs)

    def begun(self, count: int) -> list[Array]:
        """The state before the first step; all classes start from the same values."""
        rng = np.random.default_rng([self.defender.seed, 3])
        values = self.kind.start(self.defender.pixels.shape[1:], rng)
        empty = [np.zeros_like(value) for value in values]
        rows = [START, 0.0, np.inf, *values, *values, *empty, *empty]
        return [np.repeat(np.asarray(row, np.float32)[None], count, axis=0) for row in rows]

    def found(self, state: list[Array]) -> list[Array]:
        """The smallest values of each class that reached the goal; where none did, the last."""
        reached = np.isfinite(state[SMALLEST])[:, None, None, None]
        now, best, *_ = self._parted(state[VALUES:])
        return [np.where(reached, *pair) for pair in zip(best, now, strict=True)]

    def run(self, classes: NDArray, state: list[Array], steps: range, images: int) -> list[Array]:
        """The state after these steps; each class sees the same images, whoever is beside it."""
        images, rows = min(images, self.most), []
        for some in forward.batches(len(classes), self.most // images):
            part = [row[some] for row in state]
            batches = self.defender.batches(images, key=2 + steps.start)
            for number, (pixels, labels) in zip(steps, batches, strict=False):
                part = self.step(pixels, labels, classes[some], np.float32(number + 1), *part)
                self.progress(len(classes[some]))
            rows.append([np.asarray(row) for row in part])
        return [np.concatenate(row) for row in zip(*rows, strict=True)] if rows else state

    def _step(self, pixels: Any, labels: Any, classes: Any, number: Any, *state: Any) -> list[Any]:
        """One step of Adam on cross-entropy + price * size, and of the price, for each class."""
        price, mean, smallest = state[:VALUES]
        values, best, first, second = self._parted(state[VALUES:])
        others = tf.cast(labels[None] != classes[:, None], tf.float32)
        others /= tf.maximum(tf.reduce_sum(others, axis=1, keepdims=True), 1)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            logs, size = self._scores(pixels, values), self.kind.size(values)
            own = tf.gather(logs, classes, axis=2, batch_dims=1)
            loss = price * size - tf.reduce_sum(own * others, axis=1)
        slopes = tape.gradient(loss, values)
        hits = tf.cast(tf.argmax(logs, axis=2) == classes[:, None], tf.float32)
        mean += (1 - KEPT) * tf.reduce_sum((hits - mean[:, None]) * others, axis=1)
        reached = mean >= self.goal
        better = reached & (size < smallest)
        pairs = zip(values, best, strict=True)
        best = [tf.where(better[:, None, None, None], *pair) for pair in pairs]
        first = _mixed(FIRST, first, slopes)
        second = _mixed(SECOND, second, [slope**2 for slope in slopes])
        moved = []
        for value, slope, square, low in zip(values, first, second, self.kind.lowest, strict=True):
            spread = tf.sqrt(square / (1 - SECOND**number)) + TINY
            way = self.kind.rate * slope / (1 - FIRST**number) / spread
            moved.append(tf.clip_by_value(value - way, low, 1))
        price = tf.maximum(price * tf.where(reached, DEARER, CHEAPER), LEAST)
        return [price, mean, tf.where(better, size, smallest), *moved, *best, *first, *second]

    def _scores(self, pixels: Any, values: Values) -> Any:
        """Log probabilities of images with the triggers of `values`, (classes, images, scores)."""
        low, high = self.pixel_range
        cover, paint = (part[:, None] for part in self.kind.cover(values))
        stamped = tf.clip_by_value((1 - cover) * (pixels - low) / (high - low) + paint, 0, 1)
        flat = tf.reshape(low + (high - low) * stamped, (-1, *stamped.shape[2:]))
        logs = outputs.log_probabilities(self.network, flat)
        return tf.reshape(logs, (-1, tf.shape(pixels)[0], logs.shape[-1]))

    def _parted(self, tensors: Sequence[Any]) -> list[list[Any]]:
        length = len(self.kind.lowest)
        return [list(tensors[at : at + length]) for at in range(0, len(tensors), length)]


def _mixed(kept: float, means: Values, new: Values) -> list[Any]:
    return [kept * old + (1 - kept) * add for old, add in zip(means, new, strict=True)]
