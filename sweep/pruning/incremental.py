"""What a step of the curve costs: the state behind a cut, and one channel put back into it.

A state is what the rest of the network needs to know of an image while some channels are pruned.
`Masked`: the maps themselves, and every layer behind the cut runs anew. `Linear`: what the linear
layers right behind the cut make of the maps, where the shares of the channels simply add up.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from sweep.evaluation.curve import Channels
from sweep.networks.forward import classifier, compiled, tensor_spec
from sweep.networks.graph import Graph
from sweep.networks.layer_types import has_activation, is_affine, is_softmax
from sweep.networks.outputs import known_values, run_to_scores

Array = NDArray[np.float32]
Rows = NDArray[np.int64] | None
LARGEST = 2**25  # values in the shares of all channels, 128 MiB: more are not cheap to add any more
PROBES = 256  # one-hot maps a call
ROUNDING = 1e-4  # of the largest value: sums of thousands of float32 differ by less
LOUD = np.float32(2**60)  # in place of 1 in these maps, so that biases drown and not the weights


def front(graph: Graph, node: Any, value: Array, maps: Array, beside: Sequence[Array]) -> "Front":
    """The cheaper front of `graph` cut behind `node`, where pruned channels hold `value`.

    `maps` and the tensors `beside` are of some images, to see that shares do add up.
    """
    part = linear_part(graph, node)
    ends = ends_of(graph, node, part)
    tensors = [*graph.boundary_tensors(node), *(end.output_tensors[0] for end in ends)]
    sized = all(t.dtype == "float32" and None not in t.shape[1:] for t in tensors)
    if sized and part and node not in ends:
        values = sum(prod(end.output_tensors[0].shape[1:]) for end in ends)
        if prod(tensors[0].shape[1:]) * values <= LARGEST:
            linear = Linear(graph, node, value, part)
            if linear.adds_up(maps, beside):
                return linear
    return Masked(graph, node, value)


class Masked:
    """A state is the maps as they are, and which channels are not pruned.

    `value`, (channels,), is what the map of a pruned channel holds behind `node`.
    """

    def __init__(self, graph: Graph, node: Any, value: Array) -> None:
        crossing, nodes = graph.boundary_tensors(node), graph.downstream_nodes(node)
        value = tf.constant(value, crossing[0].dtype)

        def scores(kept: Any, maps: Any, *beside: Any) -> Any:
            masked = tf.where(kept, maps, value)
            return run_to_scores(graph, nodes, known_values(crossing, (masked, *beside)))

        kept = tf.TensorSpec(value.shape, tf.bool)
        self._classes = classifier(scores, list(map(tensor_spec, crossing)), [kept])

    def start(self, maps: Array, beside: Sequence[Array]) -> tuple[Any, ...]:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        return np.zeros(maps.shape[-1], bool), *map(tf.convert_to_tensor, (maps, *beside))

    def restore(self, state: tuple[Any, ...], channel: int) -> tuple[Any, ...]:
        """The state of these images with one channel more."""
        kept, *tensors = state
        return kept | (np.arange(len(kept)) == channel), *tensors

    def classes(self, state: tuple[Any, ...], rows: Rows = None) -> NDArray[np.int64]:
        """The network's class for the images `rows`; None: all."""
        return self._classes(*state, rows=rows)


class Linear:
    """A state is what the linear part behind `node` makes of the maps, flat, (n, values).

    The shares, (channels, positions, values), are what it makes of maps that are 1 at one position
    of one channel and 0 elsewhere, less what it makes of maps that are 0 everywhere.
    """

    def __init__(self, graph: Graph, node: Any, value: Array, part: list[Any]) -> None:
        crossing, ends = graph.boundary_tensors(node), ends_of(graph, node, part)
        rest = [other for other in graph.downstream_nodes(node) if other not in part]
        tensors = [end.output_tensors[0] for end in ends]
        borders = np.cumsum([prod(tensor.shape[1:]) for tensor in tensors])
        shape = crossing[0].shape[1:]

        def values(*parts: Any) -> Any:
            known = known_values(crossing, parts)
            graph.run(part, known, without_activation=True)
            flat = [ops.reshape(known[id(t)], (-1, prod(t.shape[1:]))) for t in tensors]
            return ops.concatenate(flat, axis=1)

        def scores(state: Any, *beside: Any) -> Any:
            known = known_values(crossing[1:], beside)
            for end, tensor, stop in zip(ends, tensors, borders, strict=True):
                piece = state[:, stop - prod(tensor.shape[1:]) : stop]
                known[id(tensor)] = _activated(
                    graph, end, ops.reshape(piece, (-1, *tensor.shape[1:]))
                )
            return run_to_scores(graph, rest, known)

        def by_channel(maps: Any) -> Any:
            flat = tf.reshape(maps - value, (-1, prod(shape[:-1]), shape[-1]))
            return tf.transpose(flat, (2, 0, 1))

        def restore(state: Any, maps: Any, channel: Any) -> Any:
            return state + tf.matmul(maps[channel], self._shares[channel])

        specs = list(map(tensor_spec, crossing))
        state = tf.TensorSpec((None, borders[-1]), tf.float32)
        self._value = value
        self._part = compiled(values, specs)
        self._classes = classifier(scores, [state, *specs[1:]])
        self._shares = tf.constant(self._probed(*(tensor.shape[1:] for tensor in crossing)))
        self._by_channel = compiled(by_channel, specs[:1])
        maps = tf.TensorSpec((shape[-1], None, prod(shape[:-1])), tf.float32)
        self._put_back = compiled(restore, [state, maps, tf.TensorSpec((), tf.int64)])

    def start(self, maps: Array, beside: Sequence[Array]) -> tuple[Any, ...]:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        images = len(maps) if beside else 1  # nothing but the maps tells one image from another
        values = self._part(np.broadcast_to(self._value, (images, *maps.shape[1:])), *beside)
        values = values if beside else tf.repeat(values, len(maps), axis=0)
        return values, self._by_channel(maps), *map(tf.convert_to_tensor, beside)

    def restore(self, state: tuple[Any, ...], channel: int) -> tuple[Any, ...]:
        """The state of these images with one channel more."""
        values, maps, *beside = state
        return self._put_back(values, maps, np.int64(channel)), maps, *beside

    def classes(self, state: tuple[Any, ...], rows: Rows = None) -> NDArray[np.int64]:
        """The network's class for the images `rows`; None: all."""
        values, _, *beside = state
        return self._classes(values, *beside, rows=rows)

    def adds_up(self, maps: Array, beside: Sequence[Array]) -> bool:
        """Whether all shares together are what the part makes of these maps, but for rounding."""
        state = self.start(maps, beside)
        for channel in range(maps.shape[-1]):
            state = self.restore(state, channel)
        straight = np.asarray(self._part(maps, *beside))
        return np.abs(straight - state[0]).max() <= ROUNDING * np.abs(straight).max()

    def _probed(self, shape: tuple[int, ...], *beside: tuple[int, ...]) -> Array:
        def made_of(maps: Array) -> Array:
            nothing = (np.zeros((len(maps), *other), np.float32) for other in beside)
            return np.asarray(self._part(maps.reshape(-1, *shape), *nothing))

        ones = range(prod(shape))
        empty = made_of(np.zeros((1, len(ones)), np.float32))
        shares = np.empty((len(ones), empty.shape[1]), np.float32)
        for start in ones[::PROBES]:
            probes = np.eye(len(ones[start : start + PROBES]), len(ones), start, np.float32)
            shares[start : start + PROBES] = (made_of(LOUD * probes) - empty) / LOUD
        return shares.reshape(-1, shape[-1], shares.shape[1]).swapaxes(0, 1)


