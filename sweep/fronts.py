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

from sweep.forward import classifier, compiled, spec
from sweep.graphs import Graph
from sweep.kinds import has_activation, is_affine, is_softmax

Array = NDArray[np.float32]
Rows = NDArray[np.int64] | None
LARGEST = 2**25  # values in the shares of all channels, 128 MiB: more are not cheap to add any more
PROBES = 256  # one-hot maps a call
LOUD = np.float32(2**20)  # in place of 1 in these maps, so that no bias drowns a small weight


def front(graph: Graph, node: Any, value: Array) -> "Masked | Linear":
    """The cheaper front of `graph` cut behind `node`, where pruned channels hold `value`."""
    part, ends = linear_part(graph, node)
    maps, *beside = graph.crossing(node)
    tensors = [maps, *beside, *(end for end, _ in ends)]
    sized = all(t.dtype == "float32" and None not in t.shape[1:] for t in tensors)
    if sized and part and all(end is not maps for end, _ in ends):
        values = sum(prod(end.shape[1:]) for end, _ in ends)
        if prod(maps.shape[1:]) * values <= LARGEST:
            return Linear(graph, node, value, part, ends)
    return Masked(graph, node, value)


class Masked:
    """A state is the maps as they are, and which channels are not pruned.

    `value`, (channels,), is what the map of a pruned channel holds behind `node`.
    """

    def __init__(self, graph: Graph, node: Any, value: Array) -> None:
        crossing, nodes = graph.crossing(node), graph.behind(node)
        value = tf.constant(value, crossing[0].dtype)

        def scores(kept: Any, maps: Any, *beside: Any) -> Any:
            masked = tf.where(kept, maps, value)
            return _scores(graph, nodes, _known(crossing, (masked, *beside)))

        kept = tf.TensorSpec(value.shape, tf.bool)
        self._classes = classifier(scores, list(map(spec, crossing)), [kept])

    def start(self, maps: Array, beside: Sequence[Array]) -> tuple[Any, ...]:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        return np.zeros(maps.shape[-1], bool), *map(tf.convert_to_tensor, (maps, *beside))

    def put_back(self, state: tuple[Any, ...], channel: int) -> tuple[Any, ...]:
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

    def __init__(self, graph: Graph, node: Any, value: Array, part: list, ends: list) -> None:
        crossing = graph.crossing(node)
        rest = [other for other in graph.behind(node) if other not in part]
        shapes = [end.shape[1:] for end, _ in ends]
        borders = np.cumsum([prod(shape) for shape in shapes])
        shape = crossing[0].shape[1:]

        def values(*parts: Any) -> Any:
            known = _known(crossing, parts)
            graph.run(part, known, bare=True)
            flat = [ops.reshape(known[id(end)], (-1, prod(end.shape[1:]))) for end, _ in ends]
            return ops.concatenate(flat, axis=1)

        def scores(state: Any, *beside: Any) -> Any:
            known = _known(crossing[1:], beside)
            for (end, activation), shape, stop in zip(ends, shapes, borders, strict=True):
                piece = state[:, stop - prod(shape) : stop]
                known[id(end)] = activation(ops.reshape(piece, (-1, *shape)))
            return _scores(graph, rest, known)

        def by_channel(maps: Any) -> Any:
            flat = tf.reshape(maps - value, (-1, prod(shape[:-1]), shape[-1]))
            return tf.transpose(flat, (2, 0, 1))

        def put_back(state: Any, maps: Any, channel: Any) -> Any:
            return state + tf.matmul(maps[channel], self._shares[channel])

        specs = list(map(spec, crossing))
        state = tf.TensorSpec((None, borders[-1]), tf.float32)
        self._value = value
        self._part = compiled(values, specs)
        self._classes = classifier(scores, [state, *specs[1:]])
        self._shares = tf.constant(self._probed(*(tensor.shape[1:] for tensor in crossing)))
        self._by_channel = compiled(by_channel, specs[:1])
        maps = tf.TensorSpec((shape[-1], None, prod(shape[:-1])), tf.float32)
        self._put_back = compiled(put_back, [state, maps, tf.TensorSpec((), tf.int64)])

    def start(self, maps: Array, beside: Sequence[Array]) -> tuple[Any, ...]:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        images = len(maps) if beside else 1  # nothing but the maps tells one image from another
        values = self._part(np.broadcast_to(self._value, (images, *maps.shape[1:])), *beside)
        values = values if beside else tf.repeat(values, len(maps), axis=0)
        return values, self._by_channel(maps), *map(tf.convert_to_tensor, beside)

    def put_back(self, state: tuple[Any, ...], channel: int) -> tuple[Any, ...]:
        """The state of these images with one channel more."""
        values, maps, *beside = state
        return self._put_back(values, maps, channel), maps, *beside

    def classes(self, state: tuple[Any, ...], rows: Rows = None) -> NDArray[np.int64]:
        """The network's class for the images `rows`; None: all."""
        values, _, *beside = state
        return self._classes(values, *beside, rows=rows)

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


def whole(graph: Graph, node: Any) -> Callable[..., NDArray[np.int64]]:
    """Everything behind `node`, from the tensors that cross there to classes, (n,)."""
    crossing, nodes = graph.crossing(node), graph.behind(node)

    def scores(*parts: Any) -> Any:
        return _scores(graph, nodes, _known(crossing, parts))

    return classifier(scores, list(map(spec, crossing)))


def linear_part(graph: Graph, node: Any) -> tuple[list[Any], list[tuple[Any, Callable]]]:
    """The nodes behind `node` that are affine in its maps, and where that ends.

    The ends are tensors with the activation that turns what the part makes into their value: that
    of a convolution's or Dense layer's own, or none.
    """
    behind = graph.behind(node)
    made = {id(tensor) for other in [node, *behind] for tensor in other.output_tensors}
    linear = {id(tensor) for tensor in node.output_tensors}
    part = []
    for other in behind:
        read = {id(tensor) for tensor in other.input_tensors} & made
        if is_affine(other.operation) and read <= linear:
            part.append(other)
            if not has_activation(other.operation):
                linear |= {id(tensor) for tensor in other.output_tensors}
    read = {id(t) for other in behind if other not in part for t in other.input_tensors}
    read.add(id(graph.network.outputs[0]))
    ends = []
    for other in [node, *part]:
        (tensor,) = other.output_tensors
        if id(tensor) in read:
            own = other is not node and has_activation(other.operation)
            softmax = is_softmax(other.operation) and tensor is graph.network.outputs[0]
            activation = other.operation.activation if own and not softmax else _as_it_is
            ends.append((tensor, activation))
    return part, ends


def _as_it_is(value: Any) -> Any:
    return value


def _known(tensors: Sequence[Any], values: Sequence[Any]) -> dict[int, Any]:
    return dict(zip(map(id, tensors), values, strict=True))


def _scores(graph: Graph, nodes: list[Any], known: dict[int, Any]) -> Any:
    """The scores that `nodes` make of what is known; a softmax at the end is left out.

    It costs as much as the layer before it where there are many classes, and changes no order.
    """
    for node in nodes:
        graph.run([node], known, bare=node is nodes[-1] and is_softmax(node.operation))
    return known[id(graph.network.outputs[0])]
