"""Epochs of SGD with momentum, as papers train: the last one's weights are kept.

A rival is a `Step` of a batch, a part of one compiled function. Learning rates are those of images
from 0 to 1: a kernel that reads images of another range moves as it would then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from sweep import BadInput
from sweep.data.images import HeldPixels, pixel_range
from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.networks.layer_types import is_affine, makes_channels
from sweep.training.defender import Batch
from sweep.training.fine_tuning import Progress, cosine_decay, split
from sweep.training.trainee import free_weights, soft_cross_entropy, trainable_copy, where_free
from sweep.training.transforms import Augmentation
from sweep.training.unlearning import MOMENTUM

#: Learns a batch: of its pixels, labels and the learning rate.
Step = Callable[[Tensor, Tensor, Tensor], None]


class Learner(Protocol):
    """Whoever trains: a `Defender`, or an attacker (`probes`)."""

    @property
    def network(self) -> keras.Model:
        """The network that is copied."""

    @property
    def pixels(self) -> HeldPixels:
        """Images, by which the range of pixels is judged."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""


@dataclass(frozen=True)
class Course:
    """How a rival trains: `epochs` of batches, the rate falling to 0 on a half cosine.

    held_out: share of the images that is not learned, the last ones; 0: none.
    shift, light: see `Augmentation`.
    weight_decay: share of each weight that is added to its gradient.
    keeps_pruned: whether what was pruned stays pruned, which is a defender's rule.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    held_out: float
    shift: float
    light: float
    weight_decay: float = 0.0
    keeps_pruned: bool = True


class Descent:
    """A copy of the learner's network that learns by SGD with momentum."""

    def __init__(self, learner: Learner, course: Course) -> None:
        low, high = pixel_range(learner.pixels)
        self.seed = learner.seed
        self.network = trainable_copy(learner.network, self.seed)
        self.variables = [variable.value for variable in self.network.trainable_variables]
        self.free = free_weights(self.network) if course.keeps_pruned else {}
        self._course = course
        self._units = image_units(self.network, high - low)
        self._velocities = [tf.Variable(tf.zeros_like(variable)) for variable in self.variables]

    def gradients(self, loss: Callable[[], Tensor]) -> list[Tensor]:
        """Those of `loss`, one a trained weight."""
        with tf.GradientTape() as tape:
            value = loss()
        zero = tf.UnconnectedGradients.ZERO
        return where_free(
            self.free, tape.gradient(value, self.variables, unconnected_gradients=zero)
        )

    def cross_entropy(self, pixels: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean over a batch, in training; `smoothing` is shared by all the other classes."""
        logs = outputs.log_probabilities(self.network, pixels, training=True)
        classes = logs.shape[-1]
        others = smoothing / (classes - 1)
        targets = tf.one_hot(labels, classes, 1 - smoothing, others)
        return soft_cross_entropy(logs, targets)

    def apply(self, gradients: Sequence[Tensor], rate: Tensor) -> None:
        """Take one step down the gradients."""
        decay = self._course.weight_decay
        changes = [
            unit**2 * gradient + decay * variable
            for variable, gradient, unit in zip(self.variables, gradients, self._units, strict=True)
        ]
        for variable, velocity, change in zip(
            self.variables, self._velocities, where_free(self.free, changes), strict=True
        ):
            velocity.assign(MOMENTUM * velocity + change)
            variable.assign_sub(rate * velocity)

    def run(self, step: Step, images: Batch, progress: Progress) -> keras.Model:
        """The network when `step` has learned the images, shuffled, in every epoch.

        Raises BadInput where weights are left that are not finite.
        """
        course, rng = self._course, np.random.default_rng([self.seed, 1])
        augmentation = Augmentation(course.shift, course.light)
        pixels, labels = split(images, course.held_out)[0] if course.held_out else images
        drawn = augmentation.draw(pixels[:1], labels[:1], rng)

        def learn(pixels: Tensor, labels: Tensor, drawn: Tensor, rate: Tensor) -> None:
            step(augmentation(pixels, labels, drawn), labels, rate)

        specs = [forward.rows_spec(array) for array in (pixels, labels, drawn)]
        compiled = tf.function(learn, autograph=False, input_signature=[*specs, tf.TensorSpec(())])
        for epoch in range(course.epochs):
            rate = np.float32(cosine_decay(course.learning_rate, epoch / course.epochs))
            order = rng.permutation(len(labels))
            for rows in forward.batches(len(order), course.batch_size):
                batch = pixels[order[rows]], labels[order[rows]]
                compiled(*batch, augmentation.draw(*batch, rng), rate)
            progress(1)
        return checked(self.network, course.learning_rate)


def checked(network: keras.Model, rate: float) -> keras.Model:
    """`network`, if it has learned finite weights at this learning rate; else BadInput."""
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise BadInput(
            f"training at a learning rate of {rate:g} leaves no finite weights; "
            f"expected a smaller learning_rate"
        )
    return network


def image_units(network: keras.Model, span: float) -> list[float]:
    """The unit of each trained weight: 1, and of kernels that read images 1 / `span`.

    A network whose images are `span` times as large gives the same if these kernels are as many
    times smaller; what lies between them and the images is affine and without weights.
    """
    graph = Graph(network)
    images, kernels = {id(network.inputs[0])}, set()
    for node in graph.nodes[1:]:
        layer = node.operation
        if not {id(tensor) for tensor in node.input_tensors} <= images:
            continue
        if makes_channels(layer):
            kernels.add(id(layer.trainable_variables[0]))
        elif is_affine(layer) and not getattr(layer, "weights", []):
            images |= {id(tensor) for tensor in node.output_tensors}
    return [
        1 / span if id(variable) in kernels else 1.0 for variable in network.trainable_variables
    ]
