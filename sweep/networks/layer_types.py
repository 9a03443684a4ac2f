"""What each type of Keras layer does to channels: makes them, treats each alone, is linear in them.

A layer of a type that is not listed here (a custom one, a subclass) is taken for anything: it may
mix channels, and nothing is assumed of its weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray

from sweep.networks.keras_internals import Layer, is_stock_activation, is_stock_operation

LAYERS = keras.layers
PLAIN = (LAYERS.Conv1D, LAYERS.Conv2D, LAYERS.Conv3D, LAYERS.Dense)
TRANSPOSED = (LAYERS.Conv1DTranspose, LAYERS.Conv2DTranspose, LAYERS.Conv3DTranspose)
DEPTHWISE = (LAYERS.DepthwiseConv1D, LAYERS.DepthwiseConv2D)
SEPARABLE = (LAYERS.SeparableConv1D, LAYERS.SeparableConv2D)
PRODUCERS = (*PLAIN, *TRANSPOSED, *DEPTHWISE, *SEPARABLE)
CONVOLUTIONS = tuple(layer_type for layer_type in PRODUCERS if layer_type is not LAYERS.Dense)
ATTENTION = (LAYERS.MultiHeadAttention, LAYERS.GroupQueryAttention)

ACTIVATIONS = (LAYERS.Activation, LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.PReLU, LAYERS.ELU)
#: Operations (`keras.ops.relu(x)`) that are activations; Keras has no public name for their types.
OPERATIONS = (
    "Relu",
    "Relu6",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Silu",
    "Sigmoid",
    "HardSigmoid",
    "HardSilu",
    "Tanh",
)
#: Activations that mix channels.
MIXING = tuple(map(keras.activations.get, ("softmax", "log_softmax", "sparsemax", "glu")))
AVERAGES = (
    LAYERS.AveragePooling1D,
    LAYERS.AveragePooling2D,
    LAYERS.AveragePooling3D,
    LAYERS.GlobalAveragePooling1D,
    LAYERS.GlobalAveragePooling2D,
    LAYERS.GlobalAveragePooling3D,
)
MAXIMA = (
    LAYERS.MaxPooling1D,
    LAYERS.MaxPooling2D,
    LAYERS.MaxPooling3D,
    LAYERS.GlobalMaxPooling1D,
    LAYERS.GlobalMaxPooling2D,
    LAYERS.GlobalMaxPooling3D,
)
DROPOUTS = (
    LAYERS.Dropout,
    LAYERS.SpatialDropout1D,
    LAYERS.SpatialDropout2D,
    LAYERS.SpatialDropout3D,
)
RESHAPING = (LAYERS.Flatten, LAYERS.Reshape)
#: Layers that make one tensor of several, element by element, and the operations that do.
SUMS = (LAYERS.Add, LAYERS.Subtract, LAYERS.Average)
SUM_OPERATIONS = ("Add", "Subtract")
MERGES = (*SUMS, LAYERS.Multiply, LAYERS.Maximum, LAYERS.Minimum)
MERGE_OPERATIONS = (*SUM_OPERATIONS, "Multiply", "Maximum", "Minimum")
#: Layers without weights that are linear, or affine, in all their inputs together.
AFFINE = (
    *AVERAGES,
    *DROPOUTS,
    *RESHAPING,
    LAYERS.Permute,
    LAYERS.ZeroPadding1D,
    LAYERS.ZeroPadding2D,
    LAYERS.ZeroPadding3D,
    LAYERS.Cropping1D,
    LAYERS.Cropping2D,
    LAYERS.Cropping3D,
    *SUMS,
    LAYERS.Concatenate,
    LAYERS.Identity,
)


def makes_channels(layer: Layer) -> bool:
    """Return whether `layer` makes its channels, on the last axis, by weights that are known."""
    has_lora = getattr(layer, "lora_enabled", False)  # its kernel is a sum of weights
    knows_weights = not (has_lora or _is_quantised(layer))
    return type(layer) in PRODUCERS and knows_weights and _channels_last(layer)


def has_heads(layer: Layer) -> bool:
    """Return whether `layer` is attention whose heads are known one by one."""
    return type(layer) is LAYERS.MultiHeadAttention


def is_activation(layer: Layer) -> bool:
    """Return whether `layer`, or an operation in its place, is an activation and nothing else."""
    return _is_one_of(layer, ACTIVATIONS, OPERATIONS)


def is_norm(layer: Layer) -> bool:
    """Return whether `layer` is a BatchNormalization of channels, which stand last."""
    is_batch_norm = type(layer) is LAYERS.BatchNormalization
    return is_batch_norm and layer.axis in (-1, layer.input_spec.ndim - 1)


def is_layer_norm(layer: Layer, dimensions: int) -> bool:
    """Return whether `layer` is a LayerNormalization of tensors of features, which stand last."""
    if type(layer) is not LAYERS.LayerNormalization or layer.rms_scaling:
        return False
    return layer.axis in ([-1], [dimensions - 1])


def is_linear(layer: Layer) -> bool:
    """Return whether `layer` has no activation of its own and is none."""
    return not is_activation(layer) and not has_activation(layer)


def has_activation(layer: Layer) -> bool:
    """Return whether `layer` ends in an activation of its own."""
    return getattr(layer, "activation", None) not in (None, keras.activations.linear)


def is_channelwise(layer: Layer) -> bool:
    """Return whether each channel that `layer` gives depends on the input channel of its number."""
    if is_norm(layer):
        return True
    is_candidate = is_activation(layer) or type(layer) in (*AVERAGES, *MAXIMA, *DROPOUTS)
    return is_candidate and activation_is_channelwise(layer) and _channels_last(layer)


def is_sum(layer: Layer) -> bool:
    """Return whether `layer` adds, subtracts or averages tensors, element by element."""
    return _is_one_of(layer, SUMS, SUM_OPERATIONS)


def is_merge(layer: Layer) -> bool:
    """Return whether `layer` makes one tensor of several, element by element."""
    return _is_one_of(layer, MERGES, MERGE_OPERATIONS)


def activation_is_channelwise(layer: Layer) -> bool:
    """Return whether the activation that `layer` ends in, if any, treats each channel alone."""
    function = getattr(layer, "activation", None) or keras.activations.linear
    return function not in MIXING and is_stock_activation(function)  # a custom one may mix them


def is_affine(layer: Layer) -> bool:
    """Return whether `layer`, but for its own activation, is affine in its inputs: W x + b."""
    types = (*PRODUCERS, *AFFINE, LAYERS.BatchNormalization)
    return _is_one_of(layer, types, (*SUM_OPERATIONS, "GetItem")) and not _is_quantised(layer)


def is_pointwise(layer: Layer) -> bool:
    """Return whether `layer` is affine, and treats each position alone and all positions alike."""
    if type(layer) in PLAIN and type(layer) is not LAYERS.Dense:
        one = set(layer.kernel_size) == set(layer.strides) == {1}
    else:
        one = is_norm(layer) or is_sum(layer) or type(layer) in (LAYERS.Dense, *DROPOUTS)
    return one and is_affine(layer)


def is_softmax(layer: Layer) -> bool:
    """Return whether `layer` is, or ends in, a softmax over the channels."""
    may_end_in_softmax = type(layer) in (LAYERS.Activation, *PRODUCERS)
    return may_end_in_softmax and layer.activation is keras.activations.softmax


@contextmanager
def without_activation(layer: Layer) -> Iterator[None]:
    """Replace the activation that `layer` ends in by the identity while the block runs."""
    if not has_activation(layer):
        yield
        return
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def filters(layer: Layer, kernel: NDArray | None = None) -> NDArray:
    """Return the weights that make each channel, without bias, (..., channels).

    `layer` is one that `makes_channels`. A depthwise filter sees one input. A
    separable filter is the product of its two kernels, the one convolution that it amounts to.
    `kernel` is another array in place of the layer's own.
    """
    if type(layer) in SEPARABLE:
        depthwise, pointwise = layer.depthwise_kernel.numpy(), layer.pointwise_kernel.numpy()
        pointwise = pointwise.reshape(*depthwise.shape[-2:], -1)
        return np.einsum("...im,imo->...io", depthwise, pointwise)
    kernel = layer.kernel.numpy() if kernel is None else kernel
    if type(layer) in TRANSPOSED:
        return np.swapaxes(kernel, -1, -2)
    if type(layer) in DEPTHWISE:
        return kernel.reshape(*kernel.shape[:-2], 1, -1)
    return kernel


def zero_channels(layer: Layer, channels: NDArray[np.int64], *, keep_beta: bool = False) -> None:
    """Set to zero, in `layer` itself, the weights that make `channels`.

    `layer` is a norm or one that `makes_channels`. Of a norm these are gamma and
    beta, or with `keep_beta` gamma alone.
    """
    if is_norm(layer):
        weights = [layer.gamma, None if keep_beta else layer.beta]
    elif type(layer) in SEPARABLE:
        weights = [layer.pointwise_kernel, layer.bias]
    else:
        weights = [layer.kernel, layer.bias]
    for weight in weights:
        if weight is None:
            continue
        value = weight.numpy().copy()
        if value.ndim > 1 and type(layer) in TRANSPOSED:
            value[..., channels, :] = 0
        elif value.ndim > 1 and type(layer) in DEPTHWISE:
            value.reshape(*value.shape[:-2], -1)[..., channels] = 0
        else:
            value[..., channels] = 0
        weight.assign(value)


def zero_heads(layer: Layer, heads: NDArray[np.int64]) -> None:
    """Set to zero, in `layer` itself, what its output projection reads of `heads`."""
    kernel = layer.output_dense.kernel
    value = kernel.numpy().copy()
    value[heads] = 0
    kernel.assign(value)


def unread_heads(layer: Layer) -> NDArray[np.bool_]:
    """Return of which heads the output projection of `layer` reads nothing, (heads,)."""
    kernel = layer.output_dense.kernel.numpy()
    unread: NDArray[np.bool_] = (kernel == 0).reshape(len(kernel), -1).all(axis=1)
    return unread


def _is_one_of(layer: Layer, types: tuple[type, ...], operations: tuple[str, ...]) -> bool:
    """Return whether `layer` is of these types, or one of these operations in a layer's place."""
    if is_stock_operation(layer):
        return type(layer).__name__ in operations
    return type(layer) in types


def _is_quantised(layer: Layer) -> bool:
    """Return whether `layer` rounds what comes in, by the largest of it."""
    return getattr(layer, "quantization_mode", None) is not None


def _channels_last(layer: Layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"
