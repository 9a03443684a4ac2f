"""Cut a network at a layer, mask channels there, make the pruned copy.

Networks are never changed: pruning is a mask on the cut layer's activations (`Cut.answers`), or a
new network (`Cut.pruned`). What Keras keeps to itself of a model's graph is asked for in `_Graph`
alone.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput
from sweep.networks import batches, classifier, compiled
from sweep.orders import Channels

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
#: Layers whose kernel's last axis is the channels they produce.
PRODUCERS = (LAYERS.Conv1D, LAYERS.Conv2D, LAYERS.Conv3D, LAYERS.Dense)
ACTIVATIONS = (LAYERS.Activation, LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.PReLU, LAYERS.ELU)
#: Layers that keep channels apart and turn a constant map into a constant map.
PASSING = (
    *ACTIVATIONS,
    LAYERS.BatchNormalization,
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


class Cut:
    """A network cut at the output of one layer: a head up to it, a tail from there on.

    `layer` is a layer's name, or "auto": the last convolution through which every path from input
    to output passes. Ranking and mask act on the layer's output, or, where that is linear and
    followed by BatchNormalization and/or an activation, on the output of that chain: `site`.
    The map of a pruned channel is 0; with `semantics="gamma"`, where a BatchNormalization is part
    of the channel, only its gamma is 0 and the map becomes what the constant beta makes of it.
    Raises BadInput where the network cannot be cut so.
    """

    def __init__(self, network: keras.Model, layer: str = "auto", semantics: str = "zero") -> None:
        graph = _Graph(network)
        node = graph.default() if layer == "auto" else graph.find(layer)
        site = graph.chain(node)
        self.network = network
        self.layer: str = node.operation.name
        self.site: str = site.operation.name
        self.channels: int = _channels(site, network)
        late = graph.pushed(site)
        crossing = [late[-1].output_tensors[0], *graph.beside(late[-1])]
        self._early = _head(network, site.output_tensors)
        self._head = _head(network, crossing)
        tail = keras.Model(crossing, network.outputs[0])
        self._tail = classifier(lambda *parts: tail(list(parts), training=False))

        # The channels' way: the layer that produces them, what they pass, the site.
        way = graph.way(site)
        self._producer = way[0].operation if isinstance(way[0].operation, PRODUCERS) else None
        norms = [step for step, node in enumerate(way) if _is_norm(node.operation)]
        start = norms[-1] if norms else 0
        self._carrier = way[start].operation
        self._keeps_beta = semantics == "gamma" and bool(norms)
        carried = _onward(way[start:], self._emerging())
        self.pruned_value = carried if self._keeps_beta else np.zeros(self.channels, np.float32)
        self._masked_value = _onward(late, self.pruned_value)
        self._by_weights = (
            self._zeroable() and graph.private(way) and np.array_equal(carried, self.pruned_value)
        )

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """Kernel of the nearest layer that produces the channels, (..., channels), or None."""
        return None if self._producer is None else np.asarray(self._producer.kernel)

    def maps(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Activations at the site, (n, ..., channels)."""
        return np.concatenate([self._early(pixels[rows])[0] for rows in batches(len(pixels))])

    def answers(
        self,
        pixels: NDArray[np.float32],
        channels: Channels,
        progress: Callable[[int], object] = lambda images: None,
    ) -> NDArray[np.int64]:
        """Predicted classes after 0, 1, 2 ... of `channels` are pruned, (len(channels) + 1, n).

        The head runs once; a channel that is pruned already on a whole batch, being silent there,
        costs nothing. `progress` is told the number of images after each batch.
        """
        answers = np.empty((len(channels) + 1, len(pixels)), dtype=np.int64)
        for rows in batches(len(pixels)):
            maps, *beside = self._head(pixels[rows])
            answers[0, rows] = self._tail(maps, *beside)
            for step, channel in enumerate(channels, start=1):
                value = self._masked_value[channel]
                if np.all(maps[..., channel] == value):
                    answers[step, rows] = answers[step - 1, rows]
                else:
                    maps[..., channel] = value
                    answers[step, rows] = self._tail(maps, *beside)
            progress(rows.stop - rows.start)
        return answers

    def pruned(self, channels: ArrayLike) -> keras.Model:
        """A new network in which `channels` are pruned; equal to masking them at the site.

        Weights are zeroed where that gives the pruned value (kernel and bias as the lab does, or
        gamma and beta); elsewhere a stock Rescaling layer masks the site.
        """
        channels = np.asarray(channels, dtype=np.int64)
        if self._by_weights:
            copy = _clone(self.network)
            carrier = copy.get_layer(self._carrier.name)
            for weight in _carrying(carrier, keep_beta=self._keeps_beta):
                value = np.array(weight)
                value[..., channels] = 0
                weight.assign(value)
            return copy
        kept = np.ones(self.channels, dtype=np.float32)
        kept[channels] = 0
        offset = (1 - kept) * self.pruned_value
        mask = LAYERS.Rescaling(kept.tolist(), offset.tolist(), name=f"{self.site}_mask")

        def masked(layer: Any, *args: Any, **kwargs: Any) -> Any:
            output = layer(*args, **kwargs)
            return mask(output) if layer.name == self.site else output

        return _clone(self.network, call_function=masked)

    def _zeroable(self) -> bool:
        """Whether zeroed weights of the carrier make its channels constant."""
        if _is_norm(self._carrier):
            return self._carrier.scale
        return self._carrier is self._producer

    def _emerging(self) -> NDArray[np.float32]:
        """What leaves the carrier for channels whose weights are zero, (channels,)."""
        zero = np.zeros(self.channels, dtype=np.float32)
        if _is_norm(self._carrier):
            beta = self._carrier.beta if self._keeps_beta else None
            return zero if beta is None else np.asarray(beta)
        activation = getattr(self._carrier, "activation", None)
        return zero if activation is None else np.asarray(activation(zero))


