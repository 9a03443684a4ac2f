"""A network that unlearns one change of all images, and heeds how the change would answer."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.networks.keras_internals import Tensor
from sweep.training.defender import Batch, Defender
from sweep.training.fine_tuning import Progress
from sweep.training.rivals.descent import checked, image_units
from sweep.training.trainee import Adam, free_weights, trainable_copy, where_free

PENALTY = 1e-3  # of the squared norm of the change
ASCENT = 10.0  # learning rate of the change
INNER_RATE = 0.1  # of the map whose fixed point the change is


@dataclass(frozen=True)
class Rounds:
    """How a change is unlearned.

    norm: of the change, at most, in units of the pixels' range.
    share: of a batch, the images that carry it while the network learns.
    iterations: by which the implicit part of a gradient is found.
    """

    rounds: int
    iterations: int
    norm: float
    share: float
    batch_size: int
    learning_rate: float


class MinimaxUnlearning:
    """A copy of the defender's network, and the change that it unlearns; in inference throughout.

    The change, (1, height, width, channels), is in units of the pixels' range. It is about a fixed
    point of a step down `PENALTY |change|^2 - cross-entropy` on the first batch of images, the
    `anchor`, so it moves with the weights.
    """

    def __init__(self, defender: Defender, anchor: Batch, settings: Rounds) -> None:
        self.network = trainable_copy(defender.network, defender.seed)
        self._settings, self._anchor = settings, tuple(map(tf.constant, anchor))
        self._low, self._high = pixel_range(defender.pixels)
        self._weights = [variable.value for variable in self.network.trainable_variables]
        units = image_units(self.network, self._high - self._low)
        self._adam = Adam(self.network.trainable_variables, units)
        self._free = free_weights(self.network)
        self._change = tf.Variable(tf.zeros((1, *anchor[0].shape[1:])))
        image, integers = forward.image_spec(self.network), tf.TensorSpec((None,), tf.int64)
        self.ascend = forward.compiled(self._ascend, [image])
        self.unlearn = forward.compiled(self._unlearn, [image, integers, tf.TensorSpec((None,))])

    def begin(self) -> None:
        """Forget the change."""
        self._change.assign(tf.zeros_like(self._change))

    def bound(self) -> None:
        """Bring the change back to the `norm` that it may have."""
        excess = tf.norm(self._change) / self._settings.norm
        self._change.assign(self._change / tf.maximum(1.0, excess))

    def _ascend(self, pixels: Tensor) -> Tensor:
        """Move the change away from what the network says of these images; the objective."""
        said = tf.argmax(outputs.log_probabilities(self.network, pixels), axis=1)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._change)
            objective = self._objective(self._change, pixels, said)
        self._change.assign_sub(ASCENT * tape.gradient(objective, self._change))
        return objective

    def _unlearn(self, pixels: Tensor, labels: Tensor, carries: Tensor) -> Tensor:
        """Take one step of Adam down the loss, of images that carry the change where 1; the loss.

        Its gradient has two parts: with the change held, and through the change, as it is a
        function of the weights. That is v' J, J the change's step by the weights, v the limit of
        `v = v S + g`, S the change's step by itself, g the loss by the change.
        """
        change = tf.identity(self._change)
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(change)
            changed = self._changed(change * carries[:, None, None, None], pixels)
            loss = outputs.cross_entropy(self.network, changed, labels)
        zero = tf.UnconnectedGradients.ZERO
        by_change, direct = outer.gradient(loss, [change, self._weights])
        with tf.GradientTape(persistent=True) as second:
            second.watch(change)
            with tf.GradientTape(watch_accessed_variables=False) as first:
                first.watch(change)
                objective = self._objective(change, *self._anchor)
            mapped = change - INNER_RATE * first.gradient(objective, change)
        vector = by_change
        for _ in range(self._settings.iterations - 1):
            vector = by_change + second.gradient(mapped, change, vector)
        implicit = second.gradient(mapped, self._weights, vector, zero)
        gradients = [a + b for a, b in zip(direct, implicit, strict=True)]
        rate = tf.constant(self._settings.learning_rate)
        self._adam.apply(where_free(self._free, gradients), rate)
        return loss

    def _objective(self, change: Tensor, pixels: Tensor, labels: Tensor) -> Tensor:
        loss = outputs.cross_entropy(self.network, self._changed(change, pixels), labels)
        return PENALTY * tf.reduce_sum(change**2) - loss

    def _changed(self, change: Tensor, pixels: Tensor) -> Tensor:
        changed = pixels + (self._high - self._low) * change
        return tf.clip_by_value(changed, self._low, self._high)


def minimax_unlearned(
    defender: Defender, images: Batch, settings: Rounds, progress: Progress
) -> keras.Model:
    """A copy of the defender's network that has unlearned a change of all `images`, in rounds.

    In each the change is found anew by a pass over the images, then unlearned by another.
    """
    pixels, labels = images
    batches = list(forward.batches(len(labels), settings.batch_size))
    rng = np.random.default_rng([defender.seed, 9])
    anchor = pixels[batches[0]], labels[batches[0]]
    student = MinimaxUnlearning(defender, anchor, settings)
    for _ in range(settings.rounds):
        student.begin()
        for rows in batches:
            student.ascend(pixels[rows])
        student.bound()
        for rows in batches:
            carries = _some(len(labels[rows]), settings.share, rng)
            student.unlearn(pixels[rows], labels[rows], carries)
        progress(1)
    return checked(student.network, settings.learning_rate)


def _some(count: int, share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """1 for a `share` of `count` images, one at least, drawn at random; 0 for the others."""
    carries = np.zeros(count, np.float32)
    carries[rng.permutation(count)[: max(1, int(share * count))]] = 1
    return carries
