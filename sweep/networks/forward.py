"""Run networks, or parts of them, on many images: compiled, batch by batch.

Nothing here assumes a CPU: TensorFlow places the work, and takes of a GPU's memory what it needs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from math import log2, prod
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor

MAX_TENSOR_BYTES = 2**25  # bytes that the largest tensor of a pass may take
MAX_BATCH = 1024  # images a pass
NOT_FINITE = "the network gives scores that are NaN or infinite; expected finite ones"

tf.config.experimental.enable_tensor_float_32_execution(False)  # ten bits are not float rounding
for gpu in tf.config.list_physical_devices("GPU"):
    with suppress(RuntimeError, ValueError):  # in use, or divided, by whoever imports this
        tf.config.experimental.set_memory_growth(gpu, True)


class Pixels(Protocol):
    """Images that are read where they are sliced; an array is one, `data.hdf5.Pixels` another."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


def tensor_spec(tensor: Tensor) -> tf.TensorSpec:
    """Return what a compiled function takes for a tensor of a network."""
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)


def image_spec(network: keras.Model) -> tf.TensorSpec:
    """Return what a compiled function takes for the images of a network."""
    return tf.TensorSpec((None, *network.inputs[0].shape[1:]), tf.float32)


def feature_extractor(
    network: keras.Model, tensors: Sequence[Tensor]
) -> Callable[..., list[Tensor]]:
    """Return the network up to some of its tensors, compiled: images in, these tensors out."""
    part = keras.Model(network.inputs[0], list(tensors))
    return compiled(
        lambda pixels: keras.tree.flatten(part(pixels, training=False)), [image_spec(network)]
    )


def compiled(forward: Callable[..., Any], specs: Sequence[tf.TensorSpec]) -> Callable[..., Any]:
    """Return `forward` of tensors, compiled: tensors or arrays in, tensors out."""
    graph = _traced(forward, *specs)
    return lambda *inputs: graph(*map(tf.convert_to_tensor, inputs))


def classifier(
    forward: Callable[..., Any],
    specs: Sequence[tf.TensorSpec],
    common: Sequence[tf.TensorSpec] = (),
) -> Callable[..., NDArray[np.int64]]:
    """Return `forward` of tensors to scores, compiled: arrays in, classes out, int64 (n,).

    The inputs are those `common` to all images, and then one row an image, of which `rows`, where
    they are given, are picked; None: all.
    """

    def classify(*inputs: Any) -> tuple[Any, Any]:
        scores = forward(*inputs)
        return tf.argmax(scores, axis=-1), tf.reduce_max(scores, axis=-1)

    def classify_rows(rows: Any, *inputs: Any) -> tuple[Any, Any]:
        picked = (tf.gather(tensor, rows) for tensor in inputs[len(common) :])
        return classify(*inputs[: len(common)], *picked)

    classify_all = _traced(classify, *common, *specs)
    row_spec = tf.TensorSpec((None,), tf.int64)
    traced_on_rows = cache(lambda: _traced(classify_rows, row_spec, *common, *specs))

    def classes(*inputs: Any, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        tensors = map(tf.convert_to_tensor, inputs)
        if rows is None:
            predictions, highest = classify_all(*tensors)
        else:
            predictions, highest = traced_on_rows()(tf.convert_to_tensor(rows), *tensors)
        if not np.isfinite(highest).all():
            raise BadInput(NOT_FINITE)
        return np.asarray(predictions)

    return classes


def _traced(function: Callable[..., Any], *specs: tf.TensorSpec) -> Callable[..., Any]:
    """One graph for all sizes of a batch; called directly, a step of the curve costs half."""
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def predict(network: keras.Model, pixels: Pixels) -> NDArray[np.int64]:
    """Return the predicted class of each image, shape (n,): a plain pass of the whole network."""
    classes = classifier(lambda pixels: network(pixels, training=False), [image_spec(network)])
    size = batch_size(Graph(network).tensors)
    return np.concatenate([classes(pixels[batch]) for batch in batches(len(pixels), size)])


def scores(network: keras.Model, pixels: Pixels) -> NDArray[np.float32]:
    """Return what the network gives for each image, (n, classes): a plain pass, as `predict`."""
    run = compiled(lambda pixels: network(pixels, training=False), [image_spec(network)])
    size = batch_size(Graph(network).tensors)
    outputs = np.concatenate([run(pixels[batch]) for batch in batches(len(pixels), size)])
    if not np.isfinite(outputs).all():
        raise BadInput(NOT_FINITE)
    return outputs


def batch_size(tensors: Iterable[Tensor]) -> int:
    """Return the images a pass: as many as keep the largest of `tensors` within `MAX_TENSOR_BYTES`.

    A power of two, at most `MAX_BATCH`; sizes that are not known are taken for 224.
    """
    largest = max(prod(size or 224 for size in tensor.shape[1:]) for tensor in tensors)
    return 2 ** max(0, int(log2(min(MAX_BATCH, MAX_TENSOR_BYTES / (4 * largest)))))


def batches(count: int, rows: int) -> Iterator[slice]:
    """Return slices of at most `rows` that together cover `count` images."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
