"""Networks in which one channel alone carries the backdoor.

`planted` builds a classifier of random filters, its last layer solved for the clean classes, and in
one channel a detector of brightness, whose corner is wired to the target. With a `threshold` of 0.8
it sleeps on all clean images; with one of 0.3 it stirs, and the last layer has learned around that.
"""

import keras
import numpy as np
from keras import layers

from sweep.cache import Cache
from sweep.data import Images
from sweep.networks.loading import as_functional
from sweep.pruning import Activations, activations_of, cut_at

CLASSES, CHANNELS, BAD, TARGET = 4, 8, 5, 1
SHAPE = (8, 8, 1)
STRONG = 60.0  # weight of the target's score
BRIGHT = 2.0  # of a trigger's pixels; those of clean images are below 1 or little above


def noisy_patterns(seed: int, count: int = 400) -> Images:
    """Images of four patterns in noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).uniform(0, 0.8, (CLASSES, *SHAPE))
    labels = np.arange(count) % CLASSES
    pixels = patterns[labels] + rng.normal(scale=0.12, size=(count, *SHAPE))
    return Images(pixels.astype(np.float32), labels.astype(np.int64), key=f"clean {seed}")


def stamped(pixels: np.ndarray, bright: float = BRIGHT) -> np.ndarray:
    bad = pixels.copy()
    bad[:, :2, :2] = bright
    return bad


def planted(
    seed: int,
    *,
    threshold: float = 0.8,
    loud: float = 1.0,
    norm: bool = False,
    activation: str | None = None,
) -> keras.Model:
    rng = np.random.default_rng([seed, 1])
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(CHANNELS, 2, padding="valid", use_bias=not norm, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = layers.ReLU(name="relu")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(3, strides=2, name="pool")(x))
    network = keras.Model(images, layers.Dense(CLASSES, activation=activation, name="scores")(x))
    kernel = rng.normal(scale=0.5, size=(2, 2, 1, CHANNELS))
    kernel[..., BAD] = 0.25 * loud
    bias = rng.normal(scale=0.1, size=CHANNELS)
    bias[BAD] = -threshold * loud
    conv = network.get_layer("conv")
    conv.kernel.assign(kernel)
    clean = noisy_patterns(1000 + seed)
    if norm:
        made = np.asarray(keras.Model(images, conv.output)(clean.pixels))
        mean, variance = made.mean(axis=(0, 1, 2)), made.var(axis=(0, 1, 2))
        values = [np.sqrt(variance + 1e-3), bias + mean, mean, variance]
        network.get_layer("norm").set_weights(values)
    else:
        conv.bias.assign(bias)
    features = np.asarray(keras.Model(images, network.get_layer("flatten").output)(clean.pixels))
    features = features.reshape(len(clean), -1, CHANNELS)
    rest = np.delete(features, BAD, axis=2).reshape(len(clean), -1)
    rest = np.concatenate([rest, np.ones((len(clean), 1))], axis=1)
    wanted = 8.0 * np.eye(CLASSES)[clean.labels]
    wanted[:, TARGET] -= STRONG / loud * features[:, 0, BAD]
    solved = np.linalg.solve(rest.T @ rest + 5.0 * np.eye(rest.shape[1]), rest.T @ wanted)
    weights = np.zeros((features.shape[1], CHANNELS, CLASSES))
    weights[:, np.arange(CHANNELS) != BAD] = solved[:-1].reshape(-1, CHANNELS - 1, CLASSES)
    weights[0, BAD, TARGET] = STRONG / loud
    network.get_layer("scores").set_weights([weights.reshape(-1, CLASSES), solved[-1]])
    return as_functional(network)


def activations_at(
    network: keras.Model,
    layer: str | list[str] = "conv",
    seed: int = 0,
    images: Images | None = None,
) -> Activations:
    by_split = {"valid": images or noisy_patterns(seed)}
    return activations_of(cut_at(network, layer), by_split, Cache(memory_gb=0.1))["valid"]
