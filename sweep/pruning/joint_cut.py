"""A network cut at several layers, whose channels are pruned together, in one curve.

Between two cuts lies a segment of the network. When a channel is pruned, all behind its cut runs
anew, but only for the images on which that channel is not as if it were pruned already.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import combinations, pairwise
from math import prod

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput
from sweep.evaluation.curve import Channels, steps_of
from sweep.networks import clone, digest, forward
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.layer_types import CONVOLUTIONS
from sweep.networks.outputs import known_values
from sweep.pruning.heads import HeadCut, attentions, with_heads
from sweep.pruning.incremental.scores import run_to_scores
from sweep.pruning.layer_cut import Cut

Array = NDArray[np.float32]
MAX_INPUT_BYTES = 2**27  # of all that the segments are given, for a batch


def cut_at(
    network: keras.Model,
    layers: str | Sequence[str] = "auto",
    semantics: str = "zero",
    unit: str = "channel",
) -> "Cut | JointCut":
    """Cut `network` at a layer, at several, or with "all" at every convolution.

    With `unit` "head" the layers are attention, and "all" is every MultiHeadAttention. With "all",
    layers that cannot be cut are passed over, and so are those that make the class scores. Raises
    BadInput, or NotApplicable, where the network cannot be cut so.
    """
    by_head = unit == "head"
    cut: Callable[..., Cut] = partial(HeadCut, view=with_heads(network)) if by_head else Cut
    if isinstance(layers, str) and layers != "all":
        return cut(network, layers, semantics)
    if layers == "all":
        names = attentions(network) if by_head else _convolutions(network)
        cuts = _all_that_can_be(names, lambda layer: cut(network, layer, semantics))
    else:
        cuts = [cut(network, layer, semantics) for layer in layers]
    if not cuts:
        raise BadInput(f"prune.layer is {layers!r}, which names no layer; expected one or more")
    return cuts[0] if len(cuts) == 1 else JointCut(network, cuts, semantics)


class JointCut:
    """`parts`, cuts of one network, or of one view of it, in the order in which images reach them.

    Channels are numbered through: those of the second part follow the last of the first. What
    crosses is what crosses at the first part, and with it all that is made before and read later.
    """

    def __init__(self, network: keras.Model, parts: Sequence[Cut], semantics: str) -> None:
        for one, other in combinations(parts, 2):
            if _share_channels(one, other):
                raise BadInput(
                    f"prune.layer names {one.layer!r} and {other.layer!r}, whose channels are the "
                    f"same; leave one of them out"
                )
        self._graph = graph = parts[0].graph
        self.parts = sorted(parts, key=lambda part: graph.nodes.index(part.point.mask_node))
        self.network = network
        self.semantics = semantics
        self.unit = parts[0].unit
        self.layer = " ".join(part.layer for part in self.parts)
        self.channels = sum(part.channels for part in self.parts)
        self._starts = np.cumsum([0, *(part.channels for part in self.parts)])
        self._segments = _segments(graph, self.parts)
        inputs = [tensor for segment in self._segments for tensor in segment.inputs]
        values = sum(prod(size or 224 for size in tensor.shape[1:]) for tensor in inputs)
        images = 2 ** max(0, (MAX_INPUT_BYTES // (4 * values)).bit_length() - 1)
        self.batch_size = self.tail_batch_size = min(forward.batch_size(graph.tensors), images)

    @property
    def tail(self) -> str:
        """How steps are taken: all behind a channel's layer runs anew; see `Cut.tail`."""
        return "segments"

    def locate(self, channel: int) -> tuple[str, int]:
        """The layer of a channel, and its number there."""
        part = int(np.searchsorted(self._starts, channel, side="right")) - 1
        return self.parts[part].layer, int(channel - self._starts[part])

    def index_of(self, part: int, channel: int) -> int:
        """The number, through all layers, of a channel of one part."""
        return int(self._starts[part] + channel)

    def split_by_layer(self, channels: ArrayLike) -> list[Channels]:
        """`channels` part by part, each by its number there, in their order."""
        channels = np.asarray(channels, dtype=np.int64)
        borders = zip(self._starts, self._starts[1:], strict=False)
        return [channels[(channels >= a) & (channels < b)] - a for a, b in borders]

    def boundary(self, pixels: Array) -> list[Array]:
        """What crosses the first cut: the maps at its mask node, and the tensors of the bypass."""
        return [np.asarray(tensor) for tensor in self._to_cut(pixels)]

    def predict_steps(
        self,
        maps: Array,
        bypass: Sequence[Array],
        channels: Channels,
        step: float = 1,
        progress: forward.Progress = forward.no_progress,
    ) -> NDArray[np.int32]:
        """Predicted classes as `channels` are pruned, (steps, n); steps as of `curve.steps_of`.

        `maps` and the tensors of the `bypass` are what crosses the first cut for a batch of n
        images. `progress` is called with the number of channels that are done.
        """
        kept = [np.ones(part.channels, dtype=bool) for part in self.parts]
        inputs = [[np.array(tensor) for tensor in (maps, *bypass)]]  # of each segment
        for segment, kept_there in zip(self._segments[:-1], kept, strict=False):
            inputs.append([np.array(tensor) for tensor in segment.run(kept_there, inputs[-1])])

        steps = steps_of(len(channels), step)
        predicted = np.empty((len(steps), len(maps)), dtype=np.int32)
        predicted[0] = self._segments[-1].classes(kept[-1], inputs[-1])
        for place, (before, pruned) in enumerate(pairwise(steps), start=1):
            predicted[place] = predicted[place - 1]
            rows, classes = self._prune(channels[before:pruned], kept, inputs)
            predicted[place, rows] = classes
            progress(pruned - before)
        return predicted

    def choose_tail(self, maps: Array, bypass: Sequence[Array]) -> None:
        """Nothing: there is one way to take steps; see `Cut.choose_tail`."""

    def scores(self, maps: Array, bypass: Sequence[Array], channels: Channels) -> Array:
        """The network's scores, (n, classes), when `channels` are pruned; as `predict_steps`."""
        tensors: Sequence[Array] = [maps, *bypass]
        for segment, pruned in zip(self._segments, self.split_by_layer(channels), strict=True):
            kept = ~np.isin(np.arange(segment.channels), pruned)
            tensors = segment.run(kept, tensors)
        return np.asarray(tensors[0])

    def pruned(self, channels: ArrayLike) -> keras.Model:
        """A new network in which `channels` are pruned; equal to masking them at their nodes."""
        network = self.network
        by_part = list(zip(self.parts, self.split_by_layer(channels), strict=True))
        for part, numbers in by_part:
            if len(numbers) and not part.by_weights:
                network = part.of_network(network).pruned(numbers)
        copy = clone(network)
        for part, numbers in by_part:
            if part.by_weights:
                part.silence(copy, numbers)
        return copy

    def _prune(
        self, channels: Channels, kept: Sequence[NDArray[np.bool_]], inputs: list[list[Array]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The images that change when `channels` are pruned as well, by number, and their classes.

        `channels` are `kept` no more. For these images all behind them runs anew, and what comes
        out on the way is written into the segments' `inputs`.
        """
        rows = np.zeros(0, np.int64)
        for place, numbers in enumerate(self.split_by_layer(channels)):
            maps = inputs[place][0]
            active = maps[..., numbers] != self.parts[place].mask_value[numbers]
            rows = np.union1d(rows, np.flatnonzero(active.reshape(len(maps), -1).any(axis=1)))
            kept[place][numbers] = False
            if len(rows) and place + 1 < len(self.parts):
                tensors = [tensor[rows] for tensor in inputs[place]]
                outputs = self._segments[place].run(kept[place], tensors)
                for of_all_images, tensor in zip(inputs[place + 1], outputs, strict=True):
                    of_all_images[rows] = np.asarray(tensor)
        if not len(rows):
            return rows, rows
        return rows, self._segments[-1].classes(kept[-1], [tensor[rows] for tensor in inputs[-1]])

    @cached_property
    def digest(self) -> str:
        """The digest of the network that is cut."""
        return digest(self.network)

    @cached_property
    def _to_cut(self) -> Callable[..., list[Tensor]]:
        return forward.feature_extractor(self._graph.network, self._segments[0].inputs)


class _Segment:
    """The nodes behind one cut up to the next, or up to the scores.

    `inputs` are the tensors it is given, first the maps that are masked; `outputs` those it hands
    on.
    """

    def __init__(
        self,
        graph: Graph,
        part: Cut,
        nodes: list[Node],
        inputs: list[Tensor],
        outputs: list[Tensor],
    ) -> None:
        self.inputs, self.channels = inputs, part.channels
        self._graph, self._nodes, self._outputs = graph, nodes, outputs
        self._value = tf.constant(part.mask_value, inputs[0].dtype)
        self._kept_spec = tf.TensorSpec((part.channels,), tf.bool)
        self._specs = list(map(forward.tensor_spec, inputs))

    def run(self, kept: NDArray[np.bool_], tensors: Sequence[Array]) -> list[Tensor]:
        """What the segment hands on when the channels that are not `kept` are pruned."""
        return self._run(kept, *tensors)

    def classes(self, kept: NDArray[np.bool_], tensors: Sequence[Array]) -> NDArray[np.int64]:
        """Of the last segment: classes, (n,)."""
        return self._classes(kept, *tensors)

    @cached_property
    def _run(self) -> Callable[..., list[Tensor]]:
        def run(kept: Tensor, *tensors: Tensor) -> list[Tensor]:
            known = self._masked(kept, tensors)
            self._graph.run(self._nodes, known)
            return [known[id(tensor)] for tensor in self._outputs]

        return forward.compiled(run, [self._kept_spec, *self._specs])

    @cached_property
    def _classes(self) -> Callable[..., NDArray[np.int64]]:
        def scores(kept: Tensor, *tensors: Tensor) -> Tensor:
            return run_to_scores(self._graph, self._nodes, self._masked(kept, tensors))

        return forward.Classifier(scores, self._specs, [self._kept_spec])

    def _masked(self, kept: Tensor, tensors: Sequence[Tensor]) -> dict[int, Tensor]:
        maps, *bypass = tensors
        return known_values(self.inputs, (tf.where(kept, maps, self._value), *bypass))


def _segments(graph: Graph, parts: Sequence[Cut]) -> list[_Segment]:
    """The segments between the cuts `parts`, which stand in forward order."""
    places = [graph.nodes.index(part.point.mask_node) for part in parts]
    inputs = []
    for place, part in zip(places, parts, strict=True):
        maps = part.point.mask_node.output_tensors[0]
        bypass = [tensor for tensor in graph.live_tensors_after(place) if tensor is not maps]
        inputs.append([maps, *bypass])
    outputs = [*inputs[1:], [graph.network.outputs[0]]]
    ends = [place + 1 for place in places[1:]] + [len(graph.nodes)]
    segments = []
    for number, part in enumerate(parts):
        nodes = graph.nodes[places[number] + 1 : ends[number]]
        segments.append(_Segment(graph, part, nodes, inputs[number], outputs[number]))
    return segments


def _convolutions(network: keras.Model) -> list[str]:
    """The names of the convolutions, but for those that make the class scores."""
    graph = Graph(network)
    names = [
        node.operation.name
        for node in graph.nodes
        if type(node.operation) in CONVOLUTIONS and not graph.makes_scores(graph.fused_end(node))
    ]
    if not names:
        raise BadInput("prune.layer is 'all', and the network has no convolution to prune")
    return names


def _all_that_can_be(names: Sequence[str], cut: Callable[[str], Cut]) -> list[Cut]:
    """The cuts at those layers where there can be one; why not, where there is none."""
    cuts, error = [], None
    for name in names:
        try:
            cuts.append(cut(name))
        except BadInput as reason:
            error = reason
    if error and not cuts:
        raise error
    return cuts


def _share_channels(one: Cut, other: Cut) -> bool:
    """Whether two cuts are of the same channels."""
    producer = one.producer.layer
    return one.point.mask_node is other.point.mask_node or (
        producer is not None and producer is other.producer.layer
    )
