"""Convolutions of maps that are smaller than the kernel, as products with a matrix.

A kernel of 3 x 3 on maps of 2 x 2, as at the end of VGG, is multiplied with padding most of the
time: five of nine weights. The matrix from all values that come in to all that go out is smaller
then, and products with it are what processors do best (five times as fast here).
"""

from collections.abc import Callable
from math import prod

import numpy as np
import tensorflow as tf
from keras import ops

from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import CONVOLUTIONS, PLAIN, has_activation, is_affine

LARGEST = 2**23  # values in a matrix, 32 MiB


def as_product(node: Node) -> Callable[[Tensor], Tensor] | None:
    """Return what the convolution that `node` calls makes of maps, (n, ..., channels), by a matrix.

    None where it is another layer, or where that would be the longer way.
    """
    layer, maps, made = node.operation, node.input_tensors[0], node.output_tensors[0]
    if not _is_smaller(layer, maps, made):
        return None
    with tf.init_scope():  # not in a graph that is being traced
        matrix = tf.constant(_matrix(layer, maps.shape[1:-1], made.shape[1:-1]))

    def product(maps: Tensor) -> Tensor:
        values = tf.matmul(tf.reshape(maps, (-1, matrix.shape[0])), matrix)
        outputs = tf.reshape(values, (-1, *made.shape[1:]))
        outputs = outputs if layer.bias is None else outputs + layer.bias
        return layer.activation(outputs) if has_activation(layer) else outputs

    return product


def _is_smaller(layer: Layer, maps: Tensor, made: Tensor) -> bool:
    """Whether the matrix takes fewer products than the kernel at every position."""
    if type(layer) not in PLAIN or type(layer) not in CONVOLUTIONS or not is_affine(layer):
        return False
    sizes = [*maps.shape[1:], *made.shape[1:]]
    plain = layer.groups == 1 and layer.padding in ("same", "valid")
    if not plain or None in sizes or {maps.dtype, made.dtype} != {"float32"}:
        return False
    return prod(maps.shape[1:-1]) < prod(layer.kernel_size) and prod(sizes) <= LARGEST


def _matrix(layer: Layer, before: tuple[int, ...], behind: tuple[int, ...]) -> np.ndarray:
    """The matrix, (values in, values out), from maps of positions `before` to those `behind`."""
    kernel = layer.kernel.numpy()
    *size, ins, outs = kernel.shape
    # which weight of the kernel leads from a position to another, by its number from 1; 0: none
    numbers = np.arange(1, prod(size) + 1, dtype=np.float32).reshape(*size, 1, 1)
    one_hot = np.eye(prod(before), dtype=np.float32).reshape(-1, *before, 1)
    settings = {"strides": layer.strides, "padding": layer.padding}
    which = ops.conv(one_hot, numbers, dilation_rate=layer.dilation_rate, **settings)
    weights = np.concatenate([np.zeros((1, ins, outs), np.float32), kernel.reshape(-1, ins, outs)])
    matrix = weights[np.rint(which).astype(int).reshape(prod(before), prod(behind))]
    return matrix.swapaxes(1, 2).reshape(prod(before) * ins, prod(behind) * outs)
