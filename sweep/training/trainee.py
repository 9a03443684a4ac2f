"""A copy of a network that learns by single steps of Adam, its pruned channels held where they are.

Weights move in units of their size, so that one learning rate serves all layers alike.
"""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import clone, forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer
from sweep.networks.layer_types import (
    SEPARABLE,
    filters,
    has_heads,
    is_norm,
    makes_channels,
    unread_heads,
)
from sweep.networks.outputs import is_frozen_adapter
from sweep.training.defender import Batch
from sweep.training.seeds import seed_states

Array = NDArray[np.float32]
#: Share of images that are classified right, and their mean log-likelihood: larger is better.
Score = tuple[float, float]
UNIT = 0.05  # of weights that have no size of their own: about that of a usual kernel


class Trainee:
    """A copy of a network that learns, and can start anew; `seed` is that of its dropout."""

    def __init__(self, network: keras.Model, seed: int = 0) -> None:
        self.network = clone(network)
        for layer in self.network.layers:  # a backdoor may sit in what somebody froze
            layer.trainable = not is_frozen_adapter(layer)
        _seed_generators(self.network, seed)  # a file's are drawn anew whenever it is loaded
        self._initial = [variable.numpy() for variable in self.network.variables]
        self._variables = self.network.trainable_variables
        self._held = pruned_weights(self.network)
        self._start = [variable.numpy() for variable in self._variables]
        self._units = [_unit(values) for values in self._start]
        self._steps = [keras.Variable(np.zeros_like(value)) for value in self._start]
        self._optimizer = keras.optimizers.Adam()
        self._optimizer.build(self._steps)
        pixels, labels = forward.image_spec(network), tf.TensorSpec((None,), tf.int64)
        targets = tf.TensorSpec((None, None), tf.float32)
        self._compiled_step = tf.function(
            self._step, autograph=False, input_signature=[pixels, targets]
        )
        self._compiled_scores = tf.function(
            self._scores, autograph=False, input_signature=[pixels, labels]
        )
        self._batch_size = forward.batch_size(Graph(network).tensors)

    def reset(self) -> None:
        """Forget what was learned."""
        for variable, value in zip(self.network.variables, self._initial, strict=True):
            variable.assign(value)
        for variable in [*self._steps, *self._optimizer.variables]:
            if variable is not self._optimizer.learning_rate:
                variable.assign(keras.ops.zeros_like(variable))

    def train_step(self, pixels: Array, targets: Array, rate: float) -> float:
        """Take one step of Adam towards `targets`, (n, classes); the cross-entropy before it.

        Weights move in units of their size, the root of the mean square of a kernel: at a `rate` of
        0.01 a step moves it by about 1 %. So one rate serves a first layer that sees pixels up to
        255, whose weights are tiny, and all the others. Biases and the like are in units of 0.05.
        """
        self._optimizer.learning_rate = rate
        return float(self._compiled_step(pixels, targets))

    def evaluate(self, images: Batch) -> Score:
        """Share of the images whose class it says, and their mean cross-entropy, negated.

        Scores that are not finite say nothing: 0, and minus infinity.
        """
        pixels, labels = images
        batches = forward.batches(len(labels), self._batch_size)
        scores = [self._compiled_scores(pixels[rows], labels[rows]) for rows in batches]
        accuracy, loss = np.concatenate(scores, axis=1).mean(axis=1)
        return (float(accuracy), -float(loss)) if np.isfinite(loss) else (0.0, -np.inf)

    def _step(self, pixels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """As `train_step`, at the rate of the optimiser."""
        with tf.GradientTape() as tape:
            logs = outputs.log_probabilities(self.network, pixels, training=True)
            terms = tf.math.multiply_no_nan(logs, targets)  # what cannot be, and is not wanted: 0
            loss = -tf.reduce_mean(tf.reduce_sum(terms, axis=1))
        watched = [variable.value for variable in self._variables]
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, watched, unconnected_gradients=zero)
        scaled = [gradient * unit for gradient, unit in zip(gradients, self._units, strict=True)]
        self._optimizer.apply(scaled, self._steps)
        moves = zip(self._variables, self._start, self._steps, self._units, strict=True)
        for variable, start, step, unit in moves:
            variable.assign(start + step * unit)
        for variable, is_free, value in self._held:
            variable.assign(tf.where(is_free, variable.value, value))
        return loss

    def _scores(self, pixels: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Whether each image is classified right, and its cross-entropy, (2, n)."""
        logs = outputs.log_probabilities(self.network, pixels)
        is_right = tf.cast(tf.argmax(logs, axis=1) == labels, logs.dtype)
        return tf.stack([is_right, -outputs.of_labels(logs, labels)])


def pruned_weights(
    network: keras.Model,
) -> list[tuple[keras.Variable, NDArray[np.bool_], Array]]:
    """The weights of which some are to stay, each with which may change, and its values.

    Where all that makes a channel from its inputs is 0, it is taken for pruned: these zeros stay,
    and what is added to them. So do zeros where nothing is read of a head of attention.
    """
    held = []
    for layer in network.layers:
        if has_heads(layer) and unread_heads(layer).any():
            kernel = layer.output_dense.kernel
            is_read = np.ones(kernel.shape, dtype=bool)
            is_read[unread_heads(layer)] = False
            held.append((kernel, is_read, kernel.numpy()))
        dead = _dead_channels(layer)
        if dead is None or not dead.any():
            continue
        for variable in layer.trainable_variables:
            value = variable.numpy()
            stays = dead if value.shape == dead.shape else _makes_dead(layer, dead, value)
            held.append((variable, ~stays, value))
    return held


def _dead_channels(layer: Layer) -> NDArray[np.bool_] | None:
    """Which channels of `layer` are made by zeros alone; None where it makes or scales none."""
    if is_norm(layer):
        return None if layer.gamma is None else layer.gamma.numpy() == 0
    if not makes_channels(layer):
        return None
    weights = filters(layer)
    dead: NDArray[np.bool_] = (weights == 0).all(axis=tuple(range(weights.ndim - 1)))
    return dead


def _makes_dead(layer: Layer, dead: NDArray[np.bool_], kernel: Array) -> NDArray[np.bool_]:
    """Which entries of a `kernel` of `layer` make channels that are `dead`."""
    if type(layer) in SEPARABLE:  # the zeros of two kernels together
        return kernel == 0
    numbers = np.arange(kernel.size).reshape(kernel.shape)
    return np.isin(numbers, filters(layer, numbers)[..., dead])


def _unit(weights: Array) -> float:
    """The unit in which `weights` are moved."""
    size = float(np.sqrt(np.mean(np.square(weights, dtype=np.float64))))
    return size if weights.ndim > 1 and size > 0 else UNIT


def _seed_generators(network: keras.Model, seed: int) -> None:
    """Set the states of all seed generators in `network` by `seed`, each to other numbers."""
    rng = np.random.default_rng([seed, 4])
    for state in seed_states(network):
        state.assign(rng.integers(2**31, size=state.shape).astype(state.dtype))
