"""What each kind of Keras layer does to channels: makes them, keeps them apart, is linear in them.

A layer of a kind that is not named here (a custom one, a subclass) is taken for anything: it may
mix channels, and nothing is assumed of its weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

LAYERS = keras.layers
PLAIN = (LAYERS.Conv1D, LAYERS.Conv2D, LAYERS.Conv3D, LAYERS.Dense)
TRANSPOSED = (LAYERS.Conv1DTranspose, LAYERS.Conv2DTranspose, LAYERS.Conv3DTranspose)
DEPTHWISE = (LAYERS.DepthwiseConv1D, LAYERS.DepthwiseConv2D)
SEPARABLE = (LAYERS.SeparableConv1D, LAYERS.SeparableConv2D)
PRODUCERS = (*PLAIN, *TRANSPOSED, *DEPTHWISE, *SEPARABLE)
CONVOLUTIONS = tuple(kind for kind in PRODUCERS if kind is not LAYERS.Dense)

ACTIVATIONS = (LAYERS.Activation, LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.PReLU, LAYERS.ELU)
#: Operations (`keras.ops.relu(x)`) that are activations; Keras has no public name for their kinds.
OPERATIONS = [
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
]
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
    LAYERS.Add,
    LAYERS.Subtract,
    LAYERS.Average,
    LAYERS.Concatenate,
    LAYERS.Identity,
)


def makes_channels(layer: Any) -> bool:
    """Whether `layer` makes its channels, on the last axis, by weights that are known."""
    adapted = getattr(layer, "lora_enabled", False)  # its kernel is a sum of weights
    known = not (adapted or _is_quantised(layer))
    return type(layer) in PRODUCERS and known and _channels_last(layer)


def is_activation(layer: Any) -> bool:
    """Whether `layer`, or an operation in its place, is an activation and nothing else."""
    kind = type(layer)
    operation = kind.__module__.startswith("keras.src.ops.") and kind.__name__ in OPERATIONS
    return operation or kind in ACTIVATIONS


def is_norm(layer: Any) -> bool:
    """Whether `layer` is a BatchNormalization of channels, which stand last."""
    norm = type(layer) is LAYERS.BatchNormalization
    return norm and layer.axis in (-1, layer.input_spec.ndim - 1)


def is_linear(layer: Any) -> bool:
    """Whether `layer` has no activation of its own and is none."""
    return not is_activation(layer) and not has_activation(layer)


def has_activation(layer: Any) -> bool:
    """Whether `layer` ends in an activation of its own."""
    return getattr(layer, "activation", None) not in (None, keras.activations.linear)


def is_channelwise(layer: Any) -> bool:
    """Whether `layer` keeps channels apart: what it makes of one depends on that one alone."""
    passing = is_activation(layer) or type(layer) in (*AVERAGES, *MAXIMA, *DROPOUTS)
    apart = activation_is_channelwise(layer) and _channels_last(layer)
    return is_norm(layer) or (passing and apart)


def activation_is_channelwise(layer: Any) -> bool:
    """Whether the activation that `layer` ends in, if any, keeps channels apart."""
    function = getattr(layer, "activation", None) or keras.activations.linear
    module = getattr(function, "__module__", None) or ""  # of a stranger's nothing is known
    return function not in MIXING and module.startswith("keras.src.activations.")


def is_affine(layer: Any) -> bool:
    """Whether `layer`, but for its own activation, is affine in its inputs: W x + b."""
    known = type(layer) in (*PRODUCERS, *AFFINE, LAYERS.BatchNormalization)
    return known and not _is_quantised(layer)


def is_softmax(layer: Any) -> bool:
    """Whether `layer` is, or ends in, a softmax over the channels."""
    known = type(layer) in (LAYERS.Activation, *PRODUCERS)
    return known and layer.activation is keras.activations.softmax


@contextmanager
def without_activation(layer: Any) -> Iterator[None]:
    """Take the activation of its own off `layer` for as long as it is called here."""
    if not has_activation(layer):
        yield
        return
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def filters(layer: Any, kernel: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """What makes each channel of a layer that `makes` them, without bias, (..., channels).

    A depthwise filter sees one input. A separable filter is the product of its two kernels, the
    one convolution that it amounts to. `kernel` is another array in place of the layer's own.
    """
    if type(layer) in SEPARABLE:
        depth, point = layer.depthwise_kernel.numpy(), layer.pointwise_kernel.numpy()
        point = point.reshape(*depth.shape[-2:], -1)
        return np.einsum("...im,imo->...io", depth, point)
    kernel = layer.kernel.numpy() if kernel is None else kernel
    if type(layer) in TRANSPOSED:
        return np.swapaxes(kernel, -1, -2)
    if type(layer) in DEPTHWISE:
        return kernel.reshape(*kernel.shape[:-2], 1, -1)
    return kernel


def zero_channels(layer: Any, channels: NDArray[np.int64], *, keep_beta: bool = False) -> None:
    """Zero the weights of a norm, or of a layer that `makes` channels, that make `channels`.

    Of a norm these are gamma and beta, or with `keep_beta` gamma alone. Changes `layer`.
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


def _is_quantised(layer: Any) -> bool:
    """Whether `layer` rounds what comes in, by the largest of it."""
    return getattr(layer, "quantization_mode", None) is not None


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"
