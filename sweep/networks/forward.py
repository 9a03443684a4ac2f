"""Run networks, or parts of them, on many images: compiled, batch by batch.

Nothing here assumes a CPU: TensorFlow places the work, and takes of a GPU's memory what it needs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from math import log2, prod
from typing import Protocol

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

Progress = Callable[[float], object]  # of how many more images, or steps, are done

tf.config.experimental.enable_tensor_float_32_execution(False)  # ten bits are not float rounding
for gpu in tf.config.list_physical_devices("GPU"):
    with suppress(RuntimeError, ValueError):  # in use, or divided, by whoever imports this
        tf.config.experimental.set_memory_growth(gpu, True)


def no_progress(more: float) -> None:
    """Show nothing."""


def scaled(progress: Progress, factor: float) -> Progress:
    """Return `progress` that is told `factor` times as much."""
    return lambda more: progress(factor * more)


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


def rows_spec(array: NDArray) -> tf.TensorSpec:
    """Return what a compiled function takes for arrays like this one, of any number of rows."""
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def feature_extractor(
    network: keras.Model, tensors: Sequence[Tensor]
) -> Callable[..., list[Tensor]]:
    """Return the network up to some of its tensors, compiled: images in, these tensors out."""
    part = keras.Model(network.inputs[0], list(tensors))
    return compiled(
        lambda pixels: keras.tree.flatten(part(pixels, training=False)), [image_spec(network)]
    )


def compiled(
    forward: Callable[..., Tensor], specs: Sequence[tf.TensorSpec]
) -> Callable[..., Tensor]:
    """Return `forward` of tensors, compiled: tensors or arrays in, tensors out."""
    graph = _traced(forward, *specs)
    return lambda *inputs: graph(*map(tf.convert_to_tensor, inputs))


class Classifier:
    """`forward` of tensors to scores, compiled: arrays in, classes out, int64 (n,).

    The inputs are those `common` to all images, and then one row an image, of which `rows`, where
    they are given, are picked; None: all.
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        specs: Sequence[tf.TensorSpec],
        common: Sequence[tf.TensorSpec] = (),
    ) -> None:
        self._forward, self._common = forward, len(common)
        self._specs = [*common, *specs]
        self._compiled = _traced(self._classify, *self._specs)

    def __call__(self, *inputs: Tensor, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        tensors = map(tf.convert_to_tensor, inputs)
        if rows is None:
            classes, highest = self._compiled(*tensors)
        else:
            classes, highest = self._compiled_on_rows(tf.convert_to_tensor(rows), *tensors)
        if not np.isfinite(highest).all():
            raise BadInput(NOT_FINITE)
        return np.asarray(classes)

    @cached_property
    def _compiled_on_rows(self) -> Callable[..., tuple[Tensor, Tensor]]:
        return _traced(self._classify_rows, tf.TensorSpec((None,), tf.int64), *self._specs)

    def _classify(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each image, and its score."""
        scores = self._forward(*inputs)
        return tf.argmax(scores, axis=-1), tf.reduce_max(scores, axis=-1)

    def _classify_rows(self, rows: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        picked = (tf.gather(tensor, rows) for tensor in inputs[self._common :])
        return self._classify(*inputs[: self._common], *picked)


def _traced(function: Callable[..., Tensor], *specs: tf.TensorSpec) -> Callable[..., Tensor]:
    """One graph for all sizes of a batch; called directly, a step of the curve costs half."""
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def predict(network: keras.Model, pixels: Pixels) -> NDArray[np.int64]:
    """Return the predicted class of each image, shape (n,): a plain pass of the whole network."""
    return predictor(network)(pixels)


def predictor(network: keras.Model) -> Callable[[Pixels], NDArray[np.int64]]:
    """Return `predict` of `network`, compiled once: for images that come again and again."""
    classify = Classifier(lambda pixels: network(pixels, training=False), [image_spec(network)])
    size = batch_size(Graph(network).tensors)

    def predict_all(pixels: Pixels) -> NDArray[np.int64]:
        return np.concatenate([classify(pixels[rows]) for rows in batches(len(pixels), size)])

    return predict_all


def scores(
    network: keras.Model, pixels: Pixels, progress: Progress = no_progress
) -> NDArray[np.float32]:
    """Return what the network gives for each image, (n, classes): a plain pass, as `predict`."""
    run = compiled(lambda pixels: network(pixels, training=False), [image_spec(network)])
    size = batch_size(Graph(network).tensors)
    parts = []
    for rows in batches(len(pixels), size):
        parts.append(run(pixels[rows]))
        progress(rows.stop - rows.start)
    outputs = np.concatenate(parts)
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
