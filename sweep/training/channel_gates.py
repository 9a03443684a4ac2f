"""A network from the channels of one layer on, each behind a gate: where masks are learned.

The gate stands where the channels are still affine: at their last BatchNormalization, or without
one at the layer that makes them. There a channel is `units * gate + shift`, the shift being beta
or the bias. What lies before is not changed by any gate, so it runs once an image.
"""

from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.layer_types import is_norm

Array = NDArray[np.float32]


class GatedNetwork:
    """`network` with a gate, and a factor of the shift, for each channel of `layer`."""

    def __init__(self, network: keras.Model, layer: str) -> None:
        self._network, self._graph = network, Graph(network)
        way = self._graph.producer_path(self._graph.fused_end(self._graph.node_of(layer)))
        norms = [node for node in way if is_norm(node.operation)]
        self._node = norms[-1] if norms else way[0]
        self._crossing = self._graph.boundary_tensors(self._node)
        affine = self._node.operation
        shift = affine.beta if norms else affine.bias
        self.batch_size = forward.batch_size(self._graph.tensors)
        self.channels = self._crossing[0].shape[-1]
        self.shift = np.zeros(self.channels, np.float32) if shift is None else shift.numpy()

    def units(self, pixels: Array) -> list[Array]:
        """What a gate is multiplied with, (n, ..., channels), and the tensors beside it."""
        return [np.asarray(tensor) for tensor in self._to_gate(pixels)]

    def loss(self, gate: Any, factor: Any, units: Any, labels: Any) -> Any:
        """Mean cross-entropy when channels are `units * gate + shift * factor`; differentiable.

        `units` are as `units` gives them; with `gate` and `factor` 1 this is the network's.
        """
        own, *beside = units
        linear = own * gate + self.shift * factor
        activation = getattr(self._node.operation, "activation", None)
        maps = linear if activation is None else activation(linear)
        known = dict(zip(map(id, self._crossing), (maps, *beside), strict=True))
        logs = outputs.run_to_log_probabilities(
            self._graph, self._graph.downstream_nodes(self._node), known
        )
        return -tf.reduce_mean(tf.gather(logs, labels, batch_dims=1))

    @cached_property
    def _to_gate(self) -> Any:
        needed = [*self._node.input_tensors, *self._crossing[1:]]
        inputs = keras.Model(self._network.inputs[0], needed)
        site, *beside = self._crossing

        def units(pixels: Any) -> list[Any]:
            made = keras.tree.flatten(inputs(pixels, training=False))
            known = dict(zip(map(id, needed), made, strict=True))
            self._graph.run([self._node], known, without_activation=True)
            return [known[id(site)] - self.shift, *(known[id(tensor)] for tensor in beside)]

        return forward.compiled(units, [forward.image_spec(self._network)])
