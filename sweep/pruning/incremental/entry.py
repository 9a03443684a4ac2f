"""Where a tail begins: what channels hold there, kept and pruned."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks.forward import compiled, tensor_spec
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.outputs import known_values

Array = NDArray[np.float32]


class Entry:
    """The end of a `path` of nodes behind a cut that treat each channel alone.

    The cut is behind path[0], where the map of a pruned channel holds `value`, (channels,). Where
    nodes of the path read other tensors (a residual sum), what it holds at the end differs from
    image to image.
    """

    def __init__(self, graph: Graph, path: Sequence[Node], value: Array) -> None:
        self.node = path[-1]
        self.boundary = graph.boundary_tensors(self.node)
        self._graph, self._path, self._value = graph, path, value
        self._cut = graph.boundary_tensors(path[0])

    def __call__(self, maps: Array, bypass: Sequence[Array]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The maps at the end, (n, ..., channels), those when all are pruned, and the bypass there.

        Where all images have the same pruned maps, they are one, (1, ..., channels).
        """
        pruned = np.broadcast_to(self._value, (len(maps) if bypass else 1, *maps.shape[1:]))
        if len(self._path) == 1:
            return maps, pruned, list(map(tf.convert_to_tensor, bypass))
        kept, *beside = self._run(maps, *bypass)
        return kept, self._run(pruned, *bypass)[0], beside

    @cached_property
    def _run(self) -> Callable[..., list[Tensor]]:
        return compiled(self._along, list(map(tensor_spec, self._cut)))

    def _along(self, *boundary: Tensor) -> list[Tensor]:
        known = known_values(self._cut, boundary)
        self._graph.run(self._path[1:], known)
        return [known[id(tensor)] for tensor in self.boundary]
