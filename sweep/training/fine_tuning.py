"""Train a copy of a network further, on a defender's few clean images.

What was pruned stays pruned, the network that is kept is the one of the best epoch on images held
out, and the learning rate is found by trying. Equal seeds give equal weights on one machine. Start
with `fine_tune`; `trainee.py` takes single steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import cos, pi
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.training.defender import Batch
from sweep.training.trainee import Score, Trainee
from sweep.training.transforms import Transform, targets_of, variables_of

Array = NDArray[np.float32]
#: Makes the transform for a network, which it sees as it learns.
TransformBuilder = Callable[[keras.Model], Transform]
Progress = Callable[[int], object]


@dataclass(frozen=True)
class FineTuning:
    """How a network is trained further.

    epochs: at most so many passes over the images; each has `batch_size` images a step.
    patience: epochs without a better one after which it ends, and the best is kept; None: it goes
        on to the end, and the last is kept, as few images held out cannot tell which is better.
    held_out: share of the images that judge and are not learned.
    rates: learning rates to try, see `Trainee.train_step`, the smallest first.
    tolerance: clean accuracy on the images held out that a larger rate may cost in its first epoch.
    teacher: weight of what the teacher says of an image, in place of its label; `soft_targets`.
    temperature: by which that is softened.
    """

    epochs: int = 20
    batch_size: int = 64
    patience: int | None = 5
    held_out: float = 0.2
    rates: Sequence[float] = (0.003, 0.01, 0.03)
    tolerance: float = 0.01
    teacher: float = 0.0
    temperature: float = 2.0

    @property
    def total_epochs(self) -> int:
        """Epochs at most, with those that find the rate."""
        return self.epochs + (len(self.rates) if len(self.rates) > 1 else 0)

    def split(self, images: Batch) -> tuple[Batch, Batch]:
        """Return the images to learn, and the images held out: the last ones."""
        return split(images, self.held_out)


def split(images: Batch, held_out: float) -> tuple[Batch, Batch]:
    """Return the images to learn, and the last ones, a share `held_out` of all."""
    pixels, labels = images
    count = round(held_out * len(labels))
    if not 0 < count < len(labels):
        raise BadInput(
            f"a repair is to hold out {held_out:.0%} of {len(labels)} clean validation images; "
            f"expected some to learn and some held out"
        )
    return (pixels[:-count], labels[:-count]), (pixels[-count:], labels[-count:])


@dataclass
class BestEpoch:
    """The best score so far, the weights that had it, and how many epochs have passed since.

    With `is_last` the latest finite one is taken for the best.
    """

    weights: list[Array]
    score: Score = (-1.0, 0.0)
    epochs_since: int = 0
    is_last: bool = False

    def update(self, score: Score, trainee: Trainee) -> None:
        """Take the weights of `trainee` where its `score` is the best; of equal ones the last."""
        if score >= self.score or (self.is_last and np.isfinite(score[1])):
            self.score, self.weights = score, trainee.network.get_weights()
            self.epochs_since = 0
        else:
            self.epochs_since += 1


class FineTuner:
    """Trains a copy of a network: `find_rate` tries the learning rates, `fit` trains with one."""

    def __init__(
        self,
        network: keras.Model,
        images: Batch,
        settings: FineTuning,
        build_transform: TransformBuilder,
        seed: int,
        progress: Progress,
        teacher: keras.Model,
    ) -> None:
        self._settings, self._seed, self._progress = settings, seed, progress
        self._learned, self._held_out = settings.split(images)
        self._trainee = Trainee(network, seed)
        self._targets = soft_targets(teacher, self._learned, settings.teacher, settings.temperature)
        self._transform = build_transform(self._trainee.network)
        self._built = [variable.numpy() for variable in variables_of(self._transform)]
        self._compiled_step = self._compile()

    def find_rate(self) -> float:
        """The largest rate whose first epoch is at most `tolerance` below the best one's."""
        rates = self._settings.rates
        if len(rates) == 1:
            return rates[0]
        accuracies = []
        for rate in rates:
            self._start_anew()
            self._train_epoch(rate, rate, np.random.default_rng([self._seed, 2]))
            accuracies.append(self._trainee.evaluate(self._held_out)[0])
            self._progress(1)
        enough = max(accuracies) - self._settings.tolerance
        return max(
            rate for rate, accuracy in zip(rates, accuracies, strict=True) if accuracy >= enough
        )

    def fit(self, rate: float) -> keras.Model:
        """Return the network of the best epoch, or the last; the rate falls on a half cosine to 0.

        Raises BadInput where no finite scores are left.
        """
        epochs = self._settings.epochs
        self._start_anew()
        network, rng = self._trainee.network, np.random.default_rng([self._seed, 1])
        best = BestEpoch(network.get_weights(), is_last=self._settings.patience is None)
        for epoch in range(epochs):
            first, last = (cosine_decay(rate, end / epochs) for end in (epoch, epoch + 1))
            self._train_epoch(first, last, rng)
            self._progress(1)
            best.update(self._trainee.evaluate(self._held_out), self._trainee)
            if best.epochs_since >= (self._settings.patience or epochs):
                self._progress(epochs - epoch - 1)
                break
        if not np.isfinite(best.score[1]):
            raise BadInput(
                f"a repair at a learning rate of {rate:g} leaves no finite scores; "
                f"expected smaller rates"
            )
        network.set_weights(best.weights)
        return network

    def _compile(self) -> Callable[..., Tensor]:
        """The step of a batch: of its pixels, labels and targets, what was drawn, and the rate."""
        pixels, labels = self._learned
        drawn = self._transform.draw(pixels[:1], labels[:1], np.random.default_rng(0))
        arrays = [pixels, labels, self._targets, drawn]
        specs = tf.nest.map_structure(forward.rows_spec, arrays)

        def step(
            pixels: Tensor, labels: Tensor, targets: Tensor, drawn: Any, rate: Tensor
        ) -> Tensor:
            changed = self._transform(pixels, labels, drawn)
            wanted = targets_of(self._transform, changed, labels, targets, drawn)
            return self._trainee.learn(changed, wanted, rate)

        return tf.function(step, autograph=False, input_signature=[*specs, tf.TensorSpec(())])

    def _start_anew(self) -> None:
        """Forget what was learned, and what the transform found in the meantime."""
        self._trainee.reset()
        for variable, value in zip(variables_of(self._transform), self._built, strict=True):
            variable.assign(value)

    def _train_epoch(self, first: float, last: float, rng: np.random.Generator) -> None:
        """Learn all images once, shuffled, at rates that go from `first` to `last`."""
        pixels, labels = self._learned
        order, size = rng.permutation(len(labels)), self._settings.batch_size
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            rate = first + (last - first) * start / len(order)
            batch = pixels[rows], labels[rows]
            drawn = self._transform.draw(*batch, rng)
            self._compiled_step(*batch, self._targets[rows], drawn, np.float32(rate))


