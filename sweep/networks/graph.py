"""A Keras model's graph: which layer feeds which, and what that means for its channels.

A "node" is one call of a layer. Read the drawing in `Graph` first; Keras' own way to the nodes
stands in `keras_internals.py`.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from sweep import BadInput
from sweep.networks import layer_types
from sweep.networks.keras_internals import (
    Layer,
    Node,
    Tensor,
    nodes_in_forward_order,
    takes_training,
)
from sweep.networks.layer_types import (
    ATTENTION,
    CONVOLUTIONS,
    LAYERS,
    is_activation,
    is_channelwise,
    is_linear,
    is_merge,
    is_norm,
    is_sum,
)

MIN_EPSILON = 1.001e-5  # of TensorFlow's operation; a smaller one it would raise


class Graph:
    """A functional model's calls of layers ("nodes") in forward order, and who feeds whom.

    Each method by the example of one graph, for node = relu:

        input -> stem -+-> conv -> bn -> relu -> pool -> conv_b -> add -> dense
                       +-----------------------------------------/

        fused_end(conv)         relu: a linear layer, its norm and its activation act as one
        producer_path(relu)     conv, bn, relu: from the layer that makes the channels
        equivalent_path(relu)   relu, pool: masking behind pool is the same as behind relu
        channelwise_path(conv_b)  conv_b, add: each channel alone, but add reads another tensor too
        has_single_reader       of conv, bn, relu: whether nothing else reads conv or bn
        downstream_nodes(relu)  pool, conv_b, add, dense: what depends on relu
        bypass_tensors(relu)    what stem makes: add reads it, and not through relu
        boundary_tensors(relu)  what relu makes, then the bypass tensors
        live_tensors_after(i)   what nodes[: i + 1] make and later nodes still read
        calls_of(conv)          all nodes of conv's layer: several where it is shared
        node_of("conv")         conv, by the name of its layer
        default_node()          stem: conv does not carry every path, nor does conv_b
    """

    def __init__(self, network: keras.Model) -> None:
        self.network = network
        self.nodes = nodes_in_forward_order(network)
        self.tensors = [tensor for node in self.nodes for tensor in node.output_tensors]
        self._maker = {id(t): node for node in self.nodes for t in node.output_tensors}

    def node_of(self, layer: str) -> Node:
        """Return the one node of the layer of that name."""
        nodes = [node for node in self.nodes if node.operation.name == layer]
        if not nodes:
            raise BadInput(
                f"prune.layer is {layer!r}, which the network does not have; {self._names()}"
            )
        if len(nodes) > 1:
            raise BadInput(
                f"prune.layer is {layer!r}, which the network uses {len(nodes)} times; "
                f"expected a layer that is used once"
            )
        return nodes[0]

    def default_node(self) -> Node:
        """Return the last convolution through which every path from input to output passes.

        One whose channels are the class scores is passed over: pruning them removes classes. In a
        network with attention, or without such a convolution, it is the last MLP's hidden layer.
        """
        found = [self._last_convolution(), self._last_hidden_layer()]
        if any(type(node.operation) in ATTENTION for node in self.nodes):
            found.reverse()
        for node in found:
            if node is not None:
                return node
        raise BadInput(
            f"the network has no convolution through which every path passes; set prune.layer; "
            f"{self._names()}"
        )

    def _last_convolution(self) -> Node | None:
        """The last convolution on every path, but for one that makes the class scores."""
        for node in reversed(self.nodes):
            if type(node.operation) in CONVOLUTIONS:
                end = self.fused_end(node)
                if not self.bypass_tensors(end) and not self.makes_scores(end):
                    return node
        return None

    def _last_hidden_layer(self) -> Node | None:
        """The first of the last two Dense on a branch of the last sum that has such a branch."""
        sums = [node for node in reversed(self.nodes) if is_sum(node.operation)]
        for tensor in (tensor for node in sums for tensor in node.input_tensors):
            branch = self._branch_to(tensor)
            dense = [node for node in branch if type(node.operation) is LAYERS.Dense]
            if len(dense) > 1:
                return dense[-2]
        return None

    def _branch_to(self, tensor: Tensor) -> list[Node]:
        """The nodes of one input and one reader each that lead to `tensor`, the last one last."""
        node = self._maker[id(tensor)]
        if len(node.input_tensors) != 1 or self._only_reader(node) is None:
            return []
        return [*self._branch_to(node.input_tensors[0]), node]

    def _names(self) -> str:
        """Return a sentence's part that lists the layers that can be named."""
        names = [node.operation.name for node in self.nodes]
        return f"its {'last 40 ' if len(names) > 40 else ''}layers: {', '.join(names[-40:])}"

    def fused_end(self, node: Node) -> Node:
        """The end of the chain a linear layer makes with BatchNormalization and/or activation."""
        follower = self._only_reader(node)
        first = isinstance(node.operation, LAYERS.InputLayer)
        if first or follower is None or not is_linear(node.operation):
            return node
        if is_norm(follower.operation) or is_activation(follower.operation):
            return self.fused_end(follower)
        return node

    def producer_path(self, node: Node) -> list[Node]:
        """Nodes from the one that makes the channels through those that pass them on, to `node`."""
        path = [node]
        while is_channelwise(path[0].operation):
            path.insert(0, self._maker[id(path[0].input_tensors[0])])
        return path

    def equivalent_path(self, node: Node) -> list[Node]:
        """Nodes from `node` on as long as masking behind them is the same as masking at `node`.

        Behind a pooling the maps are smaller and every step of the curve cheaper. A PReLU may treat
        positions apart, so that a constant map does not stay one.
        """
        reader = self._only_reader(node)
        if reader is None or not is_channelwise(reader.operation):
            return [node]
        if isinstance(reader.operation, LAYERS.PReLU):
            return [node]
        return [node, *self.equivalent_path(reader)]

    def channelwise_path(self, node: Node) -> list[Node]:
        """Nodes from `node` on that treat each channel alone, though some read other tensors too.

        What a pruned channel holds behind them may differ from image to image. The other tensors
        do not depend on `node`: nothing but the path reads it.
        """
        reader = self._only_reader(node)
        if reader is None or not _keeps_channels_apart(reader, node.output_tensors[0]):
            return [node]
        return [node, *self.channelwise_path(reader)]

    def has_single_reader(self, path: list[Node]) -> bool:
        """Whether the layer that starts `path` is used once, and nothing else reads the path."""
        unread = all(self._only_reader(node) is next_ for node, next_ in pairwise(path))
        return unread and len(self.calls_of(path[0])) == 1

    def calls_of(self, node: Node) -> list[Node]:
        """Return all nodes of the layer that `node` calls."""
        return [other for other in self.nodes if other.operation is node.operation]

    def run(
        self,
        nodes: Iterable[Node],
        known: dict[int, Tensor],
        *,
        without_activation: bool = False,
        training: bool = False,
    ) -> None:
        """Call the layers of `nodes`; `known` holds values by id of their tensor.

        What they make is added to it; with `without_activation` that is without the activation that
        a layer ends in. In inference, but for `training`. A keras.Model in place of this would fail
        where a layer is used before a cut and after.
        """
        for node in nodes:
            args, kwargs = node.arguments.fill_in(known)
            with (
                layer_types.without_activation(node.operation)
                if without_activation
                else nullcontext()
            ):
                outputs = call(node.operation, *args, **{**kwargs, "training": training})
            values = keras.tree.flatten(outputs)
            known.update(zip(map(id, node.output_tensors), values, strict=True))

    def boundary_tensors(self, node: Node) -> list[Tensor]:
        """Return the tensors that cross a cut behind `node`: what it makes, and those beside."""
        return [node.output_tensors[0], *self.bypass_tensors(node)]

    def bypass_tensors(self, node: Node) -> list[Tensor]:
        """Return tensors that reach the part behind `node` on other ways than through it."""
        later = self.downstream_nodes(node)
        reached = {id(tensor) for n in [node, *later] for tensor in n.output_tensors}
        read = {id(tensor): tensor for n in later for tensor in n.input_tensors}
        return [tensor for key, tensor in read.items() if key not in reached]

    def live_tensors_after(self, place: int) -> list[Tensor]:
        """The tensors that the first nodes, up to that `place`, make and that are read later."""
        first = {id(tensor) for node in self.nodes[: place + 1] for tensor in node.output_tensors}
        later = [tensor for node in self.nodes[place + 1 :] for tensor in node.input_tensors]
        read = {id(tensor): tensor for tensor in later}
        return [tensor for key, tensor in read.items() if key in first]

    def downstream_nodes(self, node: Node) -> list[Node]:
        """Return the nodes that what `node` makes flows through, in forward order."""
        later, reached = [], {id(tensor) for tensor in node.output_tensors}
        for other in self.nodes:
            if reached & {id(tensor) for tensor in other.input_tensors}:
                later.append(other)
                reached |= {id(tensor) for tensor in other.output_tensors}
        return later

    def last_two_operations(self) -> tuple[Layer, Layer]:
        """Return the operation that makes the network's output, and the one before it."""
        last = self._maker[id(self.network.outputs[0])]
        before = self._maker[id(last.input_tensors[0])]
        return last.operation, before.operation

    def makes_scores(self, node: Node) -> bool:
        """Return whether the channels at `node` become the scores: nothing with weights follows."""
        return not any(
            getattr(later.operation, "weights", ()) for later in self.downstream_nodes(node)
        )

    def _only_reader(self, node: Node) -> Node | None:
        """The one node that reads what `node` makes; None for several, and for the output."""
        outputs = {id(tensor) for tensor in node.output_tensors}
        readers = [n for n in self.nodes if outputs & {id(t) for t in n.input_tensors}]
        if len(readers) != 1 or outputs & {id(tensor) for tensor in self.network.outputs}:
            return None
        return readers[0]


