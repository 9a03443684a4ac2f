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
    has_heads,
    is_activation,
    is_norm,
    makes_channels,
)
from sweep.networks.shrinking.rules import (
    MERGES,
    ActivationRule,
    AttentionRule,
    ChannelwiseRule,
    ConcatenateRule,
    FlattenRule,
    MergeRule,
    NormRule,
    PaddingRule,
    RescalingRule,
    Rule,
    channel_count,
)
from sweep.networks.shrinking.weighted import WeightedRule

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


def rule_for(graph: Graph, node: Node) -> Rule:
    """Return the rule for what is known of a node's layer; `Rule` where that is nothing."""
    is_supported = all(_is_supported(call) for call in graph.calls_of(node))
    rule_type = _rule_type(graph, node) if is_supported else Rule
    return rule_type(graph, node)


def _is_supported(node: Node) -> bool:
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
    """Return the type of rule for a node that `_is_supported`."""
    layer, layer_type = node.operation, type(node.operation)
    is_used_once = len(graph.calls_of(node)) == 1
    (output,), inputs = node.output_tensors, node.input_tensors
    size = channel_count(output)
    if layer_type in MERGES:
        is_broadcast = all(t.ndim == output.ndim and channel_count(t) in (1, size) for t in inputs)
        return MergeRule if is_broadcast else Rule
    if layer_type is LAYERS.Concatenate:
        return ConcatenateRule if layer.axis in (-1, output.ndim - 1) else Rule
    if has_heads(layer) and not layer.get_config()["use_gate"]:
        return AttentionRule
    if len(inputs) > 1:
        return Rule
    if makes_channels(layer):
        return WeightedRule
    if is_norm(layer):
        return NormRule
    if is_activation(layer):
        return ActivationRule if activation_is_channelwise(layer) else Rule
    if layer_type in PADDINGS:
        return PaddingRule
    if layer_type in CHANNELWISE and getattr(layer, "noise_shape", None) is None:
        return ChannelwiseRule
    if layer_type is LAYERS.Rescaling and is_used_once:
        shapes = (np.shape(layer.scale), np.shape(layer.offset))
        return RescalingRule if all(shape in ((), (size,)) for shape in shapes) else Rule
    is_fixed_reshape = (
        layer_type is LAYERS.Reshape and is_used_once and None not in output.shape[1:]
    )
    if layer_type is LAYERS.Flatten or is_fixed_reshape:
        return FlattenRule if size % channel_count(inputs[0]) == 0 else Rule
    return Rule
