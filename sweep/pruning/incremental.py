"""The incremental evaluation of the tail: the part of a network behind a cut, at every step.

A plain pass of the tail at each of C steps would cost C passes. Steps are taken backwards instead,
from all channels pruned to none: then a step adds one channel to a state, and only images on which
that channel is active can change their class. In `LinearTail` the state is what the linear layers
right behind the cut make of the maps, to which a channel adds its contribution: one product of
matrices. Contributions are found by probing: a map that is 1 at one position, less a map of zeros.
A large bias would swallow small weights in float32, so probes hold 2**60: then the weights drown
the bias, and as a power of two it adds no rounding. Where the layers are not linear, contributions
are too large or do not add up on real images, `MaskedTail` masks maps and runs the whole tail.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from sweep.evaluation.curve import Channels
from sweep.networks.forward import Classifier, compiled, tensor_spec
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.layer_types import has_activation, is_affine, is_softmax
from sweep.networks.outputs import known_values, run_to_scores

Array = NDArray[np.float32]
Rows = NDArray[np.int64] | None
LARGEST = 2**25  # values in the contributions of all channels, 128 MiB: more are not cheap to add
PROBES = 256  # one-hot maps a call
ROUNDING = 1e-4  # of the largest value: sums of thousands of float32 differ by less
PROBE_SCALE = np.float32(2**60)  # in place of 1 in these maps, so that biases drown, not weights


class MaskedState(NamedTuple):
    """Which channels are `kept`, (channels,), the maps, (n, ..., channels), and the bypass."""

    kept: NDArray[np.bool_]
    maps: Tensor
    bypass: list[Tensor]


class LinearState(NamedTuple):
    """The `values` of the linear part, (n, values), for the channels added so far.

    channel_maps: what each channel has more than a pruned one, (channels, n, positions).
    """

    values: Tensor
    channel_maps: Tensor
    bypass: list[Tensor]


class MaskedTail:
    """A tail that runs as a whole on masked maps, at each step.

    `value`, (channels,), is what the map of a pruned channel holds behind `node`.
    """

    def __init__(self, graph: Graph, node: Node, value: Array) -> None:
        self._graph = graph
        self._boundary, self._nodes = graph.boundary_tensors(node), graph.downstream_nodes(node)
        self._value = tf.constant(value, self._boundary[0].dtype)
        kept_spec = tf.TensorSpec(self._value.shape, tf.bool)
        self._classes = Classifier(
            self._scores, list(map(tensor_spec, self._boundary)), [kept_spec]
        )

    def start(self, maps: Array, bypass: Sequence[Array]) -> MaskedState:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        none_kept = np.zeros(maps.shape[-1], bool)
        tensors = list(map(tf.convert_to_tensor, bypass))
        return MaskedState(none_kept, tf.convert_to_tensor(maps), tensors)

    def restore(self, state: MaskedState, channel: int) -> MaskedState:
        """The state of these images with one channel more."""
        return state._replace(kept=state.kept | (np.arange(len(state.kept)) == channel))

    def predict(self, state: MaskedState, rows: Rows = None) -> NDArray[np.int64]:
        """The predicted classes of the images `rows`, (len(rows),); None: of all."""
        return self._classes(state.kept, state.maps, *state.bypass, rows=rows)

    def _scores(self, kept: Tensor, maps: Tensor, *bypass: Tensor) -> Tensor:
        masked = tf.where(kept, maps, self._value)
        known = known_values(self._boundary, (masked, *bypass))
        return run_to_scores(self._graph, self._nodes, known)


class LinearTail:
    """A tail whose state is what the linear `part` behind `node` makes of the maps.

    The contributions, (channels, positions, values), are what the part makes of maps that are 1 at
    one position of one channel and 0 elsewhere, less what it makes of maps that are 0 everywhere.
    `value`, (channels,), is what the map of a pruned channel holds behind `node`.
    """

    def __init__(self, graph: Graph, node: Node, value: Array, part: list[Node]) -> None:
        self._graph, self._part, self._value = graph, part, value
        self._boundary, self._ends = graph.boundary_tensors(node), ends_of(graph, node, part)
        self._rest = [other for other in graph.downstream_nodes(node) if other not in part]
        self._shape = self._boundary[0].shape[1:]  # of maps
        *positions, channels = self._shape
        specs = list(map(tensor_spec, self._boundary))
        values_spec = tf.TensorSpec((None, sum(_sizes(self._ends))), tf.float32)
        maps_spec = tf.TensorSpec((channels, None, prod(positions)), tf.float32)
        self._values = compiled(self._run_part, specs)
        self._classes = Classifier(self._scores, [values_spec, *specs[1:]])
        self._contributions = tf.constant(self._probed())
        self._by_channel = compiled(self._split_by_channel, specs[:1])
        channel_spec = tf.TensorSpec((), tf.int64)
        self._add = compiled(self._add_contribution, [values_spec, maps_spec, channel_spec])

    def start(self, maps: Array, bypass: Sequence[Array]) -> LinearState:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        images = len(maps) if bypass else 1  # nothing but the maps tells one image from another
        values = self._values(np.broadcast_to(self._value, (images, *maps.shape[1:])), *bypass)
        values = values if bypass else tf.repeat(values, len(maps), axis=0)
        return LinearState(values, self._by_channel(maps), list(map(tf.convert_to_tensor, bypass)))

    def restore(self, state: LinearState, channel: int) -> LinearState:
        """The state of these images with one channel more."""
        values = self._add(state.values, state.channel_maps, np.int64(channel))
        return state._replace(values=values)

    def predict(self, state: LinearState, rows: Rows = None) -> NDArray[np.int64]:
        """The predicted classes of the images `rows`, (len(rows),); None: of all."""
        return self._classes(state.values, *state.bypass, rows=rows)

    def adds_up(self, maps: Array, bypass: Sequence[Array]) -> bool:
        """Whether all contributions sum to what the part makes of these maps, but for rounding."""
        state = self.start(maps, bypass)
        for channel in range(maps.shape[-1]):
            state = self.restore(state, channel)
        expected = np.asarray(self._values(maps, *bypass))
        error = np.abs(expected - state.values).max()
        return bool(error <= ROUNDING * np.abs(expected).max())

    def _run_part(self, *boundary: Tensor) -> Tensor:
        """The values of the linear part, (n, values): its ends, flat, one beside the other."""
        known = known_values(self._boundary, boundary)
        self._graph.run(self._part, known, without_activation=True)
        flat = [
            ops.reshape(known[id(end.output_tensors[0])], (-1, size))
            for end, size in zip(self._ends, _sizes(self._ends), strict=True)
        ]
        return ops.concatenate(flat, axis=1)

    def _scores(self, values: Tensor, *bypass: Tensor) -> Tensor:
        """The network's scores, (n, classes), from the values of the linear part."""
        known = known_values(self._boundary[1:], bypass)
        start = 0
        for end, size in zip(self._ends, _sizes(self._ends), strict=True):
            tensor = end.output_tensors[0]
            output = ops.reshape(values[:, start : start + size], (-1, *tensor.shape[1:]))
            known[id(tensor)] = _activated(self._graph, end, output)
            start += size
        return run_to_scores(self._graph, self._rest, known)

    def _split_by_channel(self, maps: Tensor) -> Tensor:
        """What each channel of maps has more than a pruned one, (channels, n, positions)."""
        *positions, channels = self._shape
        flat = tf.reshape(maps - self._value, (-1, prod(positions), channels))
        return tf.transpose(flat, (2, 0, 1))

    def _add_contribution(self, values: Tensor, channel_maps: Tensor, channel: Tensor) -> Tensor:
        return values + tf.matmul(channel_maps[channel], self._contributions[channel])

    def _probed(self) -> Array:
        """The contributions, (channels, positions, values)."""
        size = prod(self._shape)
        at_zero = self._probe(np.zeros((1, size), np.float32))
        contributions = np.empty((size, at_zero.shape[1]), np.float32)
        for start in range(0, size, PROBES):
            stop = min(start + PROBES, size)
            one_hot = np.eye(stop - start, size, start, np.float32)
            contributions[start:stop] = (self._probe(PROBE_SCALE * one_hot) - at_zero) / PROBE_SCALE
        return contributions.reshape(-1, self._shape[-1], at_zero.shape[1]).swapaxes(0, 1)

    def _probe(self, flat_maps: Array) -> Array:
        """The values, (n, values), of maps that are given flat, (n, size), with a bypass of 0."""
        shapes = [tensor.shape[1:] for tensor in self._boundary[1:]]
        bypass = [np.zeros((len(flat_maps), *shape), np.float32) for shape in shapes]
        return np.asarray(self._values(flat_maps.reshape(-1, *self._shape), *bypass))


