"""How the channels of a cut are made: by which weights and BatchNormalization, from what values.

All of it is what orders ask for beside the maps.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks import outputs
from sweep.networks.forward import compiled, feature_extractor, image_spec
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import (
    SEPARABLE,
    filters,
    has_activation,
    is_activation,
    is_norm,
    makes_channels,
)

Array = NDArray[np.float32]
Batches = Iterable[Array]


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization of the channels: gamma (x - mean) / sqrt(variance + epsilon) + beta.

    gamma, beta, and the running mean and variance are float32 (channels,); `inputs` are the x that
    it gets of the clean validation images, in batches of float32 (images, ..., channels).
    """

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    inputs: Batches

    def select(self, channels: NDArray[np.int64], inputs: Batches) -> "Norm":
        """The BatchNormalization of some of the channels alone, whose `inputs` these are."""
        gamma, beta = self.gamma[channels], self.beta[channels]
        return Norm(gamma, beta, self.mean[channels], self.variance[channels], inputs)


class Producer:
    """What leads to the channels at the end of `path`, see `PrunePoint.producer_path`.

    `layer` is the one that produces them, None where several do (a residual sum).
    """

    def __init__(self, graph: Graph, path: list[Node]) -> None:
        self._graph, self._path = graph, path
        first: Layer = path[0].operation
        self.layer: Layer | None = first if makes_channels(first) else None
        norms = [node for node in path if is_norm(node.operation)]
        self._norm = norms[-1] if norms else None
        activations = [node for node in path if _ends_in_activation(node.operation)]
        self._activation = activations[-1] if activations else None

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
        if self._activation is None:
            return True
        layer = self._activation.operation
        return is_activation(layer) or makes_channels(layer)

    def norm(self, inputs: Batches) -> Norm | None:
        """The last BatchNormalization on the path, or None; `inputs` are those that it gets."""
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
        """The channels before the last activation on the path, (n, ..., channels)."""
        return np.asarray(self._to_activation(pixels)[0])

    def gradients(self, pixels: Array, labels: NDArray[np.int64]) -> Array:
        """Gradient of the mean cross-entropy on these images by `weights`, in their shape."""
        return filters(self.layer, np.asarray(self._gradient(pixels, labels)))

    @cached_property
    def _to_norm(self) -> Callable[..., list[Tensor]]:
        if self._norm is None:
            raise ValueError("no BatchNormalization makes these channels")
        return feature_extractor(self._graph.network, self._norm.input_tensors)

    @cached_property
    def _to_activation(self) -> Callable[..., list[Tensor]]:
        network, node = self._graph.network, self._activation
        if node is None:
            return feature_extractor(network, self._path[-1].output_tensors)
        if is_activation(node.operation):
            return feature_extractor(network, node.input_tensors)
        inputs = keras.Model(network.inputs[0], node.input_tensors)

        def without_activation(pixels: Tensor) -> list[Tensor]:
            values = keras.tree.flatten(inputs(pixels, training=False))
            known = outputs.known_values(node.input_tensors, values)
            self._graph.run([node], known, without_activation=True)
            return [known[id(node.output_tensors[0])]]

        return compiled(without_activation, [image_spec(network)])

    @cached_property
    def _gradient(self) -> Callable[..., Tensor]:
        if self.layer is None:
            raise ValueError("no single layer produces these channels")
        network, kernel = self._graph.network, self.layer.kernel.value

        def gradient(pixels: Tensor, labels: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                loss = outputs.cross_entropy(network, pixels, labels)
            return tape.gradient(loss, kernel)

        return compiled(gradient, [image_spec(network), tf.TensorSpec((None,), tf.int64)])


def _ends_in_activation(layer: Layer) -> bool:
    return is_activation(layer) or has_activation(layer)
