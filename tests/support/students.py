"""Small networks, what they are to learn, and whether they have."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sweep.training import fine_tuning
from sweep.training.fine_tuning import FineTuning, fine_tune
from sweep.training.transforms import Transform

SHAPE, CLASSES = (8, 8, 1), 4
SHORT = FineTuning(epochs=2, batch_size=16, patience=5, held_out=0.25, rates=[0.3])


def noisy_patterns(seed: int, count: int = 64, noise: float = 0.15) -> fine_tuning.Batch:
    """Images of four patterns in noise, in a random order."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(9).uniform(0, 1, (CLASSES, *SHAPE))
    labels = rng.permutation(np.arange(count) % CLASSES)
    pixels = patterns[labels] + rng.normal(scale=noise, size=(count, *SHAPE))
    return pixels.astype(np.float32), labels.astype(np.int64)


class Unchanged:
    """Leaves images as they are."""

    def __init__(self, network: keras.Model | None = None) -> None:
        self.network = network

    def draw(self, pixels, labels, rng):
        return np.zeros(len(labels))

    def __call__(self, pixels, labels, drawn):
        return pixels


def changed(transform: Transform, pixels: np.ndarray, labels: np.ndarray, rng) -> np.ndarray:
    """What `transform` makes of a batch."""
    drawn = transform.draw(pixels, labels, rng)
    return np.asarray(transform(tf.constant(pixels), tf.constant(labels), drawn))


def linear(**scores) -> keras.Model:
    images = keras.Input(SHAPE)
    x = layers.Flatten()(images)
    keras.utils.set_random_seed(0)
    return keras.Model(images, layers.Dense(CLASSES, name="scores", **scores)(x))


def convolutional(seed: int = 0, activation: str | None = None, norm: bool = True) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = layers.Flatten()(layers.ReLU(name="relu")(x))
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(images, layers.Dense(CLASSES, activation=activation, name="scores")(x))


def fine_tuned(
    network: keras.Model, images=None, course: FineTuning = SHORT, seed: int = 0, **more
):
    return fine_tune(
        network, noisy_patterns(0) if images is None else images, course, Unchanged, seed, **more
    )


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


def accuracy(network: keras.Model, images: fine_tuning.Batch) -> float:
    return float((np.asarray(network(images[0])).argmax(axis=1) == images[1]).mean())


def weights(network: keras.Model) -> list[np.ndarray]:
    return [value.copy() for value in network.get_weights()]


def equal(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(some, others, strict=True))
