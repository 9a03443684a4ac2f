"""A Keras model's graph: which layer feeds which, and what that means for its channels.

A "node" is one call of a layer. Read the drawing in `Graph` first; Keras' own way to the nodes
stands in `keras_internals.py`.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import keras

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
    CONVOLUTIONS,
    LAYERS,
    is_activation,
    is_channelwise,
    is_linear,
    is_norm,
)


class Graph:
    """A functional model's calls of layers ("nodes") in forward order, and who feeds whom.

    Each method by the example of one graph, for site = relu:

        input -> stem -+-> conv -> bn -> relu -> pool -> conv_b -> add -> dense
                       +-----------------------------------------/

        fused_end(conv)         relu: a linear layer, its norm and its activation act as one
        producer_path(relu)     conv, bn, relu: from the layer that makes the channels
        equivalent_path(relu)   relu, pool: masking behind pool is the same as behind relu
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

        One whose channels are the class scores is passed over: pruning them removes classes.
        """
        for node in reversed(self.nodes):
            if type(node.operation) in CONVOLUTIONS:
                site = self.fused_end(node)
                if not self.bypass_tensors(site) and not self.makes_scores(site):
                    return node
        raise BadInput(
            f"the network has no convolution through which every path passes; set prune.layer; "
            f"{self._names()}"
        )

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

    def producer_path(self, site: Node) -> list[Node]:
        """Nodes from the one that makes the channels through those that pass them on, to `site`."""
        path = [site]
        while is_channelwise(path[0].operation):
            path.insert(0, self._maker[id(path[0].input_tensors[0])])
        return path

    def equivalent_path(self, site: Node) -> list[Node]:
        """Nodes from `site` on as long as masking behind them is the same as masking at `site`.

        Behind a pooling the maps are smaller and every step of the curve cheaper. A PReLU may treat
        positions apart, so that a constant map does not stay one.
        """
        reader = self._only_reader(site)
        if reader is None or not is_channelwise(reader.operation):
            return [site]
        if isinstance(reader.operation, LAYERS.PReLU):
            return [site]
        return [site, *self.equivalent_path(reader)]

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
                made = call(node.operation, *args, **{**kwargs, "training": training})
                made = keras.tree.flatten(made)
            known.update(zip(map(id, node.output_tensors), made, strict=True))

    def boundary_tensors(self, site: Node) -> list[Tensor]:
        """Return the tensors that cross a cut behind `site`: what it makes, and those beside."""
        return [site.output_tensors[0], *self.bypass_tensors(site)]

    def bypass_tensors(self, site: Node) -> list[Tensor]:
        """Return tensors that reach the part behind `site` on other ways than through it."""
        nodes = self.downstream_nodes(site)
        made = {id(tensor) for node in [site, *nodes] for tensor in node.output_tensors}
        read = {id(tensor): tensor for node in nodes for tensor in node.input_tensors}
        return [tensor for key, tensor in read.items() if key not in made]

    def live_tensors_after(self, place: int) -> list[Tensor]:
        """The tensors that the first nodes, up to that `place`, make and that are read later."""
        made = {id(t) for node in self.nodes[: place + 1] for t in node.output_tensors}
        later = [tensor for node in self.nodes[place + 1 :] for tensor in node.input_tensors]
        read = {id(tensor): tensor for tensor in later}
        return [tensor for key, tensor in read.items() if key in made]

    def downstream_nodes(self, site: Node) -> list[Node]:
        """Return the nodes that what `site` makes flows through, in forward order."""
        nodes, made = [], {id(tensor) for tensor in site.output_tensors}
        for node in self.nodes:
            if made & {id(tensor) for tensor in node.input_tensors}:
                nodes.append(node)
                made |= {id(tensor) for tensor in node.output_tensors}
        return nodes

    def last_two_operations(self) -> tuple[Layer, Layer]:
        """Return the operation that makes the network's output, and the one before it."""
        last = self._maker[id(self.network.outputs[0])]
        before = self._maker[id(last.input_tensors[0])]
        return last.operation, before.operation

    def makes_scores(self, site: Node) -> bool:
        """Return whether the channels at `site` become the scores: nothing with weights follows."""
        return not any(
            getattr(node.operation, "weights", ()) for node in self.downstream_nodes(site)
        )

    def _only_reader(self, node: Node) -> Node | None:
        """The one node that reads what `node` makes; None for several, and for the output."""
        made = {id(tensor) for tensor in node.output_tensors}
        readers = [n for n in self.nodes if made & {id(t) for t in n.input_tensors}]
        if len(readers) != 1 or made & {id(tensor) for tensor in self.network.outputs}:
            return None
        return readers[0]


def call(operation: Layer, *args: Any, training: bool = False, **kwargs: Any) -> Tensor:
    """Call a layer, or an operation in its place; in inference, but for `training`."""
    if takes_training(operation):
        kwargs["training"] = training
    return operation(*args, **kwargs)
