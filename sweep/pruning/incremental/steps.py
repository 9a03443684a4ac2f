"""All steps of pruning a layer, backwards: the classes that a network cut there gives at each."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sweep.evaluation.curve import Channels, steps_of
from sweep.networks.forward import Classifier, Progress, no_progress, tensor_spec
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.outputs import known_values
from sweep.pruning.incremental.affine import ends_of, linear_part, pointwise_part, sizes
from sweep.pruning.incremental.entry import Entry
from sweep.pruning.incremental.linear import LinearTail, PointwiseTail
from sweep.pruning.incremental.masked import MaskedTail
from sweep.pruning.incremental.normalized import NormalizedTail, normalized_tail
from sweep.pruning.incremental.scores import run_to_scores

Array = NDArray[np.float32]
LARGEST = 2**25  # values in the contributions of all channels, 128 MiB: more are not cheap to add
LOOKED_AT = 64  # images on which contributions have to add up

Tail: TypeAlias = MaskedTail | LinearTail


def tail_of(graph: Graph, node: Node, value: Array, maps: Array, bypass: Sequence[Array]) -> Tail:
    """The cheapest tail of `graph` cut behind `node`, where pruned channels hold `value`.

    `maps` and the tensors of the `bypass` are of some images, to see that contributions add up.
    """
    longest = graph.channelwise_path(node)
    for path in (longest, longest[:1]) if len(longest) > 1 else (longest,):
        entry = Entry(graph, path, value)
        for make in (_normalized_tail, _linear_tail, _pointwise_tail):
            tail = make(graph, entry)
            if tail and tail.adds_up(maps[:LOOKED_AT], [tensor[:LOOKED_AT] for tensor in bypass]):
                return tail
    return MaskedTail(graph, node, value)


def _linear_tail(graph: Graph, entry: Entry) -> LinearTail | None:
    part = linear_part(graph, entry.node)
    ends = ends_of(graph, entry.node, part)
    if not _adds_values(entry, part, ends):
        return None
    if prod(entry.boundary[0].shape[1:]) * sum(sizes(ends)) > LARGEST:
        return None
    return LinearTail(graph, entry, part)


def _normalized_tail(graph: Graph, entry: Entry) -> NormalizedTail | None:
    part = _pointwise_part(graph, entry)
    return normalized_tail(graph, entry, part) if part else None


def _pointwise_tail(graph: Graph, entry: Entry) -> PointwiseTail | None:
    part = _pointwise_part(graph, entry)
    return PointwiseTail(graph, entry, part) if part else None


def _pointwise_part(graph: Graph, entry: Entry) -> list[Node]:
    """The pointwise part behind `entry`, where it has one end."""
    part = pointwise_part(graph, entry.node)
    ends = ends_of(graph, entry.node, part)
    return part if len(ends) == 1 and _adds_values(entry, part, ends) else []


def _adds_values(entry: Entry, part: list[Node], ends: list[Node]) -> bool:
    """Whether there is a linear part, of float32 tensors whose sizes are known."""
    tensors = [*entry.boundary, *(end.output_tensors[0] for end in ends)]
    sized = all(t.dtype == "float32" and None not in t.shape[1:] for t in tensors)
    return sized and bool(part) and entry.node not in ends


def tail_classifier(graph: Graph, node: Node) -> Callable[..., NDArray[np.int64]]:
    """Everything behind `node`, from the tensors that cross there to classes, (n,)."""
    boundary, nodes = graph.boundary_tensors(node), graph.downstream_nodes(node)

    def scores(*values: Tensor) -> Tensor:
        return run_to_scores(graph, nodes, known_values(boundary, values))

    return Classifier(scores, list(map(tensor_spec, boundary)))


def predict_steps(
    tail: Tail,
    unpruned_classes: Callable[..., NDArray[np.int64]],
    maps: Array,
    bypass: Sequence[Array],
    channels: Channels,
    value: Array,
    step: float = 1,
    progress: Progress = no_progress,
) -> NDArray[np.int32]:
    """Classes of each image at each step, (steps, n); step 0 is the untouched network.

    `maps`, (n, ..., channels), and the tensors of the `bypass` are what crosses the cut, and
    `unpruned_classes` is the network from there; `value`, (channels,), is what the map of a pruned
    channel holds. So many `channels` at a time are pruned as `step` says, see `curve.steps_of`.
    `progress` is called with the number of channels that are done.
    """
    steps = steps_of(len(channels), step)
    active = _active(maps, value)[channels]  # in pruning order
    first = np.where(active.any(axis=0), active.argmax(axis=0), len(channels))  # to change an image
    state: Any = tail.start(maps, bypass)  # of the kind that this tail alone takes
    never_pruned = np.setdiff1d(np.arange(len(value)), channels)
    state = tail.restore(state, never_pruned)

    predictions = np.full((len(steps), len(maps)), -1, dtype=np.int32)
    predictions[-1] = tail.predict(state)
    restored = np.arange(len(channels) - 1, steps[1] - 1, -1)  # at step 0 all are, which is B
    restored = restored[active[restored].any(axis=1)]
    place = np.searchsorted(steps, restored, side="right") - 1  # of the last step without each
    changed = np.logical_or.reduceat(active, steps[:-1]) & (first < steps[:-1, None])
    reached = np.diff(place, append=-1) != 0  # only then are all channels of a step restored
    wanted = changed[place] & reached[:, None]
    row, image = np.nonzero(wanted)
    predictions[place[row], image] = tail.predict_along(state, channels[restored], wanted, progress)
    progress(len(channels) - len(restored))
    for number in reversed(range(1, len(steps) - 1)):  # what is not wanted is as at the next one
        same = predictions[number] < 0
        predictions[number, same] = predictions[number + 1, same]
    # until the first channel that is active on it is pruned, an image is as it was
    untouched = steps[:, None] <= first
    return np.where(untouched, unpruned_classes(maps, *bypass), predictions).astype(np.int32)


def _active(maps: Array, value: Array) -> NDArray[np.bool_]:
    """On which images each channel is not as if it were pruned, (channels, n)."""
    return (maps.reshape(len(maps), -1, len(value)) != value).any(axis=1).T
