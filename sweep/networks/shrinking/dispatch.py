"""Which rule a layer goes by: what is not known for certain needs, and makes, all its channels."""

import keras
import numpy as np

from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import (
    AVERAGES,
    DROPOUTS,
    LAYERS,
    MAXIMA,
    activation_is_channelwise,
    is_activation,
    is_norm,
    makes_channels,
)
from sweep.networks.shrinking.rules import (
    MERGES,
    Acting,
    Joined,
    Merged,
    Norm,
    Padding,
    Rule,
    Same,
    Scaled,
    Unrolled,
    channels,
)
from sweep.networks.shrinking.weighted import Weighted

CHANNELWISE = (
    *AVERAGES,
    *MAXIMA,
    *DROPOUTS,
    LAYERS.Identity,
    LAYERS.RepeatVector,
    LAYERS.Cropping1D,
    LAYERS.Cropping2D,
    LAYERS.Cropping3D,
    LAYERS.UpSampling1D,
    LAYERS.UpSampling2D,
    LAYERS.UpSampling3D,
)
PADDINGS = (LAYERS.ZeroPadding1D, LAYERS.ZeroPadding2D, LAYERS.ZeroPadding3D)


def rule(graph: Graph, node: Node) -> Rule:
    """Return the rule for what is known of a node's layer; `Rule` where that is nothing."""
    plain = all(_is_plain(call) for call in graph.calls_of(node))
    return (_rule_type(graph, node) if plain else Rule)(graph, node)


def _is_plain(node: Node) -> bool:
    """Whether a node makes one tensor of floats, channels last, of others, as in inference."""
    layer, tensors = node.operation, [*node.input_tensors, *node.output_tensors]
    keyword_values = keras.tree.flatten(node.arguments.kwargs)
    policy = getattr(layer, "dtype_policy", None)
    return (
        bool(node.input_tensors)
        and len(node.output_tensors) == 1
        and all(tensor.ndim > 1 and tensor.shape[-1] for tensor in tensors)
        and all(tensor.dtype in ("float32", "float64") for tensor in tensors)
        and not any(value is not None and value is not False for value in keyword_values)
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and (policy is None or policy.name in ("float32", "float64"))
    )


def _rule_type(graph: Graph, node: Node) -> type[Rule]:
    """Return the type of rule for a node that is plain."""
    layer, kind, once = node.operation, type(node.operation), len(graph.calls_of(node)) == 1
    (made,), read = node.output_tensors, node.input_tensors
    size = channels(made)
    if kind in MERGES:
        alike = all(t.ndim == made.ndim and channels(t) in (1, size) for t in read)
        return Merged if alike else Rule
    if kind is LAYERS.Concatenate:
        return Joined if layer.axis in (-1, made.ndim - 1) else Rule
    if len(read) > 1:
        return Rule
    if makes_channels(layer):
        return Weighted
    if is_norm(layer):
        return Norm
    if is_activation(layer):
        return Acting if activation_is_channelwise(layer) else Rule
    if kind in PADDINGS:
        return Padding
    if kind in CHANNELWISE and getattr(layer, "noise_shape", None) is None:
        return Same
    if kind is LAYERS.Rescaling and once:
        each = (np.shape(layer.scale), np.shape(layer.offset))
        return Scaled if all(shape in ((), (size,)) for shape in each) else Rule
    if kind is LAYERS.Flatten or (kind is LAYERS.Reshape and once and None not in made.shape[1:]):
        return Unrolled if size % channels(read[0]) == 0 else Rule
    return Rule
