"""A network cut at several layers, whose channels are pruned together, in one curve.

Between two cuts lies a segment of the network. When a channel is pruned, all behind its cut runs
anew, but only for the images on which that channel is not as if it were pruned already.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput
from sweep.evaluation.curve import Channels
from sweep.networks import clone, forward
from sweep.networks.graph import Graph
from sweep.networks.layer_types import CONVOLUTIONS
from sweep.networks.outputs import known_values, run_to_scores
from sweep.pruning.layer_cut import Cut

Array = NDArray[np.float32]
MEMORY = 2**27  # bytes that all that is kept between the segments may take


def cut_at(
    network: keras.Model, layers: str | Sequence[str] = "auto", semantics: str = "zero"
) -> "Cut | JointCut":
    """Cut `network` at a layer, at several, or with "all" at every convolution.

    With "all", convolutions that cannot be cut are passed over, and so are those that make the
    class scores. Raises BadInput, or NotApplicable, where the network cannot be cut so.
    """
    if layers == "all":
        cuts = _all(network, semantics)
    elif isinstance(layers, str):
        return Cut(network, layers, semantics)
    else:
        cuts = [Cut(network, layer, semantics) for layer in layers]
    if not cuts:
        raise BadInput(f"prune.layer is {layers!r}, which names no layer; expected one or more")
    return cuts[0] if len(cuts) == 1 else JointCut(network, cuts, semantics)


class JointCut:
    """`parts`, cuts of one network, in the order in which images reach them.

    Channels are numbered through: those of the second part follow the last of the first. What
    crosses is what crosses at the first part, and beside it all that is made before and read later.
    """

    def __init__(self, network: keras.Model, parts: Sequence[Cut], semantics: str) -> None:
        for one, other in combinations(parts, 2):
            if _shared(one, other):
                raise BadInput(
                    f"prune.layer names {one.layer!r} and {other.layer!r}, whose channels are the "
                    f"same; leave one of them out"
                )
        graph = Graph(network)
        self.parts = sorted(parts, key=lambda part: graph.nodes.index(part.point.mask_node))
        self.network = network
        self.semantics = semantics
        self.layer = " ".join(part.layer for part in self.parts)
        self.channels = sum(part.channels for part in self.parts)
        self._starts = np.cumsum([0, *(part.channels for part in self.parts)])
        self._segments = _segments(graph, self.parts)
        kept = sum(
            prod(size or 224 for size in t.shape[1:]) for s in self._segments for t in s.reads
        )
        fit = 2 ** max(0, (MEMORY // (4 * kept)).bit_length() - 1)
        self.batch_size = self.tail_batch_size = min(forward.batch_size(graph.tensors), fit)

    def locate(self, channel: int) -> tuple[str, int]:
        """The layer of a channel, and its number there."""
        part, own = self._place(channel)
        return self.parts[part].layer, own

    def index_of(self, part: int, channel: int) -> int:
        """The number, through all layers, of a channel of one part."""
        return int(self._starts[part] + channel)

    def split_by_layer(self, channels: ArrayLike) -> list[Channels]:
        """`channels` part by part, each by its number there, in their order."""
        channels = np.asarray(channels, dtype=np.int64)
        borders = zip(self._starts, self._starts[1:], strict=False)
        return [channels[(channels >= a) & (channels < b)] - a for a, b in borders]

    def boundary(self, pixels: Array) -> list[Array]:
        """What crosses the first cut: its maps behind its poolings, and the tensors beside."""
        return [np.asarray(tensor) for tensor in self._to_cut(pixels)]

    def predict_steps(
        self, maps: Array, beside: Sequence[Array], channels: Channels
    ) -> NDArray[np.int32]:
        """Predicted classes after 0, 1, 2 ... of `channels` are pruned, (len(channels) + 1, n).

        `maps` and `beside` are what crosses the first cut for a batch of n images.
        """
        kept = [np.ones(part.channels, dtype=bool) for part in self.parts]
        before = [[np.array(tensor) for tensor in (maps, *beside)]]  # what each segment reads
        for segment, mask in zip(self._segments[:-1], kept, strict=False):
            before.append([np.array(made) for made in segment.run(mask, before[-1])])
        told = np.empty((len(channels) + 1, len(maps)), dtype=np.int32)
        told[0] = self._segments[-1].classes(kept[-1], before[-1])
        for step, channel in enumerate(channels, start=1):
            told[step] = told[step - 1]
            part, own = self._place(channel)
            kept[part][own] = False
            values = before[part][0][..., own].reshape(len(maps), -1)
            rows = np.flatnonzero((values != self.parts[part].mask_value[own]).any(axis=1))
            if len(rows):
                told[step, rows] = self._anew(part, rows, kept, before)
        return told

    def scores(self, maps: Array, beside: Sequence[Array], channels: Channels) -> Array:
        """What the network gives, (n, classes), when `channels` are pruned; as for `answers`."""
        tensors = [maps, *beside]
        for segment, pruned in zip(self._segments, self.split_by_layer(channels), strict=True):
            kept = ~np.isin(np.arange(segment.channels), pruned)
            tensors = segment.run(kept, tensors)
        return np.asarray(tensors[0])

    def pruned(self, channels: ArrayLike) -> keras.Model:
        """A new network in which `channels` are pruned; equal to masking them at their sites."""
        network, dealt = (
            self.network,
            list(zip(self.parts, self.split_by_layer(channels), strict=True)),
        )
        for part, own in dealt:
            if len(own) and not part.by_weights:
                network = Cut(network, part.layer, self.semantics).pruned(own)
        copy = clone(network)
        for part, own in dealt:
            if part.by_weights:
                part.silence(copy, own)
        return copy

    def _place(self, channel: int) -> tuple[int, int]:
        """The part that a channel is of, and its number there."""
        part = int(np.searchsorted(self._starts, channel, side="right")) - 1
        return part, int(channel - self._starts[part])

    def _anew(
        self,
        part: int,
        rows: NDArray[np.int64],
        kept: Sequence[NDArray[np.bool_]],
        before: list[list[Array]],
    ) -> NDArray[np.int64]:
        """Classes of the images `rows`, of which all behind `part` runs anew and is put down."""
        some = [tensor[rows] for tensor in before[part]]
        last = len(self.parts) - 1
        for place in range(part, last):
            some = [np.asarray(made) for made in self._segments[place].run(kept[place], some)]
            for tensor, made in zip(before[place + 1], some, strict=True):
                tensor[rows] = made
        return self._segments[last].classes(kept[last], some)

    @cached_property
    def _to_cut(self) -> Callable[..., list[Any]]:
        return forward.feature_extractor(self.network, self._segments[0].reads)


class _Segment:
    """The nodes behind one cut up to the next, or up to the scores.

    `reads` are the tensors it is given, first the maps that are masked; `gives` those it hands on.
    """

    def __init__(
        self, graph: Graph, part: Cut, nodes: list[Any], reads: list[Any], gives: list[Any]
    ) -> None:
        self.reads, self.channels = reads, part.channels
        self._graph, self._nodes, self._gives = graph, nodes, gives
        self._value = tf.constant(part.mask_value, reads[0].dtype)
        self._specs = [tf.TensorSpec((part.channels,), tf.bool), *map(forward.tensor_spec, reads)]

    def run(self, kept: NDArray[np.bool_], tensors: Sequence[Array]) -> list[Any]:
        """What the segment hands on when the channels that are not `kept` are pruned."""
        return self._run(kept, *tensors)

    def classes(self, kept: NDArray[np.bool_], tensors: Sequence[Array]) -> NDArray[np.int64]:
        """Of the last segment: classes, (n,)."""
        return self._classes(kept, *tensors)

    @cached_property
    def _run(self) -> Callable[..., list[Any]]:
        def run(kept: Any, *tensors: Any) -> list[Any]:
            known = self._masked(kept, tensors)
            self._graph.run(self._nodes, known)
            return [known[id(tensor)] for tensor in self._gives]

        return forward.compiled(run, self._specs)

    @cached_property
    def _classes(self) -> Callable[..., NDArray[np.int64]]:
        def scores(kept: Any, *tensors: Any) -> Any:
            return run_to_scores(self._graph, self._nodes, self._masked(kept, tensors))

        return forward.Classifier(scores, self._specs[1:], self._specs[:1])

    def _masked(self, kept: Any, tensors: Sequence[Any]) -> dict[int, Any]:
        maps, *beside = tensors
        return known_values(self.reads, (tf.where(kept, maps, self._value), *beside))


def _segments(graph: Graph, parts: Sequence[Cut]) -> list[_Segment]:
    """The segments between the cuts `parts`, which stand in forward order."""
    places = [graph.nodes.index(part.point.mask_node) for part in parts]
    reads = []
    for place, part in zip(places, parts, strict=True):
        maps = part.point.mask_node.output_tensors[0]
        beside = [tensor for tensor in graph.live_tensors_after(place) if tensor is not maps]
        reads.append([maps, *beside])
    ends = [place + 1 for place in places[1:]] + [len(graph.nodes)]
    gives = [*reads[1:], [graph.network.outputs[0]]]
    return [
        _Segment(graph, part, graph.nodes[place + 1 : end], own, made)
        for part, place, end, own, made in zip(parts, places, ends, reads, gives, strict=True)
    ]


def _all(network: keras.Model, semantics: str) -> list[Cut]:
    """Cuts at the convolutions of `network`; why not, where there is none."""
    graph, cuts = Graph(network), []
    error = BadInput("prune.layer is 'all', and the network has no convolution to prune")
    for node in graph.nodes:
        if type(node.operation) in CONVOLUTIONS and not graph.makes_scores(graph.fused_end(node)):
            try:
                cuts.append(Cut(network, node.operation.name, semantics))
            except BadInput as reason:
                error = reason
    if not cuts:
        raise error
    return cuts


def _shared(one: Cut, other: Cut) -> bool:
    """Whether two cuts are of the same channels."""
    producer = one.producer.layer
    return one.point.mask_node is other.point.mask_node or (
        producer is not None and producer is other.producer.layer
    )
