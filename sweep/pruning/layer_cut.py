"""A network cut at a layer: its channels can be masked there, or pruned in a copy.

Networks are never changed: pruning is a mask on the cut layer's activations (`Cut.predict_steps`),
or a new network (`Cut.pruned`). Which nodes of the network a cut is about: `prune_point.py`.
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
from sweep.networks import clone, digest, forward
from sweep.networks.graph import Graph, call
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import LAYERS, activation_is_channelwise, is_norm, zero_channels
from sweep.networks.outputs import known_values
from sweep.pruning import incremental
from sweep.pruning.incremental import Tail, tail_classifier, tail_of
from sweep.pruning.producer import Producer
from sweep.pruning.prune_point import PrunePoint

Array = NDArray[np.float32]


class Cut:
    """A network cut at the output of one layer.

    `layer` is a layer's name, or "auto": the last convolution through which every path from input
    to output passes, or of a transformer the hidden layer of the last MLP. Channels are ranked and
    silenced at the prune node, and the network is cut behind the mask node, see `PrunePoint`, which
    also shows an example with shapes.
    The map of a pruned channel is 0; with `semantics="gamma"`, where a BatchNormalization is part
    of the channel, only its gamma is 0 and the map becomes what the constant beta makes of it:
    `pruned_value` at the prune node, `mask_value` at the mask node, both (channels,).
    `view` is a network of the same outputs, which is cut in its place where it has a node that the
    network has not, see `HeadCut`; `network` is what is pruned.
    Raises BadInput where the network cannot be cut so, NotApplicable for gamma without one.
    """

    #: What a channel is: one of the layer's, or a head of attention, see `HeadCut`.
    unit = "channel"

    def __init__(
        self,
        network: keras.Model,
        layer: str = "auto",
        semantics: str = "zero",
        view: keras.Model | None = None,
    ) -> None:
        self.graph = graph = Graph(network if view is None else view)
        self.network = network
        self.semantics = semantics
        self.point = point = PrunePoint.of(graph, layer)
        self.producer = Producer(graph, point.producer_path)
        if semantics == "gamma" and not point.has_norm:
            raise NotApplicable(
                f"prune.semantics=gamma needs a BatchNormalization of the channels of "
                f"{self.layer!r}, and there is none (a LayerNormalization mixes channels, so there "
                f"is no gamma of a channel); take prune.semantics=zero"
            )
        tail = [t for node in graph.downstream_nodes(point.mask_node) for t in node.output_tensors]
        self.batch_size = forward.batch_size(graph.tensors)
        self.tail_batch_size = forward.batch_size([*self._boundary, *tail])

        silenced_value = _value_at_end(point.silenced_path, self._silenced_output())
        zero = np.zeros(self.channels, np.float32)
        self.pruned_value = silenced_value if semantics == "gamma" else zero
        self.mask_value = _value_at_end(point.mask_path, self.pruned_value)
        self.by_weights = (
            self._weights_silence()
            and graph.has_single_reader(point.silenced_path)
            and np.array_equal(silenced_value, self.pruned_value)
        )
        self._tail: Tail | None = None  # made for the first images

    @property
    def parts(self) -> list["Cut"]:
        """The cuts that this one consists of: itself; see `JointCut`."""
        return [self]

    @property
    def layer(self) -> str:
        """The name of the layer that was asked for, or that "auto" found."""
        return self.point.layer

    @property
    def prune_layer(self) -> str:
        """The name of the layer at the prune node, on whose output channels are silenced."""
        name: str = self.point.prune_node.operation.name
        return name

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.point.channels

    @property
    def tail(self) -> str:
        """How steps are taken, by the kind of tail: "linear", "masked" ...; "" before the first."""
        return type(self._tail).__name__.removesuffix("Tail").lower() if self._tail else ""

    @property
    def weights(self) -> Array | None:
        """Kernel of the nearest layer that produces the channels, (..., channels), or None."""
        return self.producer.weights

    def maps(self, pixels: Array) -> list[Array]:
        """Activations at the prune node, (n, ..., channels), and the tensors that bypass it."""
        return [np.asarray(tensor) for tensor in self._to_prune_node(pixels)]

    def boundary(self, pixels: Array) -> list[Array]:
        """Activations at the mask node, (n, ..., channels), and the tensors that bypass it."""
        maps, *bypass = self._to_prune_node(pixels)  # one part for all that is asked of it
        return [self.maps_at_mask(maps), *map(np.asarray, bypass)]

    def maps_at_mask(self, maps: Tensor) -> Array:
        """The maps at the mask node, (n, ..., channels), from those at the prune node."""
        return np.asarray(self._from_prune_to_mask_node(maps))

    def predict_steps(
        self,
        maps: Array,
        bypass: Sequence[Array],
        channels: Channels,
        step: float = 1,
        progress: forward.Progress = forward.no_progress,
    ) -> NDArray[np.int32]:
        """Predicted classes as `channels` are pruned, (steps, n); steps as of `curve.steps_of`.

        `maps` at the mask node and the tensors of the `bypass` are of a batch of n images.
        `progress` is called with the number of channels that are done.
        """
        return incremental.predict_steps(
            self.choose_tail(maps, bypass),
            self._unpruned_classes,
            maps,
            bypass,
            channels,
            self.mask_value,
            step,
            progress,
        )

    def choose_tail(self, maps: Array, bypass: Sequence[Array]) -> Tail:
        """How steps are taken, which is chosen on the first images that come."""
        if self._tail is None:
            node, value = self.point.mask_node, self.mask_value
            self._tail = tail_of(self.graph, node, value, maps, bypass)
        return self._tail

    def scores(self, maps: Array, bypass: Sequence[Array], channels: Channels) -> Array:
        """The network's scores, (n, classes), when `channels` are pruned; as `predict_steps`."""
        kept = ~np.isin(np.arange(self.channels), channels)
        return np.asarray(self._masked_scores(kept, maps, *bypass))

    def of_network(self, network: keras.Model) -> "Cut":
        """The same cut of another network, that has the layer too."""
        return type(self)(network, self.layer, self.semantics)

    def locate(self, channel: int) -> tuple[str, int]:
        """The layer of a channel, and its number there."""
        return self.layer, channel

    def index_of(self, part: int, channel: int) -> int:
        """The number of a channel of one part; see `JointCut`."""
        return int(channel)

    def split_by_layer(self, channels: ArrayLike) -> list[Channels]:
        """`channels`: there is one layer; see `JointCut`."""
        return [np.asarray(channels, dtype=np.int64)]

    def pruned(self, channels: ArrayLike) -> keras.Model:
        """A new network in which `channels` are pruned; equal to masking them at the prune node.

        Weights are zeroed where that gives the pruned value (kernel and bias as the lab does, or
        gamma and beta); elsewhere a stock Rescaling layer masks the maps.
        """
        channels = np.asarray(channels, dtype=np.int64)
        if not self.by_weights:
            return self._with_mask(channels)
        copy = clone(self.network)
        self.silence(copy, channels)
        return copy

    def silence(self, copy: keras.Model, channels: NDArray[np.int64]) -> None:
        """Zero the weights of `channels` in `copy`, a clone of the network; if `by_weights`."""
        layer = copy.get_layer(self._silenced_layer.name)
        zero_channels(layer, channels, keep_beta=self.semantics == "gamma")

    def _with_mask(self, channels: NDArray[np.int64]) -> keras.Model:
        """A copy of the network with a Rescaling layer behind the prune node that masks maps."""
        kept = np.ones(self.channels, dtype=np.float32)
        kept[channels] = 0
        offset = (1 - kept) * self.pruned_value
        name = f"{self.prune_layer}_mask"
        while any(layer.name == name for layer in self.network.layers):  # of an earlier pruning
            name += "_"
        mask = LAYERS.Rescaling(kept.tolist(), offset.tolist(), name=name)
        node = self.point.prune_node
        masked_call, calls = self.graph.calls_of(node).index(node), count()

        def call_layer(layer: Layer, *args: Any, **kwargs: Any) -> Tensor:
            output = layer(*args, **kwargs)
            if layer.name == self.prune_layer and next(calls) == masked_call:
                return mask(output)
            return output

        return clone(self.network, call_function=call_layer)

    @property
    def _silenced_layer(self) -> Layer:
        """The layer whose weights are zeroed to silence channels."""
        return self.point.silenced_path[0].operation

    def _silenced_output(self) -> Array:
        """The output of the silenced layer for channels whose weights are zero, (channels,)."""
        layer, zero = self._silenced_layer, np.zeros(self.channels, dtype=np.float32)
        if is_norm(layer):
            keeps_beta = self.semantics == "gamma" and layer.beta is not None
            return layer.beta.numpy() if keeps_beta else zero
        activation = getattr(layer, "activation", None)
        return zero if activation is None else np.asarray(activation(zero))

    def _weights_silence(self) -> bool:
        """Whether zeroed weights of the silenced layer make its channels constant."""
        layer = self._silenced_layer
        if is_norm(layer):
            return bool(layer.scale)
        return layer is self.producer.layer and activation_is_channelwise(layer)

    # Compiled when they are first asked for: a cell whose curve is kept needs none of them.

    @property
    def _boundary(self) -> list[Tensor]:
        """The tensors that cross the cut: the maps at the mask node, then those that bypass it."""
        return self.graph.boundary_tensors(self.point.mask_node)

    @cached_property
    def digest(self) -> str:
        """The digest of the network that is cut."""
        return digest(self.network)

    @cached_property
    def _to_prune_node(self) -> Callable[..., list[Tensor]]:
        tensors = self.graph.boundary_tensors(self.point.prune_node)
        return forward.feature_extractor(self.graph.network, tensors)

    @cached_property
    def _from_prune_to_mask_node(self) -> Callable[..., Tensor]:
        (start,) = self.point.prune_node.output_tensors
        (end,) = self.point.mask_node.output_tensors

        def run(maps: Tensor) -> Tensor:
            known = {id(start): maps}
            self.graph.run(self.point.mask_path[1:], known)
            return known[id(end)]

        return forward.compiled(run, [forward.tensor_spec(start)])

    @cached_property
    def _masked_scores(self) -> Callable[..., Tensor]:
        value = tf.constant(self.mask_value, self._boundary[0].dtype)
        nodes = self.graph.downstream_nodes(self.point.mask_node)

        def scores(kept: Tensor, maps: Tensor, *bypass: Tensor) -> Tensor:
            known = known_values(self._boundary, (tf.where(kept, maps, value), *bypass))
            self.graph.run(nodes, known)
            return known[id(self.graph.network.outputs[0])]

        kept_spec = tf.TensorSpec(value.shape, tf.bool)
        return forward.compiled(scores, [kept_spec, *map(forward.tensor_spec, self._boundary)])

    @cached_property
    def _unpruned_classes(self) -> Callable[..., NDArray[np.int64]]:
        return tail_classifier(self.graph, self.point.mask_node)


def _value_at_end(path: Sequence[Node], value: Array) -> Array:
    """What maps that hold `value` everywhere behind path[0] hold behind path[-1], (channels,)."""
    shape = [size or 224 for size in path[0].output_tensors[0].shape[1:]]
    maps = np.broadcast_to(value, (1, *shape))
    for node in path[1:]:
        maps = np.asarray(call(node.operation, maps))
        if not np.allclose(maps, maps.reshape(-1, value.size)[0]):
            raise BadInput(
                f"a constant channel is not constant any more behind {node.operation.name!r}; "
                f"set prune.semantics=zero, or prune.layer to a layer before it"
            )
    return maps.reshape(-1, value.size)[0]
