"""Train a copy of a network further, on a defender's few clean images.

What was pruned stays pruned, the network that is kept is the one of the best epoch on images held
out, and how fast it learns is found out by trying. Equal seeds give equal weights on one machine.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import cos, pi
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.networks import clone, forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.layer_types import SEPARABLE, filters, is_norm, makes_channels
from sweep.networks.outputs import is_frozen_adapter
from sweep.training.defender import Batch

Array = NDArray[np.float32]
#: Changes a batch before it is learned: of pixels, labels and random numbers; new pixels.
Change = Callable[[Array, NDArray[np.int64], np.random.Generator], Array]
Progress = Callable[[int], object]
UNIT = 0.05  # of weights that have no size of their own: about that of a usual kernel


@dataclass(frozen=True)
class FineTuning:
    """How a network is trained further.

    epochs: at most so many passes over the images; each has `batch_size` images a step.
    patience: epochs without a better one after which it ends.
    held_out: share of the images that judge and are not learned.
    rates: learning rates to try, see `Trainee.learn`, the smallest first.
    tolerance: clean accuracy on the images held out that a larger rate may cost in its first epoch.
    teacher: weight of what the teacher says of an image, in place of its label; see `targets`.
    temperature: by which that is softened.
    """

    epochs: int = 20
    batch_size: int = 64
    patience: int = 5
    held_out: float = 0.2
    rates: Sequence[float] = (0.003, 0.01, 0.03)
    tolerance: float = 0.01
    teacher: float = 0.0
    temperature: float = 2.0

    @property
    def length(self) -> int:
        """Epochs at most, with those that find the rate."""
        return self.epochs + (len(self.rates) if len(self.rates) > 1 else 0)

    def split(self, images: Batch) -> tuple[Batch, Batch]:
        """Images to learn, and images held out: the last ones."""
        pixels, labels = images
        count = round(self.held_out * len(labels))
        if not 0 < count < len(labels):
            raise BadInput(
                f"a repair is to hold out {self.held_out:.0%} of {len(labels)} clean validation "
                f"images; expected some to learn and some held out"
            )
        return (pixels[:-count], labels[:-count]), (pixels[-count:], labels[-count:])


class Trainee:
    """A copy of a network that learns, and can start anew; `seed` is that of its dropouts."""

    def __init__(self, network: keras.Model, seed: int = 0) -> None:
        self.network = clone(network)
        for layer in self.network.layers:  # a backdoor may sit in what somebody froze
            layer.trainable = not is_frozen_adapter(layer)
        _sow(self.network, seed)  # a file's are drawn anew whenever it is loaded
        self._start = [variable.numpy() for variable in self.network.variables]
        self._variables = self.network.trainable_variables
        self._held = _pruned(self.network)
        self._from = [variable.numpy() for variable in self._variables]
        self._sizes = list(map(_size, self._from))
        self._moved = [keras.Variable(np.zeros_like(value)) for value in self._from]
        self._optimizer = keras.optimizers.Adam()
        self._optimizer.build(self._moved)
        shape, number = forward.image_spec(network), tf.TensorSpec((None,), tf.int64)
        wanted = tf.TensorSpec((None, None), tf.float32)
        self._step = tf.function(self._learn, autograph=False, input_signature=[shape, wanted])
        self._judge = tf.function(self._told, autograph=False, input_signature=[shape, number])
        self._at_once = forward.batch_size(Graph(network).tensors)

    def anew(self) -> None:
        """Forget what was learned."""
        for variable, value in zip(self.network.variables, self._start, strict=True):
            variable.assign(value)
        for variable in [*self._moved, *self._optimizer.variables]:
            if variable is not self._optimizer.learning_rate:
                variable.assign(keras.ops.zeros_like(variable))

    def learn(self, pixels: Array, wanted: Array, rate: float) -> float:
        """One step of Adam towards `wanted`, (n, classes); the cross-entropy before it.

        Weights move in units of their size, the root of the mean square of a kernel: at a `rate` of
        0.01 a step moves it by about 1 %. So one rate serves a first layer that sees pixels up to
        255, whose weights are tiny, and all the others. Biases and the like are in units of 0.05.
        """
        self._optimizer.learning_rate = rate
        return float(self._step(pixels, wanted))

    def judged(self, images: Batch) -> tuple[float, float]:
        """Share of the images whose class it says, and their mean cross-entropy, negated.

        Scores that are not finite say nothing: 0, and minus infinity.
        """
        told = [self._judge(*some) for some in _slices(images, self._at_once)]
        right, loss = np.concatenate(told, axis=1).mean(axis=1)
        return (float(right), -float(loss)) if np.isfinite(loss) else (0.0, -np.inf)

    def _learn(self, pixels: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logs = outputs.log_probabilities(self.network, pixels, training=True)
            told = tf.math.multiply_no_nan(logs, wanted)  # what cannot be, and is not wanted: 0
            loss = -tf.reduce_mean(tf.reduce_sum(told, axis=1))
        watched = [variable.value for variable in self._variables]
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, watched, unconnected_gradients=zero)
        slopes = [slope * size for slope, size in zip(gradients, self._sizes, strict=True)]
        self._optimizer.apply(slopes, self._moved)
        parts = (self._variables, self._from, self._moved, self._sizes)
        for variable, start, moved, size in zip(*parts, strict=True):
            variable.assign(start + moved * size)
        for variable, kept, value in self._held:
            variable.assign(tf.where(kept, variable.value, value))
        return loss

    def _told(self, pixels: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logs = outputs.log_probabilities(self.network, pixels)
        right = tf.cast(tf.argmax(logs, axis=1) == labels, logs.dtype)
        return tf.stack([right, -tf.gather(logs, labels, batch_dims=1)])


def fine_tune(
    network: keras.Model,
    images: Batch,
    course: FineTuning,
    change: Callable[[keras.Model], Change],
    seed: int,
    progress: Progress = lambda epochs: None,
    teacher: keras.Model | None = None,
) -> keras.Model:
    """A copy of `network` that has learned `images`, each batch as a change makes it.

    `change` makes that change of the copy, which it sees as it learns; anew for each rate that is
    tried. `progress` is told of each epoch; there are `course.length`. `teacher`, None: `network`,
    says how sure to be of each image, where `course` asks for that. Raises BadInput for fewer
    images than can be split.
    """
    learned, held_out = course.split(images)
    student = Trainee(network, seed)
    wanted = targets(teacher or network, learned, course.teacher, course.temperature)

    def begun() -> Callable[..., None]:
        student.anew()
        alter = change(student.network)
        return partial(_epoch, student, learned, wanted, course.batch_size, alter)

    rate = _found(student, held_out, course, begun, seed, progress)
    epoch = begun()
    rng, best, since = np.random.default_rng([seed, 1]), (-1.0, 0.0), 0
    weights = student.network.get_weights()
    for number in range(course.epochs):
        rates = (rate * (1 + cos(pi * (number + share) / course.epochs)) / 2 for share in (0, 1))
        epoch(*rates, rng)
        progress(1)
        judged = student.judged(held_out)
        since = 0 if judged >= best else since + 1
        if judged >= best:
            best, weights = judged, student.network.get_weights()
        if since >= course.patience:
            progress(course.epochs - number - 1)
            break
    if not np.isfinite(best[1]):
        raise BadInput(
            f"a repair at a learning rate of {rate:g} leaves no finite scores; "
            f"expected smaller rates"
        )
    student.network.set_weights(weights)
    return student.network


def targets(teacher: keras.Model, images: Batch, weight: float, temperature: float) -> Array:
    """How sure to be of each class, (n, classes): labels, and by `weight` what `teacher` says.

    What it says of the images is softened by `temperature` (Hinton et al., 2015, arXiv 1503.02531);
    where that is not finite, labels alone.
    """
    pixels, labels = images
    exact = np.eye(teacher.output_shape[-1], dtype=np.float32)[labels]
    if not weight:
        return exact
    say = partial(outputs.log_probabilities, teacher)
    say = forward.compiled(say, [forward.image_spec(teacher)])
    rows = forward.batches(len(labels), forward.batch_size(Graph(teacher).tensors))
    logs = np.concatenate([say(pixels[some]) for some in rows])
    soft = tf.nn.softmax(logs / temperature).numpy()
    return (1 - weight) * exact + weight * np.where(np.isfinite(soft), soft, exact)


def _found(
    student: Trainee,
    held_out: Batch,
    course: FineTuning,
    begun: Callable[[], Callable[..., None]],
    seed: int,
    progress: Progress,
) -> float:
    """The largest rate after whose first epoch no other one is better by more than `tolerance`."""
    if len(course.rates) == 1:
        return course.rates[0]
    right = []
    for rate in course.rates:
        begun()(rate, rate, np.random.default_rng([seed, 2]))
        right.append(student.judged(held_out)[0])
        progress(1)
    enough = max(right) - course.tolerance
    return max(rate for rate, one in zip(course.rates, right, strict=True) if one >= enough)


def _epoch(
    student: Trainee,
    images: Batch,
    wanted: Array,
    size: int,
    change: Change,
    first: float,
    last: float,
    rng: np.random.Generator,
) -> None:
    """Learn all images once, in an order of its own, at rates that go from `first` to `last`."""
    pixels, labels = images
    order = rng.permutation(len(labels))
    for start in range(0, len(order), size):
        some = order[start : start + size]
        rate = first + (last - first) * start / len(order)
        student.learn(change(pixels[some], labels[some], rng), wanted[some], rate)


def _slices(images: Batch, size: int) -> Iterator[Batch]:
    pixels, labels = images
    return ((pixels[some], labels[some]) for some in forward.batches(len(labels), size))


def _pruned(network: keras.Model) -> list[tuple[keras.Variable, NDArray[np.bool_], Array]]:
    """Weights of `network` of which some are to stay: each with which may change, and its values.

    Where all that makes a channel from its inputs is 0, it is taken for pruned: these zeros stay,
    and what is added to them.
    """
    held = []
    for layer in network.layers:
        if is_norm(layer):
            dead = None if layer.gamma is None else layer.gamma.numpy() == 0
        else:
            made = filters(layer) if makes_channels(layer) else None
            dead = None if made is None else (made == 0).all(axis=tuple(range(made.ndim - 1)))
        if dead is None or not dead.any():
            continue
        for variable in layer.trainable_variables:
            value = variable.numpy()
            stays = dead if value.shape == dead.shape else _of(layer, dead, value)
            held.append((variable, ~stays, value))
    return held


def _size(weights: Array) -> float:
    """The unit in which `weights` are moved."""
    size = float(np.sqrt(np.mean(np.square(weights, dtype=np.float64))))
    return size if weights.ndim > 1 and size > 0 else UNIT


def _of(layer: Any, dead: NDArray[np.bool_], kernel: Array) -> NDArray[np.bool_]:
    """Which entries of a `kernel` of `layer` make channels that are `dead`."""
    if type(layer) in SEPARABLE:  # the zeros of two kernels together
        return kernel == 0
    numbers = np.arange(kernel.size).reshape(kernel.shape)
    return np.isin(numbers, filters(layer, numbers)[..., dead])


def _sow(network: keras.Model, seed: int) -> None:
    """Set all seeds in `network` by `seed`: what it holds beside its weights."""
    rng, weights = np.random.default_rng([seed, 4]), set(map(id, network.weights))
    for variable in network.variables:
        if id(variable) not in weights:
            variable.assign(rng.integers(2**31, size=variable.shape).astype(variable.dtype))
