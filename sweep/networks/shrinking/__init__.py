"""Take channels that are the same whatever the image out of a network: same scores, fewer weights.

Which channels these are is read off the network alone (`rules.py`), whoever made them constant. A
tensor of the new network carries some of the channels of the old one; where a layer needs others
than the tensor that it reads carries, a Dense of 0 and 1 picks them and writes the constants in.
"""

from operator import attrgetter
from typing import Any

import keras
import numpy as np

from sweep.networks.cloning import copy_layer, copy_state
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Tensor, layer_that_made
from sweep.networks.shrinking.dispatch import rule_for
from sweep.networks.shrinking.rules import Mask, Rule, Values, channel_count

#: Channels are picked on the way only where that leaves out at least a quarter of them.
MAX_SHARE = 0.75


def shrunk(network: keras.Model) -> keras.Model:
    """A functional network of the same outputs, without channels that are constant or unread.

    Layers keep names and kinds, inputs and outputs their shapes, every layer at least one channel.
    Channels that are in the way of a sum or of an unknown layer go only if weights go with them.
    """
    if isinstance(network, keras.Sequential):
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    graph = Graph(network)
    rules = [rule_for(graph, node) for node in graph.nodes]
    values = _values(rules)
    plans = [_ChannelPlan(network, rules, values, share) for share in (0, MAX_SHARE)]
    return min([_SmallerNetwork(plan).network for plan in plans], key=keras.Model.count_params)


def _values(rules: list[Rule]) -> dict[int, Values]:
    """Return the value of each channel of every tensor, by the tensor's id."""
    values: dict[int, Values] = {}
    for rule in rules:
        constants = rule.constants([values[id(tensor)] for tensor in rule.node.input_tensors])
        for tensor in rule.node.output_tensors:
            values[id(tensor)] = np.broadcast_to(constants, channel_count(tensor))
    return values


class _ChannelPlan:
    """Which channels every tensor carries (`kept`), and which every layer reads (`taken`).

    Both start with none and grow until all layers have what they need. `max_share` of the channels
    may be left where some are picked on the way; with 0 none are picked.
    """

    def __init__(
        self, network: keras.Model, rules: list[Rule], values: dict[int, Values], max_share: float
    ) -> None:
        self.network, self.rules, self.values, self._max_share = network, rules, values, max_share
        self._kept: dict[int, Mask] = {}
        self._taken: dict[tuple[int, int], Mask] = {}
        for rule in rules:
            self._enter(rule)
        for tensor in network.outputs:
            self.kept(tensor)[:] = True
        while self._grow() or self._fill():
            pass

    def kept(self, tensor: Tensor) -> Mask:
        """Return the channels that a tensor carries."""
        return self._kept[id(tensor)]

    def taken(self, rule: Rule) -> list[Mask]:
        """The channels that a node reads of each of its inputs; the same of the same tensor."""
        return [self._taken[id(rule.node), id(tensor)] for tensor in rule.node.input_tensors]

    def _enter(self, rule: Rule) -> None:
        """Start the masks of a node; calls of a coupled layer share theirs."""
        first = rule.calls[0]
        if rule.coupled and rule.node is not first:
            (tensor,), (output,) = rule.node.input_tensors, rule.node.output_tensors
            (first_tensor,), (first_output,) = first.input_tensors, first.output_tensors
            self._taken[id(rule.node), id(tensor)] = self._taken[id(first), id(first_tensor)]
            self._kept[id(output)] = self._kept[id(first_output)]
            return
        for tensor in rule.node.output_tensors:
            self._kept[id(tensor)] = np.full(channel_count(tensor), rule.opaque)
        for tensor in rule.node.input_tensors:
            self._taken[id(rule.node), id(tensor)] = np.full(channel_count(tensor), rule.opaque)

    def _grow(self) -> bool:
        """Let each node, last first, ask for what it needs; whether any mask grew."""
        before = self._size()
        for rule in reversed(self.rules):
            taken = self.taken(rule)
            rule.propagate(taken, self.kept(rule.node.output_tensors[0]))
            for tensor, mask in zip(rule.node.input_tensors, taken, strict=True):
                self._meet(rule, mask, self.kept(tensor), self.values[id(tensor)])
        return self._size() > before

    def _meet(self, rule: Rule, taken: Mask, kept: Mask, values: Values) -> None:
        """Let a tensor carry what a node reads of it; the same channels, if none are picked."""
        kept |= taken & np.isnan(values)
        if rule.flexible:
            taken |= kept
        fewer, more = sorted([taken.sum(), kept.sum()])
        if fewer > self._max_share * more:
            taken |= kept
            kept |= taken

    def _fill(self) -> bool:
        """Give the first mask without a channel its first; whether there was one."""
        empty = [mask for mask in self._masks() if not mask.any()]
        for mask in empty[:1]:
            mask[0] = True
        return bool(empty)

    def _size(self) -> int:
        return sum(int(mask.sum()) for mask in self._masks())

    def _masks(self) -> list[Mask]:
        return [*self._kept.values(), *self._taken.values()]


