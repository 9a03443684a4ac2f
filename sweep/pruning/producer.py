"""How the channels at a site are made: by which weights and BatchNormalization, from what values.

A "way" is the nodes from the layer that produces the channels through those that pass them on, to
the site (`Graph.way`). All that is told here is what orders ask for beside the maps.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import outputs
from sweep.networks.forward import compiled, feature_extractor, image_spec
from sweep.networks.graph import Graph
from sweep.networks.layer_types import (
    SEPARABLE,
    filters,
    has_activation,
    is_activation,
    is_norm,
    makes_channels,
)
from sweep.pruning.evidence import Batches, Norm

Array = NDArray[np.float32]


class Producer:
    """What leads to the channels at the end of `way` in a network."""

    def __init__(self, graph: Graph, way: list[Any]) -> None:
        self._graph, self._way = graph, way
        self.layer = way[0].operation if makes_channels(way[0].operation) else None
        norms = [node for node in way if is_norm(node.operation)]
        self._norm = norms[-1] if norms else None
        acting = [node for node in way if _acts(node.operation)]
        self._acting = acting[-1] if acting else None  # what makes activations of the values

    @property
    def weights(self) -> Array | None:
        """Kernel of the nearest layer that produces the channels, (..., channels), or None."""
        return None if self.layer is None else filters(self.layer)

    @property
    def differentiable(self) -> bool:
        """Whether there is a gradient by `weights`; a separable filter is a product of two."""
        return self.layer is not None and type(self.layer) not in SEPARABLE

    @property
    def has_preactivation(self) -> bool:
        """Whether the channels before their activation are known: no layer hides them."""
        act = self._acting and self._acting.operation
        return act is None or is_activation(act) or makes_channels(act)

    def norm(self, inputs: Batches) -> Norm | None:
        """The last BatchNormalization on the way, None without one; `inputs` are those it gets."""
        if self._norm is None:
            return None
        layer = self._norm.operation
        mean = layer.moving_mean.numpy()
        gamma, beta = (
            np.full_like(mean, default) if weight is None else weight.numpy()
            for weight, default in ((layer.gamma, 1), (layer.beta, 0))
        )
        return Norm(gamma, beta, mean, layer.moving_variance.numpy(), inputs)

    def norm_inputs(self, pixels: Array) -> Array:
        """What the BatchNormalization gets of these images, (n, ..., channels)."""
        return np.asarray(self._to_norm(pixels)[0])

    def preactivations(self, pixels: Array) -> Array:
        """The channels before the last activation on the way, (n, ..., channels)."""
        return np.asarray(self._to_activation(pixels)[0])

    def gradients(self, pixels: Array, labels: NDArray[np.int64]) -> Array:
        """Gradient of the mean cross-entropy on these images by `weights`, in their shape."""
        return filters(self.layer, np.asarray(self._gradient(pixels, labels)))

    @cached_property
    def _to_norm(self) -> Callable[..., list[Any]]:
        return feature_extractor(self._graph.network, self._norm.input_tensors)

    @cached_property
    def _to_activation(self) -> Callable[..., list[Any]]:
        network, node = self._graph.network, self._acting
        if node is None:
            return feature_extractor(network, self._way[-1].output_tensors)
        if is_activation(node.operation):
            return feature_extractor(network, node.input_tensors)
        inputs = keras.Model(network.inputs[0], node.input_tensors)

        def without_activation(pixels: Any) -> list[Any]:
            made = keras.tree.flatten(inputs(pixels, training=False))
            known = dict(zip(map(id, node.input_tensors), made, strict=True))
            self._graph.run([node], known, without_activation=True)
            return [known[id(node.output_tensors[0])]]

        return compiled(without_activation, [image_spec(network)])

    @cached_property
    def _gradient(self) -> Callable[..., Any]:
        network, kernel = self._graph.network, self.layer.kernel.value

        def gradient(pixels: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                loss = outputs.cross_entropy(network, pixels, labels)
            return tape.gradient(loss, kernel)

        return compiled(gradient, [image_spec(network), tf.TensorSpec((None,), tf.int64)])


def _acts(layer: Any) -> bool:
    return is_activation(layer) or has_activation(layer)
