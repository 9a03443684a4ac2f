"""Cut a network at a layer, mask channels there, make the pruned copy.

Networks are never changed: pruning is a mask on the cut layer's activations (`Cut.answers`), or a
new network (`Cut.pruned`).
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput, NotApplicable
from sweep.evaluation.curve import Channels
from sweep.networks import clone, forward
from sweep.networks.graph import Graph, call
from sweep.networks.layer_types import LAYERS, activation_is_channelwise, is_norm, zero_channels
from sweep.networks.outputs import known_values
from sweep.pruning import incremental
from sweep.pruning.incremental import Front, front, tail_classifier
from sweep.pruning.producer import Producer

Array = NDArray[np.float32]


class Cut:
    """A network cut at the output of one layer.

    `layer` is a layer's name, or "auto": the last convolution through which every path from input
    to output passes. Ranking and mask act on the layer's output, or, where that is linear and
    followed by BatchNormalization and/or an activation, on the output of that chain: `site`.
    Masking behind the poolings that follow is the same and cheaper, so the network is cut there.
    The map of a pruned channel is 0; with `semantics="gamma"`, where a BatchNormalization is part
    of the channel, only its gamma is 0 and the map becomes what the constant beta makes of it.
    Raises BadInput where the network cannot be cut so, NotApplicable for gamma without one.
    """

    def __init__(self, network: keras.Model, layer: str = "auto", semantics: str = "zero") -> None:
        self._graph = graph = Graph(network)
        node = graph.default_node() if layer == "auto" else graph.node_of(layer)
        self._site = site = graph.fused_end(node)
        self.network = network
        self.semantics = semantics
        self.layer: str = node.operation.name
        self.site: str = site.operation.name
        self.channels: int = _channels(site, network)
        self._late = graph.equivalent_path(site)
        self.late = self._late[-1]
        self.parts = [self]
        self._front: Front | None = None  # made for the first images
        behind = [tensor for n in graph.downstream_nodes(self.late) for tensor in n.output_tensors]
        self.batch_size = forward.batch_size(graph.tensors)
        self.tail_batch_size = forward.batch_size([*graph.boundary_tensors(self.late), *behind])

        # The channels' way: the layer that produces them, what they pass, the site.
        way = graph.producer_path(site)
        self.producer = Producer(graph, way)
        norms = [step for step, node in enumerate(way) if is_norm(node.operation)]
        start = norms[-1] if norms else 0
        self._carrier = way[start].operation
        self._keeps_beta = semantics == "gamma"
        if self._keeps_beta and not norms:
            raise NotApplicable(
                f"prune.semantics=gamma needs a BatchNormalization of the channels of "
                f"{self.layer!r}, and there is none; take prune.semantics=zero"
            )
        carried = _onward(way[start:], self._emerging())
        self.pruned_value = carried if self._keeps_beta else np.zeros(self.channels, np.float32)
        self.late_value = _onward(self._late, self.pruned_value)
        self.by_weights = (
            self._zeroable()
            and graph.has_single_reader(way[start:])
            and np.array_equal(carried, self.pruned_value)
        )

    @property
    def weights(self) -> Array | None:
        """Kernel of the nearest layer that produces the channels, (..., channels), or None."""
        return self.producer.weights

    def maps(self, pixels: Array) -> list[Array]:
        """Activations at the site, (n, ..., channels), and the tensors beside it."""
        return [np.asarray(tensor) for tensor in self._to_site(pixels)]

    def boundary(self, pixels: Array) -> list[Array]:
        """What crosses the cut: the site's maps behind its poolings, and the tensors beside."""
        return [np.asarray(tensor) for tensor in self._to_cut(pixels)]

    def onward(self, maps: Array) -> Array:
        """The site's maps behind its poolings, from those at the site."""
        return np.asarray(self._from_site_to_cut(maps))

    def predict_steps(
        self, maps: Array, beside: Sequence[Array], channels: Channels
    ) -> NDArray[np.int32]:
        """Predicted classes after 0, 1, 2 ... of `channels` are pruned, (len(channels) + 1, n).

        `maps` and `beside` are what crosses the cut for a batch of n images.
        """
        if self._front is None:
            self._front = front(self._graph, self.late, self.late_value, maps, beside)
        return incremental.predict_steps(
            self._front, self._whole, maps, beside, channels, self.late_value
        )

    def scores(self, maps: Array, beside: Sequence[Array], channels: Channels) -> Array:
        """What the network gives, (n, classes), when `channels` are pruned; as for `answers`."""
        kept = ~np.isin(np.arange(self.channels), channels)
        return np.asarray(self._scores(kept, maps, *beside))

    def locate(self, channel: int) -> tuple[str, int]:
        """The layer of a channel, and its number there."""
        return self.layer, channel

    def index_of(self, part: int, channel: int) -> int:
        """The number of a channel of one part; see `JointCut`."""
        return int(channel)

    def pruned(self, channels: ArrayLike) -> keras.Model:
        """A new network in which `channels` are pruned; equal to masking them at the site.

        Weights are zeroed where that gives the pruned value (kernel and bias as the lab does, or
        gamma and beta); elsewhere a stock Rescaling layer masks the site.
        """
        channels = np.asarray(channels, dtype=np.int64)
        if self.by_weights:
            copy = clone(self.network)
            self.silence(copy, channels)
            return copy
        kept = np.ones(self.channels, dtype=np.float32)
        kept[channels] = 0
        offset = (1 - kept) * self.pruned_value
        name = f"{self.site}_mask"
        while any(layer.name == name for layer in self.network.layers):  # of an earlier pruning
            name += "_"
        mask = LAYERS.Rescaling(kept.tolist(), offset.tolist(), name=name)
        turns, turn = count(), self._graph.calls_of(self._site).index(self._site)

        def masked(layer: Any, *args: Any, **kwargs: Any) -> Any:
            output = layer(*args, **kwargs)
            here = layer.name == self.site and next(turns) == turn
            return mask(output) if here else output

        return clone(self.network, call_function=masked)

    def silence(self, copy: keras.Model, channels: NDArray[np.int64]) -> None:
        """Zero the weights of `channels` in `copy`, a clone of the network; if `by_weights`."""
        zero_channels(copy.get_layer(self._carrier.name), channels, keep_beta=self._keeps_beta)

    # Compiled when they are first asked for: a cell whose curve is kept needs none of them.

    @cached_property
    def _to_site(self) -> Callable[..., list[Any]]:
        return forward.feature_extractor(self.network, self._graph.boundary_tensors(self._site))

    @cached_property
    def _to_cut(self) -> Callable[..., list[Any]]:
        return forward.feature_extractor(self.network, self._graph.boundary_tensors(self.late))

    @cached_property
    def _from_site_to_cut(self) -> Callable[..., Any]:
        (site,), (late,) = self._site.output_tensors, self.late.output_tensors

        def onward(maps: Any) -> Any:
            known = {id(site): maps}
            self._graph.run(self._late[1:], known)
            return known[id(late)]

        return forward.compiled(onward, [forward.tensor_spec(site)])

    @cached_property
    def _scores(self) -> Callable[..., Any]:
        crossing = self._graph.boundary_tensors(self.late)
        value = tf.constant(self.late_value, crossing[0].dtype)

        def scores(kept: Any, maps: Any, *beside: Any) -> Any:
            known = known_values(crossing, (tf.where(kept, maps, value), *beside))
            self._graph.run(self._graph.downstream_nodes(self.late), known)
            return known[id(self.network.outputs[0])]

        kept = tf.TensorSpec(value.shape, tf.bool)
        return forward.compiled(scores, [kept, *map(forward.tensor_spec, crossing)])

    @cached_property
    def _whole(self) -> Callable[..., NDArray[np.int64]]:
        return tail_classifier(self._graph, self.late)

    def _zeroable(self) -> bool:
        """Whether zeroed weights of the carrier make its channels constant."""
        if is_norm(self._carrier):
            return self._carrier.scale
        return self._carrier is self.producer.layer and activation_is_channelwise(self._carrier)

    def _emerging(self) -> Array:
        """What leaves the carrier for channels whose weights are zero, (channels,)."""
        zero = np.zeros(self.channels, dtype=np.float32)
        if is_norm(self._carrier):
            beta = self._carrier.beta if self._keeps_beta else None
            return zero if beta is None else beta.numpy()
        activation = getattr(self._carrier, "activation", None)
        return zero if activation is None else np.asarray(activation(zero))


