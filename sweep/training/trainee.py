"""A copy of a network that learns by single steps of Adam, its pruned channels held where they are.

Weights move in units of their size, so that one learning rate serves all layers alike.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import clone, forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Tensor, seed_states
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

Array = NDArray[np.float32]
#: Share of images that are classified right, and their mean log-likelihood: larger is better.
Score = tuple[float, float]
UNIT = 0.05  # of weights that have no size of their own: about that of a usual kernel
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # of Adam, as Keras has them


class Trainee:
    """A copy of a network that learns, and can start anew; `seed` is that of its dropout."""

    def __init__(self, network: keras.Model, seed: int = 0) -> None:
        self.network = trainable_copy(network, seed)
        self._initial = [variable.numpy() for variable in self.network.variables]
        self._adam = Adam(self.network.trainable_variables)
        self._free = free_weights(self.network)
        specs = [forward.image_spec(network), tf.TensorSpec((None,), tf.int64)]
        self._compiled_scores = forward.compiled(self._scores, specs)
        self._batch_size = forward.batch_size(Graph(network).tensors)

    def reset(self) -> None:
        """Forget what was learned."""
        for variable, value in zip(self.network.variables, self._initial, strict=True):
            variable.assign(value)
        self._adam.reset()

    def train_step(self, pixels: Array, targets: Array, rate: float) -> float:
        """Take one step of Adam towards `targets`, (n, classes); the cross-entropy before it.

        Weights move in units of their size, the root of the mean square of a kernel: at a `rate` of
        0.01 a step moves it by about 1 %. So one rate serves a first layer that sees pixels up to
        255, whose weights are tiny, and all the others. Biases and the like are in units of 0.05.
        """
        return float(self._compiled_step(pixels, targets, np.float32(rate)))

    def evaluate(self, images: Batch) -> Score:
        """Share of the images whose class it says, and their mean cross-entropy, negated.

        Scores that are not finite say nothing: 0, and minus infinity.
        """
        pixels, labels = images
        batches = forward.batches(len(labels), self._batch_size)
        scores = [self._compiled_scores(pixels[rows], labels[rows]) for rows in batches]
        accuracy, loss = np.concatenate(scores, axis=1).mean(axis=1)
        return (float(accuracy), -float(loss)) if np.isfinite(loss) else (0.0, -np.inf)

    def learn(self, pixels: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """As `train_step`, as a part of a compiled step."""
        with tf.GradientTape() as tape:
            logs = outputs.log_probabilities(self.network, pixels, training=True)
            loss = soft_cross_entropy(logs, targets)
        variables = self.network.trainable_variables
        watched = [variable.value for variable in variables]
        gradients = tape.gradient(loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self._adam.apply(where_free(self._free, gradients), rate)
        return loss

    @cached_property
    def _compiled_step(self) -> Callable[..., Tensor]:
        targets, rate = tf.TensorSpec((None, None)), tf.TensorSpec(())
        return forward.compiled(self.learn, [forward.image_spec(self.network), targets, rate])

    def _scores(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Whether each image is classified right, and its cross-entropy, (2, n)."""
        logs = outputs.log_probabilities(self.network, pixels)
        is_right = tf.cast(tf.argmax(logs, axis=1) == labels, logs.dtype)
        return tf.stack([is_right, -outputs.of_labels(logs, labels)])


class Adam:
    """Steps of Adam that move each of `variables` in units of its size, as it is to begin with.

    Or in `units` that are given, one a variable. One operation a variable, which reads and writes
    each array once. Source: Kingma and Ba, ICLR 2015, arXiv 1412.6980.
    """

    def __init__(
        self, variables: Sequence[keras.Variable], units: Sequence[float] | None = None
    ) -> None:
        self._variables = [variable.value for variable in variables]
        self._units = units or [_unit(variable.numpy()) for variable in variables]
        self._means, self._squares = (
            [tf.Variable(tf.zeros_like(variable)) for variable in self._variables] for _ in range(2)
        )
        self._count = tf.Variable(0, dtype=tf.int64)

    def reset(self) -> None:
        """Forget all steps."""
        for variable in [*self._means, *self._squares, self._count]:
            variable.assign(tf.zeros_like(variable))

    def apply(self, gradients: Sequence[Tensor], rate: Tensor) -> None:
        """Take one step; what has never had a gradient but 0 stays as it is, exactly."""
        count = self._count.assign_add(1)
        slots = zip(self._variables, self._means, self._squares, self._units, strict=True)
        for (variable, mean, square, unit), gradient in zip(slots, gradients, strict=True):
            kind = variable.dtype
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=tf.cast(BETA_1, kind) ** tf.cast(count, kind),
                beta2_power=tf.cast(BETA_2, kind) ** tf.cast(count, kind),
                lr=tf.cast(rate * unit, kind),
                beta1=tf.cast(BETA_1, kind),
                beta2=tf.cast(BETA_2, kind),
                epsilon=tf.cast(EPSILON / unit, kind),
                grad=gradient,
            )


def trainable_copy(network: keras.Model, seed: int) -> keras.Model:
    """A copy of `network` all of which learns, its dropout drawn by `seed`."""
    copy = clone(network)
    for layer in copy.layers:  # a backdoor may sit in what somebody froze
        layer.trainable = not is_frozen_adapter(layer)
    _seed_generators(copy, seed)  # a file's are drawn anew whenever it is loaded
    return copy


def soft_cross_entropy(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of log-probabilities with `targets`, both (n, classes)."""
    terms = tf.math.multiply_no_nan(log_probabilities, targets)  # what cannot be and need not be: 0
    return -tf.reduce_mean(tf.reduce_sum(terms, axis=1))


def where_free(free: Mapping[int, NDArray[np.bool_]], changes: Sequence[Tensor]) -> list[Tensor]:
    """The changes of all trained weights, 0 where `free_weights` says that one stays as it is."""
    return [
        tf.where(free[place], change, 0) if place in free else change
        for place, change in enumerate(changes)
    ]


def free_weights(network: keras.Model) -> dict[int, NDArray[np.bool_]]:
    """Which of the trained weights may change, by their place, where not all of them may.

    Where all that makes a channel from its inputs is 0, it is taken for pruned: these zeros stay,
    and what is added to them. So do zeros where nothing is read of a head of attention.
    """
    places = {id(variable): place for place, variable in enumerate(network.trainable_variables)}
    free = {}
    for layer in network.layers:
        if has_heads(layer) and unread_heads(layer).any():
            kernel = layer.output_dense.kernel
            is_read = np.ones(kernel.shape, dtype=bool)
            is_read[unread_heads(layer)] = False
            free[places[id(kernel)]] = is_read
        dead = _dead_channels(layer)
        if dead is None or not dead.any():
            continue
        for variable in layer.trainable_variables:
            value = variable.numpy()
            stays = dead if value.shape == dead.shape else _makes_dead(layer, dead, value)
            free[places[id(variable)]] = ~stays
    return free


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