class _Graph:
    """A functional model's calls of layers ("nodes") in forward order, and who feeds whom."""

    def __init__(self, network: keras.Model) -> None:
        # Keras has no public way to a model's nodes; _nodes_by_depth counts from the output.
        by_depth = network._nodes_by_depth
        self.network = network
        self.nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        self._maker = {id(t): node for node in self.nodes for t in node.output_tensors}

    def find(self, layer: str) -> Any:
        """The one node of the layer of that name."""
        found = [node for node in self.nodes if node.operation.name == layer]
        if not found:
            names = ", ".join(node.operation.name for node in self.nodes)
            raise BadInput(
                f"prune.layer is {layer!r}, which the network does not have; its layers: {names}"
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
        names = ", ".join(node.operation.name for node in self.nodes)
        raise BadInput(
            f"the network has no convolution through which every path passes; "
            f"set prune.layer to one of its layers: {names}"
        )

    def chain(self, node: Any) -> Any:
        """The end of the chain a linear layer makes with BatchNormalization and/or activation."""
        follower = self._only_reader(node)
        if follower is None or not _is_linear(node.operation):
            return node
        if _is_norm(follower.operation) or isinstance(follower.operation, ACTIVATIONS):
            return self.chain(follower)
        return node

    def way(self, site: Any) -> list[Any]:
        """Nodes from the one that makes the channels through those that pass them on, to `site`."""
        way = [site]
        while isinstance(way[0].operation, PASSING) and len(way[0].input_tensors) == 1:
            way.insert(0, self._maker[id(way[0].input_tensors[0])])
        return way

    def pushed(self, site: Any) -> list[Any]:
        """Nodes from `site` on as long as masking behind them is the same as masking at `site`.

        Behind a pooling the maps are smaller and every step of the curve cheaper.
        """
        reader = self._only_reader(site)
        if reader is None or not isinstance(reader.operation, PASSING):
            return [site]
        return [site, *self.pushed(reader)]

    def private(self, way: list[Any]) -> bool:
        """Whether what goes `way` is read by nobody else, and none of its layers is used twice."""
        unread = all(self._only_reader(node) is next_ for node, next_ in pairwise(way))
        uses = [sum(other.operation is node.operation for other in self.nodes) for node in way]
        return unread and set(uses) == {1}

    def beside(self, site: Any) -> list[Any]:
        """Tensors that reach the part behind `site` on other ways than through it."""
        behind, crossing = {id(site)}, {}
        for node in self.nodes[self.nodes.index(site) + 1 :]:
            makers = [self._maker[id(tensor)] for tensor in node.input_tensors]
            if any(id(maker) in behind for maker in makers):
                behind.add(id(node))
        for node in self.nodes:
            if id(node) in behind and node is not site:
                for tensor in node.input_tensors:
                    if id(self._maker[id(tensor)]) not in behind:
                        crossing[id(tensor)] = tensor
        return list(crossing.values())

    def _only_reader(self, node: Any) -> Any | None:
        """The one node that reads what `node` makes; None for several, and for the output."""
        made = {id(tensor) for tensor in node.output_tensors}
        readers = [n for n in self.nodes if made & {id(t) for t in n.input_tensors}]
        if len(readers) != 1 or made & {id(tensor) for tensor in self.network.outputs}:
            return None
        return readers[0]


def _channels(site: Any, network: keras.Model) -> int:
    """Number of channels at `site`; BadInput where there is nothing to prune."""
    (tensor,) = site.output_tensors
    name = site.operation.name
    if isinstance(site.operation, LAYERS.InputLayer) or any(tensor is t for t in network.outputs):
        raise BadInput(
            f"prune.layer is {name!r}, the network's input or output; expected a layer between"
        )
    if tensor.ndim < 2 or (tensor.shape[-1] or 0) < 2:
        raise BadInput(
            f"prune.layer is {name!r} of shape {tensor.shape}; expected 2 channels or more"
        )
    return tensor.shape[-1]


def _head(network: keras.Model, tensors: list[Any]) -> Callable[..., list[NDArray[np.float32]]]:
    """`network` up to some of its tensors, as a function of images."""
    head = keras.Model(network.inputs[0], tensors)
    return compiled(lambda images: head(images, training=False))


def _onward(way: list[Any], value: NDArray[np.float32]) -> NDArray[np.float32]:
    """What maps that are constant behind way[0] become at the end of `way`, (channels,)."""
    shape = [size or 32 for size in way[0].output_tensors[0].shape[1:]]
    maps = np.broadcast_to(value, (1, *shape))
    for node in way[1:]:
        maps = node.operation(maps, training=False)
    return np.asarray(maps).reshape(-1, value.size)[0]


def _carrying(carrier: Any, *, keep_beta: bool) -> list[Any]:
    """The weights that are zeroed to prune channels of `carrier`, channels on the last axis."""
    if _is_norm(carrier):
        weights = [carrier.gamma, None if keep_beta else carrier.beta]
    else:
        weights = [carrier.kernel, carrier.bias]
    return [weight for weight in weights if weight is not None]


def _clone(network: keras.Model, **how: Any) -> keras.Model:
    copy = keras.models.clone_model(network, **how)
    copy.set_weights(network.get_weights())
    return copy


def _is_norm(layer: Any) -> bool:
    return isinstance(layer, LAYERS.BatchNormalization)


def _is_linear(layer: Any) -> bool:
    if isinstance(layer, ACTIVATIONS):
        return False
    return getattr(layer, "activation", None) in (None, keras.activations.linear)
