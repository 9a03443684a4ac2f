"""A tail that runs as a whole at each step, on maps in which pruned channels are masked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.evaluation.curve import Channels
from sweep.networks.forward import Classifier, Progress, no_progress, tensor_spec
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.outputs import known_values
from sweep.pruning.incremental.scores import run_to_scores

Array = NDArray[np.float32]


class MaskedState(NamedTuple):
    """Which channels are `kept`, (channels,), the maps, (n, ..., channels), and the bypass."""

    kept: NDArray[np.bool_]
    maps: Tensor
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

    def restore(self, state: MaskedState, channels: Channels) -> MaskedState:
        """The state of these images with some channels more."""
        return state._replace(kept=state.kept | np.isin(np.arange(len(state.kept)), channels))

    def predict(self, state: MaskedState) -> NDArray[np.int64]:
        """The predicted classes, (n,)."""
        return self._classes(state.kept, state.maps, *state.bypass)

    def predict_along(
        self,
        state: MaskedState,
        channels: Channels,
        wanted: NDArray[np.bool_],
        progress: Progress = no_progress,
    ) -> NDArray[np.int64]:
        """The classes as one after the other of `channels` is restored, where they are `wanted`.

        wanted: of which images, (len(channels), n); the classes are those of its True, in order.
        """
        found = [np.zeros(0, np.int64)]
        for channel, images in zip(channels, wanted, strict=True):
            state = self.restore(state, channel)
            if images.any():
                rows = None if images.all() else np.flatnonzero(images)
                found.append(self._classes(state.kept, state.maps, *state.bypass, rows=rows))
            progress(1)
        return np.concatenate(found)

    def _scores(self, kept: Tensor, maps: Tensor, *bypass: Tensor) -> Tensor:
        masked = tf.where(kept, maps, self._value)
        known = known_values(self._boundary, (masked, *bypass))
        return run_to_scores(self._graph, self._nodes, known)
