"""A network whose activations are clipped from above, by stock layers alone."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sweep.networks.cloning import clone
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import (
    LAYERS,
    activation_is_channelwise,
    has_activation,
    is_activation,
)

Array = NDArray[np.float32]


def activation_nodes(graph: Graph) -> list[Node]:
    """The nodes of `graph` that end in an activation, but for the one that gives the scores."""
    return [node for node in graph.nodes if _is_hidden_activation(node, graph)]


def _is_hidden_activation(node: Node, graph: Graph) -> bool:
    layer, (output, *others) = node.operation, node.output_tensors
    if others or output is graph.network.outputs[0] or None in output.shape[1:]:
        return False
    return (is_activation(layer) or has_activation(layer)) and activation_is_channelwise(layer)


def clipped(network: keras.Model, bounds: Sequence[Array]) -> keras.Model:
    """A copy of `network` in which no activation exceeds its bound.

    `bounds` are in the order of `activation_nodes`, each of the shape of an image's activations
    there. The least of x and b is `x - relu(x - b)`: a Normalization by b and 1, which learns
    nothing, a ReLU and a Subtract.
    """
    graph = Graph(network)
    bound_of = dict(zip(map(id, activation_nodes(graph)), bounds, strict=True))
    calls: Counter[str] = Counter()

    def call_layer(layer: Layer, *args: Any, **kwargs: Any) -> Tensor:
        output, name = layer(*args, **kwargs), layer.name
        nodes = [node for node in graph.nodes if node.operation.name == name]
        bound = bound_of.get(id(nodes[calls[name]]))
        calls[name] += 1
        return output if bound is None else _least(output, bound, f"{name}_{calls[name]}")

    return clone(network, call_function=call_layer)


def _least(values: Tensor, bound: Array, name: str) -> Tensor:
    """The least of `values` and `bound`, as layers called after `name`."""
    shift = LAYERS.Normalization(tuple(range(1, values.ndim)), name=f"{name}_bound")
    shift.build(values.shape)
    shift.adapt_mean.assign(np.reshape(bound, shift.adapt_mean.shape))
    shift.adapt_variance.assign(np.ones(shift.adapt_variance.shape))
    shift.finalize_state()
    excess = LAYERS.ReLU(name=f"{name}_excess")(shift(values))
    return LAYERS.Subtract(name=f"{name}_clipped")([values, excess])