def _keeps_channels_apart(reader: Node, maps: Tensor) -> bool:
    """Whether each channel that `reader` gives depends on that channel of `maps` alone of these."""
    if is_channelwise(reader.operation):
        return True
    (made,) = reader.output_tensors[:1]
    return (
        is_merge(reader.operation) and made.ndim == maps.ndim and made.shape[-1] == maps.shape[-1]
    )


def call(operation: Layer, *args: Any, training: bool = False, **kwargs: Any) -> Tensor:
    """Return what a layer, or operation in its place, gives; in inference, but for `training`."""
    if training and is_norm(operation) and kwargs.get("mask") is None and _fuses(operation, *args):
        return _fused_norm(operation, *args)
    if takes_training(operation):
        kwargs["training"] = training
    return operation(*args, **kwargs)


def _fuses(norm: Layer, maps: Tensor) -> bool:
    """Whether a BatchNormalization learns of `maps` as TensorFlow's own operation does."""
    is_plain = not (norm.synchronized or getattr(norm, "renorm", False))
    is_float = maps.dtype == norm.compute_dtype == "float32"
    learns = norm.trainable and norm.epsilon >= MIN_EPSILON
    return is_plain and is_float and learns and len(maps.shape) == 4


def _fused_norm(norm: Layer, maps: Tensor) -> Tensor:
    """What a BatchNormalization that learns makes of `maps`, as Keras but for rounding.

    Keras writes it out, a dozen passes over the maps forward and backward; this is one each.
    """
    channels = maps.shape[-1]
    scale = tf.ones(channels) if norm.gamma is None else norm.gamma.value
    offset = tf.zeros(channels) if norm.beta is None else norm.beta.value
    normal, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        maps, scale, offset, epsilon=norm.epsilon, is_training=True
    )
    count = tf.cast(tf.size(maps) // channels, tf.float32)
    biased = variance * (count - 1) / count  # Keras keeps this one
    for moving, now in ((norm.moving_mean, mean), (norm.moving_variance, biased)):
        moving.assign(moving * norm.momentum + now * (1 - norm.momentum))
    return normal
