"""How far beyond all others a network can be made to score each class, from no image at all.

Source: MM-BD (Wang et al., "MM-BD: Post-Training Detection of Backdoor Attacks with Arbitrary
Backdoor Pattern Types Using a Maximum Margin Statistic", S&P 2024, arXiv 2205.06900).
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import terminal
from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.training.defender import Defender

Margins = NDArray[np.float64]

STARTS = 8  # images of noise for each class
STEPS = 150
RATE = 0.02  # a step, root mean square, in units of the pixels' range
MOMENTUM = 0.9
SMALL = 1e-12


def largest_margins(defender: Defender) -> Margins:
    """Return the largest margin found for each class, (classes,).

    The margin of an image is the log-odds of the class to the most probable other one. It is
    climbed from `STARTS` images of noise for each class by gradients within the range of pixels:
    steps of one length, with momentum. The best start counts.

    Differs: there 30 starts for each class, until the margin rises no more.
    """
    network = defender.network
    classes, shape = network.output_shape[-1], network.input_shape[1:]
    size = forward.batch_size(Graph(network).tensors)

    rng = np.random.default_rng([defender.seed, 23])
    sought = np.repeat(np.arange(classes), STARTS)
    margins = np.empty(len(sought))
    step = _climbing(network, *map(float, pixel_range(defender.pixels)))
    with terminal.progress("climbing margins", len(sought) * STEPS, "steps") as done:
        for rows in forward.batches(len(sought), size):
            targets = tf.constant(sought[rows])
            values = tf.constant(rng.random((len(targets), *shape)), tf.float32)
            velocity = tf.zeros_like(values)
            for _ in range(STEPS):
                values, velocity, found = step(values, velocity, targets)
                done(len(targets))
            margins[rows] = found.numpy()
    best: Margins = margins.reshape(classes, STARTS).max(axis=1)
    return best


def margin_p_value(margins: Margins) -> float:
    """Return how probable a largest margin like this is, were it one of the others' kind, in 0..1.

    `1 - F(largest)^classes`, F being the gamma distribution that fits all margins but the largest.
    Margins that are not positive count as very small ones. Fewer than 3 tell nothing: 1.

    >>> round(margin_p_value(np.array([3.0, 4, 5, 6, 30])), 4)
    0.0
    >>> round(margin_p_value(np.array([3.0, 4, 5, 6, 6.5])), 1)
    0.2
    """
    if len(margins) < 3:
        return 1.0
    *others, largest = np.sort(np.maximum(margins, SMALL))
    mean = np.mean(others)
    s = max(np.log(mean) - np.mean(np.log(others)), SMALL)
    shape = (3 - s + np.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s)  # Minka 2002: within 1.5 %
    below = float(tf.math.igamma(shape, shape * largest / mean))
    return float(1 - below ** len(margins))


def _climbing(network: keras.Model, low: float, high: float) -> Callable[..., list[Tensor]]:
    """One step of images, (n, height, width, channels) in 0..1: images, velocities and margins."""
    specs = [forward.image_spec(network)] * 2 + [tf.TensorSpec([None], tf.int64)]
    axes = range(1, len(specs[0].shape))

    @tf.function(input_signature=specs)
    def step(images: Tensor, velocity: Tensor, targets: Tensor) -> list[Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            logs = outputs.log_probabilities(network, low + (high - low) * images)
            is_target = tf.one_hot(targets, logs.shape[-1], on_value=True, off_value=False)
            others = tf.reduce_max(tf.where(is_target, logs.dtype.min, logs), axis=1)
            margins = outputs.of_labels(logs, targets) - others
        gradient = tape.gradient(margins, images)
        length = tf.sqrt(tf.reduce_mean(gradient**2, axis=axes, keepdims=True))
        velocity = MOMENTUM * velocity + (1 - MOMENTUM) * gradient / (length + SMALL)
        return [tf.clip_by_value(images + RATE * velocity, 0.0, 1.0), velocity, margins]

    return step
