"""A Keras model's graph: which layer feeds which, and what that means for its channels.

A "node" is one call of a layer. Keras has no public way to a model's nodes; what of it is asked
for stands here alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from sweep import BadInput

LAYERS = keras.layers
CONVOLUTIONS = (
    LAYERS.Conv1D,
    LAYERS.Conv2D,
    LAYERS.Conv3D,
    LAYERS.Conv1DTranspose,
    LAYERS.Conv2DTranspose,
    LAYERS.Conv3DTranspose,
    LAYERS.DepthwiseConv1D,
    LAYERS.DepthwiseConv2D,
    LAYERS.SeparableConv1D,
    LAYERS.SeparableConv2D,
)
ACTIVATIONS = (LAYERS.Activation, LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.PReLU, LAYERS.ELU)
#: Activations that mix channels.
MIXING = tuple(map(keras.activations.get, ("softmax", "log_softmax", "sparsemax", "glu")))
#: Layers that keep channels apart, as far as `passes` has nothing against it.
PASSING = (
    *ACTIVATIONS,
    LAYERS.Dropout,
    LAYERS.SpatialDropout1D,
    LAYERS.SpatialDropout2D,
    LAYERS.SpatialDropout3D,
    LAYERS.MaxPooling1D,
    LAYERS.MaxPooling2D,
    LAYERS.MaxPooling3D,
    LAYERS.AveragePooling1D,
    LAYERS.AveragePooling2D,
    LAYERS.AveragePooling3D,
    LAYERS.GlobalMaxPooling1D,
    LAYERS.GlobalMaxPooling2D,
    LAYERS.GlobalMaxPooling3D,
    LAYERS.GlobalAveragePooling1D,
    LAYERS.GlobalAveragePooling2D,
    LAYERS.GlobalAveragePooling3D,
)


class Graph:
    """A functional model's calls of layers ("nodes") in forward order, and who feeds whom."""

    def __init__(self, network: keras.Model) -> None:
        by_depth = network._nodes_by_depth  # depth counts from the output
        self.network = network
        self.nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        self._maker = {id(t): node for node in self.nodes for t in node.output_tensors}

    def find(self, layer: str) -> Any:
        """The one node of the layer of that name."""
        found = [node for node in self.nodes if node.operation.name == layer]
        if not found:
            raise BadInput(
                f"prune.layer is {layer!r}, which the network does not have; {self._names()}"
            )
        if len(found) > 1:
            raise BadInput(
                f"prune.layer is {layer!r}, which the network uses {len(found)} times; "
                f"expected a layer that is used once"
            )
        return found[0]

    def default(self) -> Any:
        """The last convolution through which every path from input to output passes."""
        for node in reversed(self.nodes):
            if isinstance(node.operation, CONVOLUTIONS) and not self.beside(self.chain(node)):
                return node
        raise BadInput(
            f"the network has no convolution through which every path passes; set prune.layer; "
            f"{self._names()}"
        )

    def _names(self) -> str:
        """The layers that can be named, and those that are closed boxes."""
        names = [node.operation.name for node in self.nodes]
        nested = [n.operation.name for n in self.nodes if isinstance(n.operation, keras.Model)]
        shown = ", ".join(names[-40:])
        closed = f" (layers inside {', '.join(nested)} cannot be named)" if nested else ""
        return f"its {'last 40 ' if len(names) > 40 else ''}layers: {shown}{closed}"

    def chain(self, node: Any) -> Any:
        """The end of the chain a linear layer makes with BatchNormalization and/or activation."""
        follower = self._only_reader(node)
        first = isinstance(node.operation, LAYERS.InputLayer)
        if first or follower is None or not is_linear(node.operation):
            return node
        if is_norm(follower.operation) or isinstance(follower.operation, ACTIVATIONS):
            return self.chain(follower)
        return node

    def way(self, site: Any) -> list[Any]:
        """Nodes from the one that makes the channels through those that pass them on, to `site`."""
        way = [site]
        while passes(way[0].operation):
            way.insert(0, self._maker[id(way[0].input_tensors[0])])
        return way

    def pushed(self, site: Any) -> list[Any]:
        """Nodes from `site` on as long as masking behind them is the same as masking at `site`.

        Behind a pooling the maps are smaller and every step of the curve cheaper. A PReLU may treat
        positions apart, so that a constant map does not stay one.
        """
        reader = self._only_reader(site)
        if reader is None or not passes(reader.operation):
            return [site]
        if isinstance(reader.operation, LAYERS.PReLU):
            return [site]
        return [site, *self.pushed(reader)]

    def private(self, way: list[Any]) -> bool:
        """Whether the layer that starts `way` is used once, and no other reader leaves the way."""
        unread = all(self._only_reader(node) is next_ for node, next_ in pairwise(way))
        return unread and len(self.calls(way[0])) == 1

    def calls(self, node: Any) -> list[Any]:
        """All nodes of the layer that `node` calls."""
        return [other for other in self.nodes if other.operation is node.operation]

    def run(self, site: Any, tensors: list[Any], values: Sequence[Any]) -> Any:
        """The network's output, where `tensors` (that of `site` and those beside) have `values`.

        A keras.Model from `tensors` on would fail where a layer is used before `site` and after.
        """
        known = dict(zip(map(id, tensors), values, strict=True))
        for node in self._behind(site):
            args, kwargs = node.arguments.fill_in(known)
            if getattr(node.operation, "_call_has_training_arg", False):
                kwargs["training"] = False
            made = keras.tree.flatten(node.operation(*args, **kwargs))
            known.update(zip(map(id, node.output_tensors), made, strict=True))
        return known[id(self.network.outputs[0])]

    def beside(self, site: Any) -> list[Any]:
        """Tensors that reach the part behind `site` on other ways than through it."""
        nodes = self._behind(site)
        made = {id(tensor) for node in [site, *nodes] for tensor in node.output_tensors}
        read = {id(tensor): tensor for node in nodes for tensor in node.input_tensors}
        return [tensor for key, tensor in read.items() if key not in made]

    def _behind(self, site: Any) -> list[Any]:
        """The nodes that what `site` makes flows through, in forward order."""
        nodes, made = [], {id(tensor) for tensor in site.output_tensors}
        for node in self.nodes:
            if made & {id(tensor) for tensor in node.input_tensors}:
                nodes.append(node)
                made |= {id(tensor) for tensor in node.output_tensors}
        return nodes

    def _only_reader(self, node: Any) -> Any | None:
        """The one node that reads what `node` makes; None for several, and for the output."""
        made = {id(tensor) for tensor in node.output_tensors}
        readers = [n for n in self.nodes if made & {id(t) for t in n.input_tensors}]
        if len(readers) != 1 or made & {id(tensor) for tensor in self.network.outputs}:
            return None
        return readers[0]


def is_norm(layer: Any) -> bool:
    """Whether `layer` is a BatchNormalization of channels, which stand last."""
    norm = isinstance(layer, LAYERS.BatchNormalization)
    return norm and layer.axis in (-1, layer.input_spec.ndim - 1)


def passes(layer: Any) -> bool:
    """Whether `layer` keeps channels apart: what it makes of one depends on that one alone."""
    if getattr(layer, "activation", None) in MIXING:
        return False
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return is_norm(layer) or (isinstance(layer, PASSING) and channels_last)


def is_linear(layer: Any) -> bool:
    """Whether `layer` has no activation of its own and is none."""
    if isinstance(layer, ACTIVATIONS):
        return False
    return getattr(layer, "activation", None) in (None, keras.activations.linear)
