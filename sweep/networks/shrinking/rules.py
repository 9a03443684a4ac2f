"""What each kind of layer does to constant channels, and which channels it can do without.

A rule stands for one node of a graph. Masks are bool, one a channel of a tensor (its last axis);
`taken` are those that the node reads of each of its inputs, `kept` those that it makes. Values are
float64, one a channel: what it is on every image and at every place, NaN if it varies.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.networks.graph import Graph, call
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import LAYERS, unread_heads

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]
Smaller = tuple[dict[str, Any], dict[str, Any]]  # a layer's new settings, its weights by name

MERGES = {
    LAYERS.Add: sum,
    LAYERS.Subtract: lambda values: values[0] - values[1],
    LAYERS.Multiply: lambda values: np.prod(values, axis=0),
    LAYERS.Average: lambda values: np.mean(values, axis=0),
    LAYERS.Maximum: lambda values: np.max(values, axis=0),
    LAYERS.Minimum: lambda values: np.min(values, axis=0),
}


class Rule:
    """A layer of which nothing is known: it needs all channels, and all it makes are needed.

    A layer that is `flexible` can read more channels than it needs. All calls of one that is
    `coupled` read and make the same.
    """

    opaque = True
    flexible = False

    def __init__(self, graph: Graph, node: Node) -> None:
        self.node, self.layer, self.calls = node, node.operation, graph.calls_of(node)
        weights = getattr(self.layer, "weights", ())
        self.coupled = not self.opaque and len(self.calls) > 1 and len(weights) > 0

    def constants(self, values: list[Values]) -> Values:
        """Return the values of the channels made, from those of each input."""
        return np.array([np.nan])

    def propagate(self, taken: list[Mask], kept: Mask) -> None:
        """Add to `taken` what the channels `kept` are made of, to `kept` what comes with it."""

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        """Return settings and weights of the layer that reads and makes these channels alone."""
        return {}, {}

    def is_whole(self, taken: list[Mask], kept: Mask) -> bool:
        """Return whether the layer stays as it is."""
        return all(mask.all() for mask in (*taken, kept))

    def is_identity(self, kept: Mask) -> bool:
        """Return whether the layer does nothing, now that it has lost channels."""
        return False


class AttentionRule(Rule):
    """Attention of other heads where nothing is read of some; it needs and makes all channels."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        self.left = ~unread_heads(self.layer)
        self.left[0] |= not self.left.any()

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        layer, left = self.layer, self.left
        arrays = {"output_dense.kernel": layer.output_dense.kernel.numpy()[left]}
        for name in ("query_dense", "key_dense", "value_dense"):
            arrays[f"{name}.kernel"] = getattr(layer, name).kernel.numpy()[..., left, :]
            if layer.use_bias:
                arrays[f"{name}.bias"] = getattr(layer, name).bias.numpy()[left]
        if layer.use_bias:
            arrays["output_dense.bias"] = layer.output_dense.bias.numpy()
        return {"num_heads": int(left.sum())}, arrays

    def is_whole(self, taken: list[Mask], kept: Mask) -> bool:
        return bool(self.left.all())


class ChannelwiseRule(Rule):
    """A layer that makes each channel of the one of that number in each of its inputs."""

    opaque = False

    def constants(self, values: list[Values]) -> Values:
        return values[0]

    def propagate(self, taken: list[Mask], kept: Mask) -> None:
        masks = [mask for mask in taken if len(mask) == len(kept)]
        for mask in masks:
            kept |= mask
        for mask in masks:
            mask |= kept
        for mask in taken:  # one map for all channels
            mask |= len(mask) == 1


class PaddingRule(ChannelwiseRule):
    """Zeros around the maps."""

    def constants(self, values: list[Values]) -> Values:
        return np.where(values[0] == 0, 0, np.nan)