Tail: TypeAlias = MaskedTail | LinearTail


def tail_of(graph: Graph, node: Node, value: Array, maps: Array, bypass: Sequence[Array]) -> Tail:
    """The cheaper tail of `graph` cut behind `node`, where pruned channels hold `value`.

    `maps` and the tensors of the `bypass` are of some images, to see that contributions add up.
    """
    part = linear_part(graph, node)
    ends = ends_of(graph, node, part)
    tensors = [*graph.boundary_tensors(node), *(end.output_tensors[0] for end in ends)]
    sized = all(t.dtype == "float32" and None not in t.shape[1:] for t in tensors)
    if not sized or not part or node in ends:
        return MaskedTail(graph, node, value)
    if prod(tensors[0].shape[1:]) * sum(_sizes(ends)) <= LARGEST:
        linear = LinearTail(graph, node, value, part)
        if linear.adds_up(maps, bypass):
            return linear
    return MaskedTail(graph, node, value)


def tail_classifier(graph: Graph, node: Node) -> Callable[..., NDArray[np.int64]]:
    """Everything behind `node`, from the tensors that cross there to classes, (n,)."""
    boundary, nodes = graph.boundary_tensors(node), graph.downstream_nodes(node)

    def scores(*values: Tensor) -> Tensor:
        return run_to_scores(graph, nodes, known_values(boundary, values))

    return Classifier(scores, list(map(tensor_spec, boundary)))


