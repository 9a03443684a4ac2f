"""A tail whose first layers are linear: a channel adds its contribution to what they make.

Contributions are found by probing: a map that is 1 at one position, less a map of zeros. A large
bias would swallow small weights in float32, so probes hold 2**60: then the weights drown the bias,
and as a power of two it adds no rounding.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from sweep import BadInput
from sweep.evaluation.curve import Channels
from sweep.networks.forward import (
    NOT_FINITE,
    Classifier,
    Progress,
    batches,
    compiled,
    no_progress,
    tensor_spec,
)
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.layer_types import has_activation, is_softmax
from sweep.networks.outputs import known_values
from sweep.pruning.incremental.affine import ends_of, sizes
from sweep.pruning.incremental.entry import Entry
from sweep.pruning.incremental.scores import run_to_scores

Array = NDArray[np.float32]
PROBES = 256  # one-hot maps a call
PROBED = 2**23  # values in these, 32 MiB: of large maps there are fewer
PROBE_SCALE = np.float32(2**60)  # in place of 1 in these maps, so that biases drown, not weights
TOGETHER = 2**22  # values of the steps that are taken in one call, 16 MiB
SUMMED = 32  # steps whose values are made by one product, where they are wider than that
ROUNDING = 1e-4  # of the largest value: sums of thousands of float32 differ by less


class LinearState(NamedTuple):
    """The `values` of the linear part, (n, values), for the channels added so far.

    channel_maps: what each channel has more than a pruned one, (channels, n, positions).
    """

    values: Tensor
    channel_maps: Tensor
    bypass: list[Tensor]


class LinearTail:
    """A tail whose state is what the linear `part` behind its entry makes of the maps.

    The contributions, (channels, positions, values), are what the part makes of maps that are 1 at
    one position of one channel and 0 elsewhere, less what it makes of maps that are 0 everywhere.
    """

    def __init__(self, graph: Graph, entry: Entry, part: list[Node]) -> None:
        self._graph, self._entry, self._part = graph, entry, part
        self._boundary, self._ends = entry.boundary, ends_of(graph, entry.node, part)
        self._rest = [other for other in graph.downstream_nodes(entry.node) if other not in part]
        self._shape = self._boundary[0].shape[1:]  # of maps
        *positions, channels = self._shape
        specs = list(map(tensor_spec, self._boundary))
        values_spec = tf.TensorSpec((None, sum(sizes(self._ends))), tf.float32)
        maps_spec = tf.TensorSpec((channels, None, prod(positions)), tf.float32)
        self._values = compiled(self._run_part, specs)
        self._classes = Classifier(self._scores, [values_spec, *specs[1:]])
        self._contributions = tf.constant(self._probed())
        self._is_wide = prod(positions) == 1 and sum(sizes(self._ends)) > SUMMED
        self._by_channel = compiled(self._split_by_channel, [specs[0], specs[0]])
        numbers = tf.TensorSpec((None,), tf.int64)
        given = [values_spec, maps_spec, numbers, numbers, *specs[1:]]
        self._add_and_classify = compiled(self._added_and_classified, given)
        made = [tensor for node in self._rest for tensor in node.output_tensors]
        self._of_image = max(
            prod(positions), sum(sizes(self._ends)), *(prod(_known(tensor)) for tensor in made), 1
        )

    def start(self, maps: Array, bypass: Sequence[Array]) -> LinearState:
        """The state of the images of `maps`, (n, ..., channels), when all channels are pruned."""
        kept, pruned, beside = self._entry(maps, bypass)
        values = self._values(pruned, *beside)
        if len(pruned) < len(maps):
            values = tf.repeat(values, len(maps), axis=0)
        return LinearState(values, self._by_channel(kept, pruned), beside)

    def restore(self, state: LinearState, channels: Channels) -> LinearState:
        """The state of these images with some channels more."""
        none = np.zeros((len(channels), len(state.values)), bool)
        return self._along(state, channels, none)[0]

    def predict(self, state: LinearState) -> NDArray[np.int64]:
        """The predicted classes, (n,)."""
        return self._classes(state.values, *state.bypass)

    def predict_along(
        self,
        state: LinearState,
        channels: Channels,
        wanted: NDArray[np.bool_],
        progress: Progress = no_progress,
    ) -> NDArray[np.int64]:
        """The classes as one after the other of `channels` is restored; as of `MaskedTail`."""
        return self._along(state, channels, wanted, progress)[1]

    def adds_up(self, maps: Array, bypass: Sequence[Array]) -> bool:
        """Whether all contributions sum to what the part makes of these maps, but for rounding."""
        state = self.restore(self.start(maps, bypass), np.arange(maps.shape[-1]))
        kept, _, beside = self._entry(maps, bypass)
        expected = np.asarray(self._values(kept, *beside))
        error = np.abs(expected - state.values).max()
        return bool(error <= ROUNDING * np.abs(expected).max())

    def _run_part(self, *boundary: Tensor) -> Tensor:
        """The values of the linear part, (n, values): its ends, flat, one beside the other."""
        known = known_values(self._boundary, boundary)
        self._graph.run(self._part, known, without_activation=True)
        flat = [
            ops.reshape(known[id(end.output_tensors[0])], (-1, size))
            for end, size in zip(self._ends, sizes(self._ends), strict=True)
        ]
        return ops.concatenate(flat, axis=1)

    def _scores(self, values: Tensor, *bypass: Tensor) -> Tensor:
        """The network's scores, (n, classes), from the values of the linear part."""
        known = known_values(self._boundary[1:], bypass)
        start = 0
        for end, size in zip(self._ends, sizes(self._ends), strict=True):
            tensor = end.output_tensors[0]
            output = ops.reshape(values[:, start : start + size], (-1, *tensor.shape[1:]))
            known[id(tensor)] = _activated(self._graph, end, output)
            start += size
        return run_to_scores(self._graph, self._rest, known)

    def _split_by_channel(self, maps: Tensor, pruned: Tensor) -> Tensor:
        """What each channel of maps has more than a pruned one, (channels, n, positions)."""
        *positions, channels = self._shape
        flat = tf.reshape(maps - pruned, (-1, prod(positions), channels))
        return tf.transpose(flat, (2, 0, 1))

    def _along(
        self,
        state: LinearState,
        channels: Channels,
        wanted: NDArray[np.bool_],
        progress: Progress = no_progress,
    ) -> tuple[LinearState, NDArray[np.int64]]:
        """The state with `channels` restored, and what `predict_along` gives on the way."""
        found = [np.zeros(0, np.int64)]
        for steps in batches(len(channels), self._steps_together(wanted.shape[1])):
            pairs = np.flatnonzero(wanted[steps])
            asked = pairs if len(pairs) else np.zeros(1, np.int64)  # no layer is given no image
            values, classes, highest = self._add_and_classify(
                state.values, state.channel_maps, channels[steps], asked, *state.bypass
            )
            if not np.isfinite(highest).all():
                raise BadInput(NOT_FINITE)
            state = state._replace(values=values)
            found.append(np.asarray(classes)[: len(pairs)])
            progress(steps.stop - steps.start)
        return state, np.concatenate(found)

    def _steps_together(self, images: int) -> int:
        """How many steps are taken in one call."""
        of_step = max(images * self._of_image, prod(self._contributions.shape[1:]))  # in values
        steps = max(1, TOGETHER // of_step)
        return min(steps, SUMMED) if self._is_wide else steps

    def _added_and_classified(
        self, values: Tensor, channel_maps: Tensor, channels: Tensor, pairs: Tensor, *bypass: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values with all `channels` added, and classes and their scores of `pairs` on the way.

        A pair is an image at a step, numbered step by step.
        """
        of_channels = tf.gather(self._contributions, channels)
        sums = self._summed if self._is_wide else self._scanned
        by_step = sums(values, tf.gather(channel_maps, channels), of_channels)
        flat, images = tf.reshape(by_step, (-1, by_step.shape[-1])), tf.shape(values, tf.int64)[0]
        are_all = tf.size(pairs) == tf.shape(flat)[0]  # then they need not be copied
        picked = tf.cond(are_all, lambda: flat, lambda: tf.gather(flat, pairs))
        rows = pairs % tf.maximum(images, 1)
        scores = self._scores(picked, *(tf.gather(tensor, rows) for tensor in bypass))
        return by_step[-1], tf.argmax(scores, axis=-1), tf.reduce_max(scores, axis=-1)

    def _scanned(self, values: Tensor, channel_maps: Tensor, contributions: Tensor) -> Tensor:
        """The values, (k, n, values), as k channels are added one after the other."""
        added = self._added(channel_maps, contributions)
        return tf.scan(lambda before, more: before + more, added, values)  # cumsum is slower

    @staticmethod
    def _summed(values: Tensor, channel_maps: Tensor, contributions: Tensor) -> Tensor:
        """The same where a map is one value: k times the arithmetic, and memory is passed once."""
        count, images = tf.unstack(tf.shape(channel_maps)[:2])
        is_added = tf.linalg.band_part(tf.ones((count, count)), -1, 0)  # (steps, channels)
        maps = tf.transpose(channel_maps[..., 0]) * is_added[:, None]
        sums = tf.matmul(tf.reshape(maps, (-1, count)), contributions[:, 0])
        return values + tf.reshape(sums, (count, images, values.shape[-1]))

    @staticmethod
    def _added(channel_maps: Tensor, contributions: Tensor) -> Tensor:
        """What channels, whose maps are (k, n, positions), add to the values, (k, n, values)."""
        return tf.matmul(channel_maps, contributions)

    def _probed(self) -> Array:
        """The contributions, (channels, positions, values)."""
        size = prod(self._shape)
        at_zero = self._probe(np.zeros((1, size), np.float32))
        contributions = np.empty((size, at_zero.shape[1]), np.float32)
        for some in batches(size, probes_of(size)):
            one_hot = np.eye(some.stop - some.start, size, some.start, np.float32)
            contributions[some] = (self._probe(PROBE_SCALE * one_hot) - at_zero) / PROBE_SCALE
        return contributions.reshape(-1, self._shape[-1], at_zero.shape[1]).swapaxes(0, 1)

    def _probe(self, flat_maps: Array) -> Array:
        """The values, (n, values), of maps that are given flat, (n, size), with a bypass of 0."""
        shapes = [tensor.shape[1:] for tensor in self._boundary[1:]]
        bypass = [np.zeros((len(flat_maps), *shape), np.float32) for shape in shapes]
        return np.asarray(self._values(flat_maps.reshape(-1, *self._shape), *bypass))


class PointwiseTail(LinearTail):
    """A tail whose linear part treats each position alone, and all alike: a convolution of 1 x 1.

    Then the contributions are those of one position to itself, (channels, values of a position).
    """

    @staticmethod
    def _added(channel_maps: Tensor, contributions: Tensor) -> Tensor:
        added = tf.einsum("knp,kv->knpv", channel_maps, contributions)
        return tf.reshape(added, (*tf.unstack(tf.shape(added)[:2]), prod(added.shape[2:])))

    def _probed(self) -> Array:
        *positions, channels = self._shape
        size = prod(positions)
        at_zero = self._probe(np.zeros((1, size * channels), np.float32)).reshape(size, -1)[0]
        contributions = np.empty((channels, len(at_zero)), np.float32)
        for some in batches(channels, probes_of(size * channels)):
            one_hot = np.eye(some.stop - some.start, size * channels, some.start, np.float32)
            made = self._probe(PROBE_SCALE * one_hot).reshape(len(one_hot), size, -1)[:, 0]
            contributions[some] = (made - at_zero) / PROBE_SCALE
        return contributions


def probes_of(size: int) -> int:
    """How many maps of so many values are probed in one call."""
    return max(1, min(PROBES, PROBED // size))


def _known(tensor: Tensor) -> list[int]:
    """The sizes of a tensor but for the images; what is not known is taken for 1."""
    return [size or 1 for size in tensor.shape[1:]]


def _activated(graph: Graph, end: Node, output: Tensor) -> Tensor:
    """What an end's own activation makes of its output; a softmax of scores is left out."""
    makes_scores = end.output_tensors[0] is graph.network.outputs[0]
    if not has_activation(end.operation) or (makes_scores and is_softmax(end.operation)):
        return output
    return end.operation.activation(output)
