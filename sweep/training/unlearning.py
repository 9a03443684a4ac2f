"""A network that has unlearned the clean images: what is left of it then is the backdoor.

Gradient ascent on the clean loss, made once for all that ask for it with the same settings.
"""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.networks import clone, forward, outputs
from sweep.networks.keras_internals import Tensor, seed_states
from sweep.training.defender import Defender

MOMENTUM = 0.9
NORM = 20.0  # that gradients are clipped to


def unlearned(
    defender: Defender,
    *,
    accuracy: float,
    learning_rate: float,
    batch_size: int,
    max_steps: int = 2000,
) -> keras.Model:
    """A copy of the defender's network that has unlearned its images, made once.

    Gradient ascent on the clean loss, gradients clipped to `NORM`, BatchNormalization in training,
    until at most `accuracy` of the images are classified right, or no more than by always naming
    the most common class (of few classes that is more, and ascent goes no lower), or for
    `max_steps`.
    """
    for name, value in {"unlearning_rate": learning_rate, "batch_size": batch_size}.items():
        if not value > 0:
            raise BadInput(f"prune.order.{name} is {value!r}; expected more than 0")
    if not 0 < accuracy < 1:
        raise BadInput(f"prune.order.accuracy is {accuracy!r}; expected a share between 0 and 1")

    def compute() -> dict[str, NDArray]:
        copy = clone(defender.network)
        _unlearn(copy, defender, accuracy, learning_rate, batch_size, max_steps)
        return {f"{place:05}": value for place, value in enumerate(copy.get_weights())}

    settings = [accuracy, learning_rate, batch_size, max_steps]
    weights = defender.get_or_compute("unlearned", settings, compute)
    network = clone(defender.network)
    network.set_weights([*weights.values()])
    return network


def _unlearn(
    network: keras.Model,
    defender: Defender,
    accuracy: float,
    learning_rate: float,
    batch_size: int,
    max_steps: int,
) -> None:
    """Raise the loss of `network`, which is changed, until it is right on few of the images."""
    ascent = _GradientAscent(network, learning_rate, defender.seed)
    predict = forward.predictor(network)
    labels = defender.images.labels
    goal = max(accuracy, np.bincount(labels).max() / len(labels))
    with terminal.progress("unlearning", max_steps, "steps at most") as done:
        for _, batch in zip(range(max_steps), defender.batches(batch_size), strict=False):
            batch_accuracy = ascent.step(*batch)
            if batch_accuracy <= 2 * goal and np.mean(predict(defender.pixels) == labels) <= goal:
                return
            done(1)


class _GradientAscent:
    """Steps by which `network`, which is changed, forgets images."""

    def __init__(self, network: keras.Model, learning_rate: float, seed: int) -> None:
        network.trainable = True
        for state in seed_states(network):
            state.assign([seed, 0])
        self._network = network
        self._optimizer = keras.optimizers.SGD(
            float(learning_rate), momentum=MOMENTUM, global_clipnorm=NORM
        )
        self._optimizer.build(network.trainable_variables)
        self._compiled_step = tf.function(self._step, autograph=False)

    def step(self, pixels: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """Take one step up the loss of a batch; the accuracy on it before."""
        return float(self._compiled_step(pixels, labels))

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        variables = self._network.trainable_variables
        with tf.GradientTape() as tape:
            logs = outputs.log_probabilities(self._network, pixels, training=True)
            log_likelihood = tf.reduce_mean(outputs.of_labels(logs, labels))
        gradients = tape.gradient(log_likelihood, [variable.value for variable in variables])
        self._optimizer.apply(gradients, variables)
        return tf.reduce_mean(tf.cast(tf.argmax(logs, axis=1) == labels, tf.float32))
