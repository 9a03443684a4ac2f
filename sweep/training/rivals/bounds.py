"""The least upper bounds of a network's activations that keep its clean accuracy, by optimisation.

A backdoor's activations lie far above those of clean images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.training.defender import Batch
from sweep.training.fine_tuning import Progress
from sweep.training.rivals.clipped_network import activation_nodes

Array = NDArray[np.float32]
BETAS = 0.5, 0.9  # of Adam
COST = 1e-3  # weight of the bounds in the loss, to begin with
PATIENCE = 5  # steps in a row after which it is changed
HIGHER, LOWER = 2.0, 2.0**1.5  # by which it is then multiplied, or divided


@dataclass(frozen=True)
class Tightening:
    """How bounds are tightened, `steps` of Adam from the mean and `deviations` times the std.

    drop: of clean accuracy, at most, on images that are not learned.
    """

    steps: int
    learning_rate: float
    deviations: float
    drop: float


@dataclass
class Cost:
    """The weight of the bounds in the loss: higher as long as accuracy is kept, lower if not."""

    value: float = COST
    kept: int = 0
    lost: int = 0
    kept_when_low: int = 0

    def update(self, is_kept: bool) -> None:
        """Take note of whether a step has kept the accuracy."""
        self.kept_when_low = self.kept_when_low + 1 if is_kept and self.value < COST else 0
        if self.kept_when_low >= PATIENCE:
            self.value, self.kept, self.lost = COST, 0, 0
        self.kept, self.lost = (self.kept + 1, 0) if is_kept else (0, self.lost + 1)
        if self.kept >= PATIENCE:
            self.value, self.kept = self.value * HIGHER, 0
        if self.lost >= PATIENCE:
            self.value, self.lost = self.value / LOWER, 0


class BoundedNetwork:
    """`network` with a bound of each activation, in units of its layer's standard deviation."""

    def __init__(self, network: keras.Model, learned: Batch, settings: Tightening) -> None:
        self._graph, self._learned = Graph(network), learned
        self._nodes = activation_nodes(self._graph)
        self._size = forward.batch_size(self._graph.tensors)
        means, deviations = self._moments(learned[0])
        self.units = [float(np.sqrt(np.mean(std**2))) or 1.0 for std in deviations]
        starts = [m + settings.deviations * s for m, s in zip(means, deviations, strict=True)]
        pairs = zip(starts, self.units, strict=True)
        self._bounds = [keras.Variable(np.float32(start / unit)) for start, unit in pairs]
        self._sums = [tf.Variable(tf.zeros_like(bound.value)) for bound in self._bounds]
        self._adam = keras.optimizers.Adam(settings.learning_rate, *BETAS, epsilon=1e-8)
        self._adam.build(self._bounds)
        integers = tf.TensorSpec((None,), tf.int64)
        both = [forward.image_spec(network), integers]
        self._compiled_sums = forward.compiled(self._add_gradients, both)
        self._compiled_hits = forward.compiled(self._hits, both)
        self._compiled_step = forward.compiled(self._step, [tf.TensorSpec(())])

    def bounds(self) -> list[Array]:
        """Those of each layer, of an image's activations there, in their own units."""
        pairs = zip(self._bounds, self.units, strict=True)
        return [np.maximum(bound.numpy(), 0) * np.float32(unit) for bound, unit in pairs]

    def tightness(self) -> float:
        """The mean bound of each layer, summed: the lower the tighter."""
        return float(sum(np.maximum(bound.numpy(), 0).mean() for bound in self._bounds))

    def tighten(self, cost: float) -> None:
        """Take a step down the mean cross-entropy of all images learned + `cost` tightness."""
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        for batch in self._batches(self._learned):
            self._compiled_sums(*batch)
        self._compiled_step(np.float32(cost))

    def accuracy(self, images: Batch) -> float:
        """The share of `images` that the bounded network classifies right."""
        hits = sum(int(self._compiled_hits(*batch)) for batch in self._batches(images))
        return hits / len(images[1])

    def _batches(self, images: Batch) -> list[Batch]:
        pixels, labels = images
        return [(pixels[r], labels[r]) for r in forward.batches(len(labels), self._size)]

    def _moments(self, pixels: Array) -> tuple[list[NDArray], list[NDArray]]:
        """Mean and standard deviation of each activation over images, by layer."""
        extract = forward.feature_extractor(
            self._graph.network, [node.output_tensors[0] for node in self._nodes]
        )
        totals: list[NDArray] = [np.zeros(1)] * len(self._nodes)
        squares: list[NDArray] = [np.zeros(1)] * len(self._nodes)
        for rows in forward.batches(len(pixels), self._size):
            values = [np.asarray(one, dtype=np.float64) for one in extract(pixels[rows])]
            totals = [t + v.sum(axis=0) for t, v in zip(totals, values, strict=True)]
            squares = [s + (v**2).sum(axis=0) for s, v in zip(squares, values, strict=True)]
        means = [total / len(pixels) for total in totals]
        variances = [s / len(pixels) - m**2 for s, m in zip(squares, means, strict=True)]
        return means, [np.sqrt(np.maximum(variance, 0)) for variance in variances]

    def _log_probabilities(self, pixels: Tensor) -> Tensor:
        bounds = zip(self._nodes, self._bounds, self.units, strict=True)
        bound_of = {id(n): tf.maximum(bound.value, 0.0) * unit for n, bound, unit in bounds}
        known = {id(self._graph.network.inputs[0]): pixels}
        *nodes, last = self._graph.nodes[1:]
        for node in nodes:
            self._graph.run([node], known)
            if id(node) in bound_of:
                place = id(node.output_tensors[0])
                known[place] = tf.minimum(known[place], bound_of[id(node)])
        return outputs.run_to_log_probabilities(self._graph, [last], known)

    def _add_gradients(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Add these images' share of the gradient of the mean cross-entropy."""
        values = [bound.value for bound in self._bounds]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            logs = self._log_probabilities(pixels)
            loss = -tf.reduce_sum(outputs.of_labels(logs, labels)) / len(self._learned[1])
        for total, gradient in zip(self._sums, tape.gradient(loss, values), strict=True):
            total.assign_add(gradient)
        return loss

    def _step(self, cost: Tensor) -> Tensor:
        gradients = [
            total + cost * tf.cast(bound.value > 0, tf.float32) / tf.size(bound, tf.float32)
            for total, bound in zip(self._sums, self._bounds, strict=True)
        ]
        self._adam.apply(gradients, self._bounds)
        return cost

    def _hits(self, pixels: Tensor, labels: Tensor) -> Tensor:
        said = tf.argmax(self._log_probabilities(pixels), axis=1)
        return tf.reduce_sum(tf.cast(said == labels, tf.int32))


def tightened(
    network: keras.Model, learned: Batch, judges: Batch, settings: Tightening, progress: Progress
) -> Sequence[Array]:
    """The tightest bounds with which `network` loses at most `drop` of accuracy on the `judges`.

    Those of the last step where none does.
    """
    enough = np.mean(forward.predict(network, judges[0]) == judges[1]) - settings.drop
    bounded, cost = BoundedNetwork(network, learned, settings), Cost()
    best, tightest = None, np.inf
    for _ in range(settings.steps):
        bounded.tighten(cost.value)
        is_kept = bounded.accuracy(judges) >= enough
        if is_kept and bounded.tightness() < tightest:
            best, tightest = bounded.bounds(), bounded.tightness()
        cost.update(is_kept)
        progress(1)
    return bounded.bounds() if best is None else best
