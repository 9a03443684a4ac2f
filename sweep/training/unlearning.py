"""A network that has unlearned the clean images: what is left of it then is the backdoor.

Gradient ascent on the clean loss, made once for all that ask for it with the same settings.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.networks import clone, forward, outputs
from sweep.networks.graph import Graph
from sweep.training.defender import Defender
from sweep.training.seeds import seed_states

MOMENTUM = 0.9
NORM = 20.0  # that gradients are clipped to


def unlearned(
    defender: Defender, *, accuracy: float, learning_rate: float, batch_size: int, most: int = 2000
) -> keras.Model:
    """A copy of the defender's network that has unlearned its images, made once.

    Gradient ascent on the clean loss, gradients clipped to `NORM`, BatchNormalization in training,
    until at most `accuracy` of the images are classified right, or no more than by always naming
    the most common class (of few classes that is more, and ascent goes no lower), or for `most`
    steps.
    """
    for name, value in {"unlearning_rate": learning_rate, "batch_size": batch_size}.items():
        if not value > 0:
            raise BadInput(f"prune.order.{name} is {value!r}; expected more than 0")
    if not 0 < accuracy < 1:
        raise BadInput(f"prune.order.accuracy is {accuracy!r}; expected a share between 0 and 1")

    def make() -> dict[str, NDArray]:
        copy = clone(defender.network)
        _unlearn(copy, defender, accuracy, learning_rate, batch_size, most)
        return {f"{place:05}": value for place, value in enumerate(copy.get_weights())}

    settings = [accuracy, learning_rate, batch_size, most]
    weights = defender.get_or_compute("unlearned", settings, make)
    network = clone(defender.network)
    network.set_weights([*weights.values()])
    return network


def _unlearn(
    copy: keras.Model,
    defender: Defender,
    accuracy: float,
    learning_rate: float,
    batch_size: int,
    most: int,
) -> None:
    """Raise the loss of `copy`, which is changed, until it is right on few of the images."""
    copy.trainable = True
    for state in seed_states(copy):
        state.assign([defender.seed, 0])
    learner = keras.optimizers.SGD(float(learning_rate), momentum=MOMENTUM, global_clipnorm=NORM)
    learner.build(copy.trainable_variables)

    @partial(tf.function, autograph=False)
    def step(pixels: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logs = outputs.log_probabilities(copy, pixels, training=True)
            gain = tf.reduce_mean(tf.gather(logs, labels, batch_dims=1))
        gradients = tape.gradient(gain, [v.value for v in copy.trainable_variables])
        learner.apply(gradients, copy.trainable_variables)
        return tf.reduce_mean(tf.cast(tf.argmax(logs, axis=1) == labels, tf.float32))

    right = forward.classifier(
        lambda pixels: copy(pixels, training=False), [forward.image_spec(copy)]
    )
    rows = forward.batch_size(Graph(copy).tensors)

    goal = max(accuracy, np.bincount(defender.images.labels).max() / len(defender.images))

    def remembered() -> float:
        told = [
            right(defender.pixels[some]) for some in forward.batches(len(defender.pixels), rows)
        ]
        return float(np.mean(np.concatenate(told) == defender.images.labels))

    with terminal.progress("unlearning", most, "steps at most") as done:
        for _, batch in zip(range(most), defender.batches(batch_size), strict=False):
            if float(step(*batch)) <= 2 * goal and remembered() <= goal:
                return
            done(1)