def linear_part(graph: Graph, node: Node) -> list[Node]:
    """The nodes behind `node` that are affine in its maps, but for an activation at their end."""
    tail = graph.downstream_nodes(node)
    tail_outputs = {id(tensor) for other in [node, *tail] for tensor in other.output_tensors}
    linear = {id(tensor) for tensor in node.output_tensors}
    part = []
    for other in tail:
        inputs = {id(tensor) for tensor in other.input_tensors} & tail_outputs
        if is_affine(other.operation) and inputs <= linear:
            part.append(other)
            if not has_activation(other.operation):
                linear |= {id(tensor) for tensor in other.output_tensors}
    return part


def ends_of(graph: Graph, node: Node, part: list[Node]) -> list[Node]:
    """The nodes of the `part` behind `node`, or `node`, whose output the rest of the tail reads."""
    rest = [other for other in graph.downstream_nodes(node) if other not in part]
    read = {id(tensor) for other in rest for tensor in other.input_tensors}
    read.add(id(graph.network.outputs[0]))
    return [other for other in [node, *part] if id(other.output_tensors[0]) in read]


def predict_steps(
    tail: Tail,
    unpruned_classes: Callable[..., NDArray[np.int64]],
    maps: Array,
    bypass: Sequence[Array],
    channels: Channels,
    value: Array,
) -> NDArray[np.int32]:
    """Classes of each image at each step, (len(channels) + 1, n); step 0 is the untouched network.

    `maps`, (n, ..., channels), and the tensors of the `bypass` are what crosses the cut, and
    `unpruned_classes` is the network from there; `value`, (channels,), is what the map of a pruned
    channel holds.
    """
    steps = len(channels)
    active = _active(maps, value)[channels]  # in pruning order
    first = np.where(active.any(axis=0), active.argmax(axis=0), steps)  # to change an image
    state: Any = tail.start(maps, bypass)  # of the kind that this tail alone takes
    for channel in np.setdiff1d(np.arange(len(value)), channels):  # those that are never pruned
        state = tail.restore(state, channel)

    predictions = np.empty((steps + 1, len(maps)), dtype=np.int32)
    predictions[steps] = tail.predict(state)
    for step in reversed(range(1, steps)):  # channels[step] is the first that is not pruned
        predictions[step] = predictions[step + 1]
        if active[step].any():
            state = tail.restore(state, channels[step])
        rows = np.flatnonzero(active[step] & (first < step))
        if len(rows):
            predictions[step, rows] = tail.predict(state, None if len(rows) == len(maps) else rows)
    # until the first channel that is active on it is pruned, an image is as it was
    untouched = np.arange(steps + 1)[:, None] <= first
    return np.where(untouched, unpruned_classes(maps, *bypass), predictions).astype(np.int32)


def _active(maps: Array, value: Array) -> NDArray[np.bool_]:
    """On which images each channel is not as if it were pruned, (channels, n)."""
    return (maps.reshape(len(maps), -1, len(value)) != value).any(axis=1).T


def _sizes(ends: Sequence[Node]) -> list[int]:
    """How many values of an image each of the `ends` makes."""
    return [prod(end.output_tensors[0].shape[1:]) for end in ends]


def _activated(graph: Graph, end: Node, output: Tensor) -> Tensor:
    """What an end's own activation makes of its output; a softmax of scores is left out."""
    makes_scores = end.output_tensors[0] is graph.network.outputs[0]
    if not has_activation(end.operation) or (makes_scores and is_softmax(end.operation)):
        return output
    return end.operation.activation(output)
