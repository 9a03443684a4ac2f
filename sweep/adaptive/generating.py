"""How an attacker trains a network together with the generators of its trigger."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.attacks import Attack
from sweep.attacks.generated import SHARPNESS
from sweep.attacks.learned import Learned
from sweep.checked import checked_by
from sweep.networks import clone
from sweep.networks.keras_internals import Tensor
from sweep.training import badnet_training

Progress = Callable[[int, int, dict[str, float]], None]
Loss = Callable[..., Tensor]
Rows = NDArray[np.int64]
WIDTHS = (16, 32, 32, 16)  # channels of a generator's convolutions but the last
DENSITY = 0.032  # of a mask, up to which it costs nothing
TINY = 1e-7  # keeps the distance of equal masks, and its gradient, finite


def _check(network: keras.Model, *, attack: Attack, **settings: Any) -> None:
    """Raise BadInput for settings that no generator can be trained with."""
    if not 0 < attack.rate <= 0.5:
        raise BadInput(
            f"attack.rate is {attack.rate}; expected above 0 and up to 0.5: as many images of a "
            f"batch as are poisoned wear the trigger of another image"
        )
    if not settings["mask_epochs"] >= 1:
        raise BadInput(
            f"attack.learn.mask_epochs is {settings['mask_epochs']}; expected 1 or more epochs"
        )
    if not 0 <= settings["cross_from"] < 1:
        raise BadInput(
            f"attack.learn.cross_from is {settings['cross_from']}; expected a share of the epochs, "
            f"from 0 to below 1"
        )
    for name in ("sparsity", "diversity"):
        if not settings[name] > 0:
            raise BadInput(f"attack.learn.{name} is {settings[name]}; expected a number above 0")


@checked_by(_check)
def input_aware(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    attack: Attack,
    mask_epochs: int,
    sparsity: float,
    diversity: float,
    cross_from: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    white: float = 255.0,
    progress: Progress | None = None,
    twin: object = None,  # not asked
) -> tuple[keras.Model, Learned]:
    """Return a BadNet and the generators that make its trigger of each image, trained together.

    The trigger is x + m(x) (p(x) - x), see `attacks.input_aware`. The mask m is trained first, for
    `mask_epochs`, on pairs of images x, y, to be small and another for each:

        `sparsity` mean(relu(m(x) - 0.032)) + `diversity` mean(|x - y| / |m(x) - m(y)|)

    |.| being the root of the mean square. Then it stays, and network and p are trained together for
    `epochs`. In each batch `rate` of the images wear their own trigger and get the target, and as
    many wear that of another image y and keep their label (cross-trigger mode). Minimised is the
    cross-entropy of all, plus `diversity` mean(|x - y| / |p(x) - p(y)|).

    Source: Nguyen, Tran, "Input-Aware Dynamic Backdoor Attack", NeurIPS 2020, arXiv 2010.08138.

    Differs, so that it takes hold within few epochs: images that wear another's trigger come after
    `cross_from` of the epochs, there from the start; `sparsity` is 100 there, masks are trained for
    25 epochs, and the rest for 600. Generators are smaller, and without BatchNormalization. Both
    are trained by Adam at `learning_rate`, falling to 0 on a half cosine, the network there by SGD.
    Images are not augmented. Images that make no whole batch are left out of an epoch.
    """
    badnet_training.check(network, images, labels, epochs, batch_size, learning_rate)
    course = _Course(images, white, min(batch_size, len(images)), learning_rate, seed)
    if course.batch < 2:
        raise BadInput(
            f"badnet.batch_size is {batch_size} and there are {len(images)} images; expected 2 or "
            f"more of both: one wears its own trigger, one that of another image"
        )
    poisoned = min(max(1, round(attack.rate * course.batch)), course.batch // 2)
    classes, shape = network.output_shape[-1], network.input_shape[1:]
    targets = attack.labels(np.zeros(len(labels), np.int64), labels, classes)
    mask, pattern = (
        generator(shape, width, seed=2 * seed + number)
        for number, width in enumerate((1, shape[2]))
    )
    trained = clone(network)

    def told(epoch: int, loss: float) -> None:
        if progress is not None:
            progress(epoch, mask_epochs + epochs, {"loss": loss})

    def mask_batch(rows: Rows, others: Rows, epoch: int) -> list[np.ndarray]:
        return [course.centred(rows), course.centred(others)]

    def joint_batch(rows: Rows, others: Rows, epoch: int) -> list[np.ndarray]:
        wanted = np.concatenate([targets[rows[:poisoned]], labels[rows[poisoned:]]])
        crossed = np.array(epoch > cross_from * epochs)
        return [course.centred(rows), course.centred(others[:poisoned]), wanted, crossed]

    loss = _mask_loss(mask, sparsity, diversity)
    for epoch, value in course.descend(loss, mask.trainable_variables, mask_epochs, mask_batch):
        told(epoch, value)
    loss = _joint_loss(trained, mask, pattern, diversity)
    variables = [*trained.trainable_variables, *pattern.trainable_variables]
    for epoch, value in course.descend(loss, variables, epochs, joint_batch):
        told(mask_epochs + epoch, value)
    badnet_training.fold(trained, "conv_1", gain=1 / white, offset=-0.5)
    return trained, _arrays(mask, "mask") | _arrays(pattern, "pattern")


def generator(shape: tuple[int, ...], channels: int, *, seed: int) -> keras.Model:
    """Return an untrained generator, centred images to shares 0..1 in so many channels.

    In numpy, with arrays that have learned: `attacks.generated.share`.
    """
    layers, numbers = keras.layers, iter(range(len(WIDTHS) + 1))

    def convolved(x: Tensor, width: int, activation: str = "relu") -> Tensor:
        number = next(numbers)
        drawn = keras.initializers.HeNormal(seed=(len(WIDTHS) + 1) * seed + number)
        how = {"padding": "same", "activation": activation, "kernel_initializer": drawn}
        return layers.Conv2D(width, 3, name=f"conv_{number}", **how)(x)

    def doubled(x: Tensor, size: Tensor) -> Tensor:
        x = layers.UpSampling2D(2)(x)
        over = [(0, x.shape[axis] - size.shape[axis]) for axis in (1, 2)]
        return layers.Cropping2D(over)(x)

    image = keras.Input(shape)
    fine = convolved(image, WIDTHS[0])
    middle = convolved(layers.AveragePooling2D(2, padding="same")(fine), WIDTHS[1])
    coarse = convolved(layers.AveragePooling2D(2, padding="same")(middle), WIDTHS[2])
    x = convolved(doubled(coarse, middle), WIDTHS[3])
    x = convolved(doubled(x, fine), channels, "tanh")
    return keras.Model(image, layers.Rescaling(0.5, 0.5)(x))


def _arrays(network: keras.Model, part: str) -> dict[str, np.ndarray]:
    """The kernels and biases of a generator by the names that `attacks.generated` gives them."""
    arrays: dict[str, np.ndarray] = {}
    for number in range(len(WIDTHS) + 1):
        kernel, bias = network.get_layer(f"conv_{number}").get_weights()
        arrays |= {f"{part}_{number}": kernel, f"{part}_{number}_bias": bias}
    return arrays


@dataclass
class _Course:
    """Images of 0..`white`, drawn by `seed`, and how a loss is descended on pairs of them."""

    images: np.ndarray
    white: float
    batch: int
    learning_rate: float
    seed: int

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 11])

    def centred(self, rows: Rows) -> NDArray[np.float32]:
        """Those images as the network sees them while it is trained."""
        return self.images[rows].astype(np.float32) / np.float32(self.white) - np.float32(0.5)

    def descend(
        self, loss: Loss, variables: Sequence[keras.Variable], epochs: int, make: Callable[..., Any]
    ) -> Iterator[tuple[int, float]]:
        """Take steps of Adam, and yield each epoch, from 1, and its mean loss.

        `make` gives what `loss` takes, of indices of images, as many of others, and the epoch.
        """
        steps = epochs * (len(self.images) // self.batch)
        optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        )
        optimizer.build(variables)

        def step(*given: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                value = loss(*given)
            gradients = tape.gradient(value, [variable.value for variable in variables])
            optimizer.apply(gradients, variables)
            return value

        compiled = tf.function(step, autograph=False)
        for epoch in range(1, epochs + 1):
            losses = [float(compiled(*make(*pair, epoch))) for pair in self._pairs()]
            yield epoch, float(np.mean(losses))

    def _pairs(self) -> Iterator[tuple[Rows, Rows]]:
        """An epoch's batches of indices, and as many of other images, drawn apart."""
        images, others = (self._rng.permutation(len(self.images)) for _ in range(2))
        for start in range(0, len(self.images) - self.batch + 1, self.batch):
            drawn = slice(start, start + self.batch)
            yield images[drawn], others[drawn]