class ActivationRule(ChannelwiseRule):
    """An activation, of which there may be a PReLU with a slope for each place."""

    def constants(self, values: list[Values]) -> Values:
        if type(self.layer) is not LAYERS.PReLU:
            return activated(self.layer, values[0])
        slopes = self.layer.alpha.numpy().reshape(-1, self.layer.alpha.shape[-1])
        slope = np.where((slopes == slopes[0]).all(axis=0), slopes[0].astype(float), np.nan)
        return np.where(values[0] < 0, slope * values[0], values[0])

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        alpha = getattr(self.layer, "alpha", None)
        if type(self.layer) is not LAYERS.PReLU or alpha is None:
            return {}, {}
        if alpha.shape[-1] == 1 < len(kept):
            return {}, {}
        return {}, {"alpha": alpha.numpy()[..., kept]}


class NormRule(ChannelwiseRule):
    """A BatchNormalization; a channel is constant too where its gamma is 0."""

    def constants(self, values: list[Values]) -> Values:
        gamma, beta, mean, variance = (
            default if weight is None else weight.numpy().astype(np.float64)
            for weight, default in (
                (self.layer.gamma, 1.0),
                (self.layer.beta, 0.0),
                (self.layer.moving_mean, 0.0),
                (self.layer.moving_variance, 1.0),
            )
        )
        normed = gamma * (values[0] - mean) / np.sqrt(variance + self.layer.epsilon) + beta
        return np.where(gamma == 0, beta, normed)

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        weights = {name: getattr(self.layer, name) for name in names}
        arrays = {name: w.numpy()[kept] for name, w in weights.items() if w is not None}
        return {}, arrays


class RescalingRule(ChannelwiseRule):
    """A Rescaling by one scale, or by one a channel, as those that mask pruned channels are."""

    def constants(self, values: list[Values]) -> Values:
        scale, offset = np.float64(self.layer.scale), np.float64(self.layer.offset)
        return np.where(scale == 0, offset, values[0] * scale + offset)

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        settings = {"scale": self.layer.scale, "offset": self.layer.offset}
        return {k: np.array(v)[kept].tolist() for k, v in settings.items() if np.ndim(v)}, {}

    def is_identity(self, kept: Mask) -> bool:
        scale, offset = (
            np.broadcast_to(value, kept.shape)[kept]
            for value in (self.layer.scale, self.layer.offset)
        )
        return not kept.all() and bool((scale == 1).all()) and not offset.any()


class MergeRule(ChannelwiseRule):
    """A sum, product or the like of several inputs; 0 times anything is 0."""

    def constants(self, values: list[Values]) -> Values:
        arrays = np.broadcast_arrays(*values)
        merged = MERGES[type(self.layer)](arrays)
        is_zero = type(self.layer) is LAYERS.Multiply and np.any(np.equal(arrays, 0), axis=0)
        return np.where(is_zero, 0, merged)


class ConcatenateRule(Rule):
    """A Concatenate of channels."""

    opaque = False

    def constants(self, values: list[Values]) -> Values:
        return np.concatenate(values)

    def propagate(self, taken: list[Mask], kept: Mask) -> None:
        starts = np.cumsum([len(mask) for mask in taken])[:-1]
        for mask, part in zip(taken, np.split(kept, starts), strict=True):
            mask |= part
        kept |= np.concatenate(taken)


class FlattenRule(Rule):
    """A Flatten, or a Reshape, that makes several channels of each: one for each place."""

    opaque = False

    def constants(self, values: list[Values]) -> Values:
        return np.tile(values[0], channel_count(self.node.output_tensors[0]) // len(values[0]))

    def propagate(self, taken: list[Mask], kept: Mask) -> None:
        (mask,) = taken
        mask |= kept.reshape(-1, len(mask)).any(axis=0)
        kept |= np.tile(mask, len(kept) // len(mask))

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        if type(self.layer) is LAYERS.Flatten:
            return {}, {}
        return {"target_shape": (*self.node.output_tensors[0].shape[1:-1], int(kept.sum()))}, {}


def channel_count(tensor: Tensor) -> int:
    """Return the size of the last axis; 1 where there is none that is known."""
    return (tensor.shape[-1] if tensor.ndim > 1 else None) or 1


def activated(activation: Layer | None, values: Values) -> Values:
    """Return what an activation makes of channels of these values."""
    if activation is None:
        return values
    outputs = call(activation, np.nan_to_num(values).astype(np.float32)[None])
    return np.where(np.isnan(values), np.nan, np.asarray(outputs)[0])