Front = Masked | Linear


def tail_classifier(graph: Graph, node: Any) -> Callable[..., NDArray[np.int64]]:
    """Everything behind `node`, from the tensors that cross there to classes, (n,)."""
    crossing, nodes = graph.boundary_tensors(node), graph.downstream_nodes(node)

    def scores(*parts: Any) -> Any:
        return run_to_scores(graph, nodes, known_values(crossing, parts))

    return classifier(scores, list(map(tensor_spec, crossing)))


def linear_part(graph: Graph, node: Any) -> list[Any]:
    """The nodes behind `node` that are affine in its maps, but for an activation at their end."""
    behind = graph.downstream_nodes(node)
    made = {id(tensor) for other in [node, *behind] for tensor in other.output_tensors}
    linear = {id(tensor) for tensor in node.output_tensors}
    part = []
    for other in behind:
        read = {id(tensor) for tensor in other.input_tensors} & made
        if is_affine(other.operation) and read <= linear:
            part.append(other)
            if not has_activation(other.operation):
                linear |= {id(tensor) for tensor in other.output_tensors}
    return part


def ends_of(graph: Graph, node: Any, part: list[Any]) -> list[Any]:
    """Of `node` and of the `part` behind it, what the rest of the network reads."""
    rest = [other for other in graph.downstream_nodes(node) if other not in part]
    read = {id(tensor) for other in rest for tensor in other.input_tensors}
    read.add(id(graph.network.outputs[0]))
    return [other for other in [node, *part] if id(other.output_tensors[0]) in read]


def _activated(graph: Graph, end: Any, value: Any) -> Any:
    """What an end's own activation makes of its value; a softmax of scores is left out."""
    scores = end.output_tensors[0] is graph.network.outputs[0]
    if not has_activation(end.operation) or (scores and is_softmax(end.operation)):
        return value
    return end.operation.activation(value)


Array = NDArray[np.float32]


def predict_steps(
    front: Front,
    whole: Callable[..., NDArray[np.int64]],
    maps: Array,
    beside: Sequence[Array],
    channels: Channels,
    value: Array,
) -> NDArray[np.int32]:
    """Classes of each image at each step, (len(channels) + 1, n); step 0 is the untouched network.

    `maps`, (n, ..., channels), and the tensors `beside` are what crosses the cut, and `whole` is
    the network from there; `value`, (channels,), is what the map of a pruned channel holds.
    """
    steps = len(channels)
    active = _active(maps, value)[channels]  # in pruning order
    first = np.where(active.any(axis=0), active.argmax(axis=0), steps)  # to change an image
    state = front.start(maps, beside)
    for channel in np.setdiff1d(np.arange(len(value)), channels):  # those that are never pruned
        state = front.restore(state, channel)

    told = np.empty((steps + 1, len(maps)), dtype=np.int32)
    told[steps] = front.classes(state)
    for step in reversed(range(1, steps)):  # channels[step] is the first that is not pruned
        told[step] = told[step + 1]
        if active[step].any():
            state = front.restore(state, channels[step])
        rows = np.flatnonzero(active[step] & (first < step))
        if len(rows):
            told[step, rows] = front.classes(state, None if len(rows) == len(maps) else rows)
    # until the first channel that is active on it is pruned, an image is as it was
    untouched = np.arange(steps + 1)[:, None] <= first
    return np.where(untouched, whole(maps, *beside), told).astype(np.int32)


def _active(maps: Array, value: Array) -> NDArray[np.bool_]:
    """On which images each channel is not as if it were pruned, (channels, n)."""
    return (maps.reshape(len(maps), -1, len(value)) != value).any(axis=1).T