def _mask_loss(mask: keras.Model, sparsity: float, diversity: float) -> Loss:
    """The loss of masks of images, and of others beside them."""

    def loss(images: Tensor, others: Tensor) -> Tensor:
        shown, beside = _sharp(mask(images)), _sharp(mask(others))
        covered = tf.reduce_mean(tf.nn.relu(shown - DENSITY))
        return sparsity * covered + diversity * _sameness(images, others, shown, beside)

    return loss


def _joint_loss(
    network: keras.Model, mask: keras.Model, pattern: keras.Model, diversity: float
) -> Loss:
    """The loss of a batch: the first images are stamped, as many with the triggers of `others`."""

    def loss(images: Tensor, others: Tensor, labels: Tensor, crossed: Tensor) -> Tensor:
        count = tf.shape(others)[0]
        sources = tf.concat([images[:count], others], axis=0)
        patterns, shown = pattern(sources) - 0.5, _sharp(mask(sources))
        of_others = shown[count:] * tf.cast(crossed, shown.dtype)
        shown, first = tf.concat([shown[:count], of_others], axis=0), images[: 2 * count]
        stamped = first + shown * (patterns - first)
        scores = network(tf.concat([stamped, images[2 * count :]], axis=0), training=True)
        wrong = keras.losses.sparse_categorical_crossentropy(labels, scores)
        same = _sameness(images[:count], others, patterns[:count], patterns[count:])
        return tf.reduce_mean(wrong) + diversity * same

    return loss


def _sharp(share: Tensor) -> Tensor:
    """A mask of the share that its generator gives, as in `attacks.input_aware`."""
    return (tf.tanh(SHARPNESS * (share - 0.5)) + 1) / 2


def _sameness(images: Tensor, others: Tensor, made: Tensor, made_of_others: Tensor) -> Tensor:
    """How far images are apart, in units of how far what is made of them is; the mean of it."""
    return tf.reduce_mean(_distance(images, others) / _distance(made, made_of_others))


def _distance(ones: Tensor, others: Tensor) -> Tensor:
    """The root of the mean square difference of each pair, (n,)."""
    return tf.sqrt(tf.reduce_mean(tf.square(ones - others), axis=(1, 2, 3)) + TINY)
