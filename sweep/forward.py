"""Run networks, or parts of them, on many images: compiled, batch by batch.

Nothing here assumes a CPU: TensorFlow places the work, and takes of a GPU's memory what it needs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import log2, prod
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.graphs import Graph
from sweep.hdf5 import Pixels

MEMORY = 2**26  # bytes that the largest tensor of a pass may take
MOST = 1024  # images a pass

for gpu in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(gpu, True)


def spec(tensor: Any) -> tf.TensorSpec:
    """What a compiled function takes for a tensor of a network."""
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)


def compiled(
    forward: Callable[..., Any], specs: Sequence[tf.TensorSpec]
) -> Callable[..., list[NDArray[np.float32]]]:
    """`forward` of tensors, compiled: arrays in, a list of arrays that may be written to out."""
    graph = tf.function(forward, input_signature=specs, autograph=False)

    def run(*inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs = keras.tree.flatten(graph(*map(tf.convert_to_tensor, inputs)))
        return [np.array(output) for output in outputs]

    return run


def classifier(
    forward: Callable[..., Any], specs: Sequence[tf.TensorSpec]
) -> Callable[..., NDArray[np.int64]]:
    """`forward` of tensors to scores, compiled: arrays in, predicted classes out, int64 (n,)."""
    graph = tf.function(forward, input_signature=specs, autograph=False)

    def classes(*inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        scores = graph(*map(tf.convert_to_tensor, inputs)).numpy()
        highest = scores.argmax(axis=-1)  # where there is a NaN, that
        if not np.isfinite(scores[np.arange(len(scores)), highest]).all():
            raise BadInput(
                "the network gives scores that are NaN or infinite; expected finite ones"
            )
        return highest

    return classes


def predict(network: keras.Model, pixels: NDArray[np.float32] | Pixels) -> NDArray[np.int64]:
    """Predicted class of each image, shape (n,): a plain pass of the whole network."""
    images = tf.TensorSpec((None, *network.inputs[0].shape[1:]), tf.float32)
    classes = classifier(lambda images: network(images, training=False), [images])
    rows = at_once(Graph(network).tensors)
    return np.concatenate([classes(pixels[some]) for some in batches(len(pixels), rows)])


def at_once(tensors: Iterable[Any]) -> int:
    """How many images a pass: as many as keep the largest of `tensors` within `MEMORY`.

    A power of two, at most `MOST`; sizes that are not known are taken for 224.
    """
    largest = max(prod(size or 224 for size in tensor.shape[1:]) for tensor in tensors)
    return 2 ** max(0, int(log2(min(MOST, MEMORY / (4 * largest)))))


def batches(count: int, rows: int) -> Iterator[slice]:
    """Slices of at most `rows` that together cover `count` images."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