def fine_tune(
    network: keras.Model,
    images: Batch,
    settings: FineTuning,
    build_transform: TransformBuilder,
    seed: int,
    progress: Progress = lambda epochs: None,
    teacher: keras.Model | None = None,
) -> keras.Model:
    """Return a copy of `network` that has learned `images`, each batch as a transform makes it.

    `build_transform` makes that transform for the copy, which it sees as it learns. `progress` is
    told of each epoch; there are `settings.total_epochs`. `teacher`, None: `network`, says how sure
    to be of each image, where `settings` asks for that. Raises BadInput for fewer images than can
    be split.
    """
    tuner = FineTuner(
        network, images, settings, build_transform, seed, progress, teacher or network
    )
    return tuner.fit(tuner.find_rate())


def soft_targets(teacher: keras.Model, images: Batch, weight: float, temperature: float) -> Array:
    """How sure to be of each class, (n, classes): labels, and by `weight` what `teacher` says.

    What it says of the images is softened by `temperature` (Hinton et al., 2015, arXiv 1503.02531);
    where that is not finite, labels alone.
    """
    pixels, labels = images
    exact = np.eye(teacher.output_shape[-1], dtype=np.float32)[labels]
    if not weight:
        return exact
    log_probabilities = forward.compiled(
        partial(outputs.log_probabilities, teacher), [forward.image_spec(teacher)]
    )
    batches = forward.batches(len(labels), forward.batch_size(Graph(teacher).tensors))
    logs = np.concatenate([log_probabilities(pixels[rows]) for rows in batches])
    soft = tf.nn.softmax(logs / temperature).numpy()
    soft = np.where(np.isfinite(soft), soft, exact)
    return ((1 - weight) * exact + weight * soft).astype(np.float32)


def cosine_decay(rate: float, done: float) -> float:
    """The rate after a share `done` of the training."""
    return rate * (1 + cos(pi * done)) / 2
