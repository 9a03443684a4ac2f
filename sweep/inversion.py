"""Reversed triggers: for each class the least change of clean images that makes the network say it.

A class that takes far less than the others has a backdoor (`statistics.anomaly`). All classes are
searched together, in batches of classes x images, with gradients of the scores by the pixels; only
the network and clean validation images are asked. Source: Neural Cleanse (Wang et al., S&P 2019).
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput, forward, outputs
from sweep.defender import Defender
from sweep.graphs import Graph
from sweep.statistics import standing_out

Array = NDArray[np.float32]
Values = Sequence[Any]  # what is searched, tensors of (classes, height, width, 1 or channels)
Progress = Callable[[int], None]

START, LEAST = 2.0, 0.5  # price of a size of 1, in units of cross-entropy
DEARER, CHEAPER = 1.15, 0.82  # how it moves in a step, while the goal is reached and while not
KEPT, FIRST, SECOND = 0.9, 0.9, 0.99  # what a step leaves of the mean success, and of Adam's means
MANY = 64  # classes
SURER, JUDGED = 4, 256  # times as many images a step of a refined class; images at the end
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
class Reversed:
    """One reversed trigger for each of `classes`, (classes,).

    sizes: what it takes, all searched alike, in 0..1: the mean of the mask, the share of the image
        that is covered; or the root mean square of the change, 1 being the pixels' range. Infinite
        where no trigger reached the goal.
    success: share of images of other classes that become the class, measured at the end.
    masks: (classes, height, width, 1), in 0..1, how much of each pixel is covered; additive: 0.
    paints: (classes, height, width, channels), in pixel units, what is then added.
    limits: the lowest and the highest value of a pixel.
    """

    kind: str
    classes: NDArray[np.int64]
    sizes: NDArray[np.float64]
    success: NDArray[np.float64]
    masks: Array
    paints: Array
    limits: Array

    @property
    def indices(self) -> NDArray[np.float64]:
        """How far each class is smaller than the others, (classes,), see `standing_out`."""
        return standing_out(self.sizes)

    @property
    def ranked(self) -> NDArray[np.int64]:
        """The classes, smallest trigger first."""
        return self.classes[np.argsort(self.sizes, kind="stable")]

    def stamp(self, pixels: Array, cls: int) -> Array:
        """Images (n, height, width, channels) with the trigger of class `cls`, which was asked."""
        (place,) = np.flatnonzero(self.classes == cls)
        stamped = (1 - self.masks[place]) * pixels + self.paints[place]
        return np.clip(stamped, *self.limits).astype(np.float32)


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


def invert(
    defender: Defender,
    *,
    kind: str = "mask",
    classes: Sequence[int] | None = None,
    progress: Progress = lambda more: None,
    **settings: Any,
) -> Reversed:
    """The reversed triggers of `classes`, None: of all; recalled where they were made before.

    `settings` are those of `Search`; `progress` is told how many more of `Search.total` are done.
    Equal seeds give equal triggers on one machine. Raises BadInput for classes that are not there.
    """
    search = Search(kind, **settings)
    count = defender.network.output_shape[-1]
    wanted = np.unique(np.arange(count) if classes is None else np.asarray(classes, np.int64))
    if not len(wanted) or wanted[0] < 0 or wanted[-1] >= count:
        asked = f"reversed triggers were asked for the classes {wanted.tolist()}"
        raise BadInput(f"{asked}; expected some of the network's, 0 to {count - 1}")
    made, code = partial(_made, defender, search, wanted, progress), sys.modules[__name__]
    found = defender.recall("inversion", [search, wanted.tolist()], made, outputs, forward, code)
    return Reversed(kind, **found)


def _made(
    defender: Defender, search: Search, classes: NDArray[np.int64], progress: Progress
) -> dict[str, NDArray]:
    engine = _Engine(defender, search, progress)
    images = search.images or (16 if len(classes) <= MANY else 8)
    state = engine.run(classes, engine.begun(len(classes)), range(search.steps), images)
    sizes = state[SMALLEST].astype(np.float64)
    few = np.argsort(sizes, kind="stable")[: search.refine]
    begun, steps = [part[few] for part in state], range(search.steps, search.steps + search.longer)
    begun[SMALLEST][:] = np.inf  # what reached the goal on few images may not on more
    longer = engine.run(classes[few], begun, steps, SURER * images)
    reached = np.isfinite(longer[SMALLEST])
    for part, new in zip(state, longer, strict=True):
        part[few[reached]] = new[reached]
    cover, paint = map(np.asarray, KINDS[search.kind].cover(engine.found(state)))
    low, high = engine.limits
    found = {"classes": classes, "sizes": sizes, "masks": cover}
    found |= {"paints": low * cover + (high - low) * paint, "limits": np.float32([low, high])}
    triggers = Reversed(search.kind, success=np.zeros(len(classes)), **found)
    return found | {"success": _success(defender, triggers)}


def _success(defender: Defender, triggers: Reversed) -> NDArray[np.float64]:
    """Share of `JUDGED` images, those of the class left out, that become it, (classes,)."""
    network, rows = defender.network, forward.at_once(Graph(defender.network).tensors)
    told = forward.classifier(lambda p: network(p, training=False), [forward.images(network)])
    pixels, labels = defender.drawn(JUDGED, key=1)
    shares = []
    for cls in triggers.classes:
        stamped = triggers.stamp(pixels[labels != cls], int(cls))
        hits = [told(stamped[some]) == cls for some in forward.batches(len(stamped), rows)]
        shares.append(np.concatenate([*hits, [False] * (not hits)]).mean())
    return np.array(shares)


SMALLEST, VALUES = 2, 3  # where they stand in the state of a search


class _Engine:
    """The search itself, of as many classes at once as memory is meant to hold.

    Its state, arrays with one row a class: the price of size, the mean success, the smallest size
    that reached the goal, the values, those of the smallest, and Adam's two means of slopes.
    """

    def __init__(self, defender: Defender, search: Search, progress: Progress) -> None:
        self.defender, self.network, self.progress = defender, defender.network, progress
        self.kind, self.goal = KINDS[search.kind], search.goal
        self.limits = limits(defender.pixels)
        self.most = forward.at_once(Graph(self.network).tensors)
        number, label = tf.TensorSpec((), tf.float32), tf.TensorSpec((None,), tf.int64)
        state = [tf.TensorSpec((None, *part.shape[1:]), tf.float32) for part in self.begun(1)]
        specs = [forward.images(self.network), label, label, number, *state]
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
        low, high = self.limits
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


def limits(pixels: Array) -> tuple[float, float]:
    """The lowest and highest value that pixels may take, told from all that there are.

    0..1 or 0..255 where they lie within and go beyond half of it, else what they hold.
    """
    low, high = float(pixels.min()), float(pixels.max())
    for white in (1.0, 255.0):
        if low >= 0 and white / 2 < high <= white:
            return 0.0, white
    return low, max(high, low + 1e-6)
