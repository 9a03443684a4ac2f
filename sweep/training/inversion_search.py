"""The search for reversed triggers, of many classes at once: Adam on the values, a cost on size.

`Kind` says what is searched, `Search` how long, `SearchState` where a search stands and
`TriggerSearch` takes its steps. Source: Neural Cleanse (Wang et al., S&P 2019).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.training.defender import Defender

Array = NDArray[np.float32]
Progress = Callable[[int], None]
Values = Sequence[Tensor]  # what is searched, tensors of (classes, height, width, 1 or channels)

INITIAL_COST, MIN_COST = 2.0, 0.5  # of a size of 1, in units of cross-entropy
COST_UP, COST_DOWN = 1.15, 0.82  # factors a step, while the goal is reached and while not
MOMENTUM = 0.9  # what a step leaves of the mean success
BETA_1, BETA_2 = 0.9, 0.99  # what it leaves of Adam's means
EPSILON = 1e-12


@dataclass(frozen=True)
class Kind:
    """A family of triggers: stamped = (1 - cover) * pixels + paint, pixels in 0..1.

    start: values to begin with, for one class, of an image's shape.
    cover: (cover, paint) of the values.
    clipped: whether stamped pixels can leave their range, so that they are clipped.
    size: (classes,) of the values, in shares of 0..1: what is made as small as can be.
    lowest: of each of the values; the highest is 1. rate: how far they go in a step, about.
    """

    start: Callable[[tuple[int, ...], np.random.Generator], list[NDArray]]
    cover: Callable[[Values], tuple[Tensor, Tensor]]
    clipped: bool
    size: Callable[[Values], Tensor]
    lowest: tuple[float, ...]
    rate: float


KINDS = {
    "mask": Kind(
        start=lambda shape, rng: [np.full((*shape[:2], 1), 0.1), rng.random(shape)],
        cover=lambda values: (values[0], values[0] * values[1]),
        clipped=False,
        size=lambda values: tf.reduce_mean(values[0], axis=(1, 2, 3)),
        lowest=(0.0, 0.0),
        rate=0.1,
    ),
    "additive": Kind(
        start=lambda shape, rng: [np.zeros(shape)],
        cover=lambda values: (tf.zeros_like(values[0][..., :1]), values[0]),
        clipped=True,
        size=lambda values: tf.sqrt(tf.reduce_mean(values[0] ** 2, axis=(1, 2, 3)) + EPSILON),
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
        """Steps of single classes in all: the sum of what `progress` is told."""
        return classes * self.steps + min(self.refine, classes) * self.longer


@dataclass
class SearchState:
    """Where a search stands: arrays, or tensors, with one row a class.

    cost: (classes,), of a size of 1.
    success: (classes,), the share of images that become the class, in the mean of the last steps.
    smallest: (classes,), the smallest size that reached the goal; infinite before.
    values: what is searched, as `Kind` takes it; best: those of the smallest size.
    gradients, squares: Adam's means of the gradients by the values, and of their squares.
    """

    cost: Tensor
    success: Tensor
    smallest: Tensor
    values: list[Tensor]
    best: list[Tensor]
    gradients: list[Tensor]
    squares: list[Tensor]

    @classmethod
    def from_tensors(cls, tensors: Sequence[Tensor]) -> "SearchState":
        """The state whose `tensors` these are."""
        cost, success, smallest, *lists = tensors
        length = len(lists) // 4
        parts = (lists[start : start + length] for start in range(0, len(lists), length))
        return cls(cost, success, smallest, *parts)

    @property
    def tensors(self) -> list[Tensor]:
        """All of them in a row, as a compiled step takes and gives them."""
        lists = [*self.values, *self.best, *self.gradients, *self.squares]
        return [self.cost, self.success, self.smallest, *lists]

    def rows(self, rows: NDArray[np.int64] | slice) -> "SearchState":
        """The state of some of the classes."""
        return self.from_tensors([tensor[rows] for tensor in self.tensors])

    def put(self, rows: NDArray[np.int64], state: "SearchState") -> None:
        """Set the `rows` of these arrays to those of `state`."""
        for array, new in zip(self.tensors, state.tensors, strict=True):
            array[rows] = new


class TriggerSearch:
    """The search itself, of as many classes at once as memory is meant to hold."""

    def __init__(self, defender: Defender, search: Search, progress: Progress) -> None:
        self.defender, self.network, self.progress = defender, defender.network, progress
        self.kind, self.goal = KINDS[search.kind], search.goal
        self.pixel_range = pixel_range(defender.pixels)
        self.max_images = forward.batch_size(Graph(self.network).tensors)
        number, labels = tf.TensorSpec((), tf.float32), tf.TensorSpec((None,), tf.int64)
        state = [
            tf.TensorSpec((None, *array.shape[1:]), tf.float32)
            for array in self.initial_state(1).tensors
        ]
        specs = [forward.image_spec(self.network), labels, labels, number, *state]
        self._compiled_step = forward.compiled(self._step, specs)

    def initial_state(self, classes: int) -> SearchState:
        """The state before the first step; all classes start from the same values."""
        rng = np.random.default_rng([self.defender.seed, 3])
        values = self.kind.start(self.defender.pixels.shape[1:], rng)
        zeros = [np.zeros_like(value) for value in values]
        of_one_class = [INITIAL_COST, 0.0, np.inf, *values, *values, *zeros, *zeros]
        return SearchState.from_tensors(
            [np.repeat(np.asarray(row, np.float32)[None], classes, axis=0) for row in of_one_class]
        )

    def masks_and_paints(self, values: Values) -> tuple[Tensor, Tensor]:
        """How much of each pixel is covered, in 0..1, and what is then added, in pixel units."""
        low, high = self.pixel_range
        cover, paint = self.kind.cover(values)
        return cover, low * cover + (high - low) * paint

    def best_values(self, state: SearchState) -> list[Array]:
        """The smallest values of each class that reached the goal; where none did, the last."""
        reached = np.isfinite(state.smallest)[:, None, None, None]
        pairs = zip(state.best, state.values, strict=True)
        return [np.where(reached, best, last) for best, last in pairs]

    def run(
        self, classes: NDArray[np.int64], state: SearchState, steps: range, images: int
    ) -> SearchState:
        """The state after these steps; each class sees the same images, whatever others do."""
        if not len(classes):
            return state
        images = min(images, self.max_images)
        chunks = [
            self._run_chunk(classes[rows], state.rows(rows), steps, images)
            for rows in forward.batches(len(classes), self.max_images // images)
        ]
        return SearchState.from_tensors(
            [np.concatenate(arrays) for arrays in zip(*chunks, strict=True)]
        )

    def _run_chunk(
        self, classes: NDArray[np.int64], state: SearchState, steps: range, images: int
    ) -> list[Array]:
        """The arrays of the state after these steps of some classes, searched at once."""
        tensors = state.tensors
        batches = self.defender.batches(images, key=2 + steps.start)
        for step, (pixels, labels) in zip(steps, batches, strict=False):
            tensors = self._compiled_step(pixels, labels, classes, np.float32(step + 1), *tensors)
            self.progress(len(classes))
        return [np.asarray(tensor) for tensor in tensors]

    def _step(
        self, pixels: Tensor, labels: Tensor, classes: Tensor, number: Tensor, *tensors: Tensor
    ) -> list[Tensor]:
        """One step of Adam on cross-entropy + cost * size, and of the cost, for each class.

        The state comes and goes as `SearchState.tensors`; `number` counts the steps from 1.
        """
        state = SearchState.from_tensors(tensors)
        weights = _weights_of_others(labels, classes)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.values)
            logs, size = self._log_probabilities(pixels, state.values), self.kind.size(state.values)
            of_class = tf.gather(logs, classes, axis=2, batch_dims=1)
            loss = state.cost * size - tf.reduce_sum(of_class * weights, axis=1)
        gradients = tape.gradient(loss, state.values)
        hits = tf.cast(tf.argmax(logs, axis=2) == classes[:, None], tf.float32)
        change = tf.reduce_sum((hits - state.success[:, None]) * weights, axis=1)
        success = state.success + (1 - MOMENTUM) * change
        reached = success >= self.goal
        better = reached & (size < state.smallest)
        means = _moving_average(BETA_1, state.gradients, gradients)
        squares = _moving_average(BETA_2, state.squares, [slope**2 for slope in gradients])
        factor = tf.where(reached, COST_UP, COST_DOWN)
        return SearchState(
            cost=tf.maximum(state.cost * factor, MIN_COST),
            success=success,
            smallest=tf.where(better, size, state.smallest),
            values=self._adam(state.values, means, squares, number),
            best=_where(better, state.values, state.best),
            gradients=means,
            squares=squares,
        ).tensors

    def _adam(self, values: Values, means: Values, squares: Values, number: Tensor) -> list[Tensor]:
        """The values after step `number` of Adam, each within its bounds."""
        moved = []
        for value, mean, square, low in zip(values, means, squares, self.kind.lowest, strict=True):
            spread = tf.sqrt(square / (1 - BETA_2**number)) + EPSILON
            step = self.kind.rate * mean / (1 - BETA_1**number) / spread
            moved.append(tf.clip_by_value(value - step, low, 1))
        return moved

    def _log_probabilities(self, pixels: Tensor, values: Values) -> Tensor:
        """The log-probabilities of images with the triggers, (classes, images, scores)."""
        masks, paints = (part[:, None] for part in self.masks_and_paints(values))
        stamped = (1 - masks) * pixels + paints
        if self.kind.clipped:
            stamped = tf.clip_by_value(stamped, *self.pixel_range)
        logs = outputs.log_probabilities(
            self.network, tf.reshape(stamped, (-1, *stamped.shape[2:]))
        )
        return tf.reshape(logs, (-1, tf.shape(pixels)[0], logs.shape[-1]))


def _weights_of_others(labels: Tensor, classes: Tensor) -> Tensor:
    """Weights of the images for each class, (classes, images): equal, 0 for those of the class."""
    others = tf.cast(labels[None] != classes[:, None], tf.float32)
    return others / tf.maximum(tf.reduce_sum(others, axis=1, keepdims=True), 1)


def _moving_average(kept: float, means: Values, new: Values) -> list[Tensor]:
    return [kept * old + (1 - kept) * add for old, add in zip(means, new, strict=True)]


def _where(condition: Tensor, values: Values, others: Values) -> list[Tensor]:
    """Of `values` the classes of which the condition holds, of `others` the rest."""
    pairs = zip(values, others, strict=True)
    return [tf.where(condition[:, None, None, None], value, other) for value, other in pairs]