class _SmallerNetwork:
    """The `network` that a plan amounts to."""

    def __init__(self, plan: _ChannelPlan) -> None:
        self._plan, network = plan, plan.network
        self._names = {rule.layer.name for rule in plan.rules}
        self._copies: dict[Layer, Layer] = {}
        self._arrays: dict[Layer, dict[str, Any]] = {}
        self._known: dict[int, Tensor] = {}
        self._selections: dict[tuple[int, bytes], Tensor] = {}
        for rule in plan.rules:
            outputs = keras.tree.flatten(self._run(rule))
            self._known.update(zip(map(id, rule.node.output_tensors), outputs, strict=True))
        for layer, copy in self._copies.items():
            if not self._arrays[layer]:
                copy_state(layer, copy)
            for name, value in self._arrays[layer].items():
                attrgetter(name)(copy).assign(value)
        inputs, outputs = (
            keras.tree.map_structure(lambda tensor: self._known[id(tensor)], tensors)
            for tensors in (network.input, network.output)
        )
        self.network = keras.Model(inputs, outputs, name=network.name)

    def _run(self, rule: Rule) -> Tensor:
        """Return what the new copy of one node's layer makes."""
        node, layer = rule.node, rule.layer
        masks, kept = self._plan.taken(rule), self._plan.kept(node.output_tensors[0])
        pairs = zip(node.input_tensors, masks, strict=True)
        inputs = {id(tensor): self._picked_channels(tensor, mask) for tensor, mask in pairs}
        if rule.is_identity(kept):
            return inputs[id(node.input_tensors[0])]
        if layer not in self._copies:
            whole = rule.is_whole(masks, kept)
            settings, self._arrays[layer] = ({}, {}) if whole else rule.cut(masks, kept)
            self._copies[layer] = (
                copy_layer(layer, layer.name) if whole else _with_settings(layer, settings)
            )
        if node.is_input:
            return self._copies[layer].output
        args, kwargs = node.arguments.fill_in(inputs)
        return self._copies[layer](*args, **kwargs)

    def _picked_channels(self, tensor: Tensor, taken: Mask) -> Tensor:
        """Return the channels of `tensor` that are `taken`, though it may carry others."""
        kept, new = self._plan.kept(tensor), self._known[id(tensor)]
        if np.array_equal(kept, taken):
            return new
        key = (id(tensor), taken.tobytes())
        if key not in self._selections:
            name = layer_that_made(tensor).name
            constants = np.where(kept, 0, self._plan.values[id(tensor)])[taken]
            picking = keras.layers.Dense(
                int(taken.sum()),
                use_bias=bool(constants.any()),
                kernel_initializer="zeros",
                trainable=False,
                dtype=tensor.dtype,
                name=self._free(f"{name}_picked"),
            )
            picked = picking(new)
            weights = [np.eye(len(kept))[kept][:, taken], constants]
            picking.set_weights(weights[: len(picking.weights)])
            self._selections[key] = picked
        return self._selections[key]

    def _free(self, name: str) -> str:
        """Return a name that no other layer has, which is taken from now on."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def _with_settings(layer: Layer, settings: dict[str, Any]) -> Layer:
    """A new layer of the same type and name, with other settings; its weights are still to come."""
    config = layer.get_config() | settings
    initial = [name for name in config if name.endswith("_initializer")]
    copy = type(layer).from_config(config | dict.fromkeys(initial, "zeros"))
    copy.name = layer.name
    return copy
