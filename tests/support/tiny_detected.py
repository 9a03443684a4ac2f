"""Networks of two pixels whose weights are set by hand, for tests of detectors."""

import keras
import numpy as np
from keras import layers

from sweep.detectors.reference import Reference

KERNEL = np.array([[3.0, -1.0, 0.5], [-2.0, 2.0, 1.0]])
BIAS = np.array([0.1, 0.0, -0.3])
#: Images of 1 x 2 x 1 pixels, in 0..1.
PIXELS = np.random.default_rng(3).random((30, 1, 2, 1)).astype(np.float32)
PIXELS[0, 0, :, 0] = 0, 1  # the range


def linear(activation: str | None = None) -> keras.Model:
    """Three classes: `x KERNEL + BIAS`, as logits or through `activation`."""
    images = keras.Input((1, 2, 1))
    dense = layers.Dense(3, activation=activation, name="scores")
    network = keras.Model(images, dense(layers.Flatten(name="flatten")(images)))
    dense.set_weights([KERNEL, BIAS])
    return network


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def believed(pixels: np.ndarray, activation: str | None = None) -> np.ndarray:
    """The probabilities of `linear(activation)`, (n, 3)."""
    logits = pixels.reshape(-1, 2).astype(np.float64) @ KERNEL + BIAS
    if activation == "sigmoid":
        values = 1 / (1 + np.exp(-logits))
        return values / values.sum(axis=1, keepdims=True)
    return softmax(logits)


def reference(network: keras.Model, pixels: np.ndarray = PIXELS, seed: int = 0) -> Reference:
    """Clean images with the labels that `network` gives them; B' is B."""
    labels = np.asarray(network(pixels)).argmax(axis=1)
    return Reference(network, network, pixels, labels, seed)