def _channels(site: Any, network: keras.Model) -> int:
    """Number of channels at `site`; BadInput where there is nothing to prune."""
    tensor, *more = site.output_tensors
    name = site.operation.name
    if more:
        raise BadInput(f"prune.layer is {name!r} of {1 + len(more)} outputs; expected a layer of 1")
    if isinstance(site.operation, LAYERS.InputLayer) or any(tensor is t for t in network.outputs):
        raise BadInput(
            f"prune.layer is {name!r}, the network's input or output; expected a layer between"
        )
    if tensor.ndim < 2 or (tensor.shape[-1] or 0) < 2:
        raise BadInput(
            f"prune.layer is {name!r} of shape {tensor.shape}; expected 2 channels or more"
        )
    if getattr(site.operation, "data_format", None) == "channels_first":
        raise BadInput(
            f"prune.layer is {name!r}, whose channels stand first; expected a network of "
            f"channels_last layers"
        )
    return tensor.shape[-1]


def _onward(way: list[Any], value: Array) -> Array:
    """What maps that are constant behind way[0] become at the end of `way`, (channels,)."""
    shape = [size or 224 for size in way[0].output_tensors[0].shape[1:]]
    maps = np.broadcast_to(value, (1, *shape))
    for node in way[1:]:
        maps = np.asarray(call(node.operation, maps))
        if not np.allclose(maps, maps.reshape(-1, value.size)[0]):
            raise BadInput(
                f"a constant channel is not constant any more behind {node.operation.name!r}; "
                f"set prune.semantics=zero, or prune.layer to a layer before it"
            )
    return maps.reshape(-1, value.size)[0]
