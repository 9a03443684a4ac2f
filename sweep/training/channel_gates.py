"""A network from the channels of one layer on, each behind a gate: where masks are learned.

The gate stands where the channels are still affine: at their last BatchNormalization, or without
one at the layer that makes them. There a channel is `units * gate + shift`, the shift being beta
or the bias. What lies before is not changed by any gate, so it runs once an image.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.networks.layer_types import is_norm

Array = NDArray[np.float32]


class GatedNetwork:
    """`network` with a gate, and a factor of the shift, for each channel of `layer`."""

    def __init__(self, network: keras.Model, layer: str) -> None:
        self._graph = Graph(network)
        path = self._graph.producer_path(self._graph.fused_end(self._graph.node_of(layer)))
        norms = [node for node in path if is_norm(node.operation)]
        self._gated = norms[-1] if norms else path[0]
        self._boundary = self._graph.boundary_tensors(self._gated)
        affine = self._gated.operation
        shift = affine.beta if norms else affine.bias
        self.batch_size = forward.batch_size(self._graph.tensors)
        self.channels = self._boundary[0].shape[-1]
        self.shift = np.zeros(self.channels, np.float32) if shift is None else shift.numpy()
        self._inputs = [*self._gated.input_tensors, *self._boundary[1:]]
        self._to_inputs = keras.Model(network.inputs[0], self._inputs)
        self._compiled_units = forward.compiled(self._units, [forward.image_spec(network)])

    def units(self, pixels: Array) -> list[Array]:
        """What a gate is multiplied with, (n, ..., channels), and the tensors that bypass it."""
        return [np.asarray(tensor) for tensor in self._compiled_units(pixels)]

    def loss(self, gate: Tensor, factor: Tensor, units: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Mean cross-entropy when channels are `units * gate + shift * factor`; differentiable.

        `units` are as `units` gives them; with `gate` and `factor` 1 this is the network's.
        """
        ungated, *bypass = units
        linear = ungated * gate + self.shift * factor
        activation = getattr(self._gated.operation, "activation", None)
        maps = linear if activation is None else activation(linear)
        logs = outputs.run_to_log_probabilities(
            self._graph,
            self._graph.downstream_nodes(self._gated),
            outputs.known_values(self._boundary, [maps, *bypass]),
        )
        return -tf.reduce_mean(outputs.of_labels(logs, labels))

    def _units(self, pixels: Tensor) -> list[Tensor]:
        inputs = keras.tree.flatten(self._to_inputs(pixels, training=False))
        known = outputs.known_values(self._inputs, inputs)
        self._graph.run([self._gated], known, without_activation=True)
        linear, *bypass = (known[id(tensor)] for tensor in self._boundary)
        return [linear - self.shift, *bypass]
