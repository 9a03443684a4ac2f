"""What is used of Keras beyond its public names, and the types of its graph.

Private names of Keras stand in this module alone, so that a new version is looked through here.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import keras
from keras.src.models.functional import Functional

#: A symbolic tensor of a graph, or the value that one has while the graph runs: Keras and
#: TensorFlow share no type of their own for these.
Tensor: TypeAlias = Any
#: A layer, or an operation (`keras.ops`) that stands in its place in a graph.
Layer: TypeAlias = Any


class Node(Protocol):
    """One call of a layer in a functional model, as Keras keeps it."""

    operation: Layer
    input_tensors: Sequence[Tensor]
    output_tensors: Sequence[Tensor]
    arguments: Any
    is_input: bool


def nodes_in_forward_order(model: keras.Model) -> list[Node]:
    """Return the nodes of a functional or Sequential model, from its inputs to its outputs."""
    by_depth = wrapped_functional(model)._nodes_by_depth  # depth counts from the output
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def wrapped_functional(model: Layer) -> Any:
    """Return the functional model that a Sequential wraps; any other layer as it is."""
    return getattr(model, "_functional", model)


def has_stock_call(layer: Layer) -> bool:
    """Return whether `layer` is a functional or Sequential model that overrides no `call`."""
    return getattr(type(layer), "call", None) in (Functional.call, keras.Sequential.call)


def is_functional(model: Any) -> bool:
    """Return whether `model` is a functional model, which a Sequential only wraps."""
    return isinstance(model, Functional)


def layer_that_made(tensor: Tensor) -> Layer:
    """Return the layer, or the operation in its place, whose call made a symbolic tensor."""
    return tensor._keras_history.operation


def takes_training(layer: Layer) -> bool:
    """Return whether the call of `layer` takes the argument `training`."""
    return getattr(layer, "_call_has_training_arg", False)


def layers_at_all_depths(network: keras.Model) -> list[Layer]:
    """Return the network's operations and all its layers, also those inside of wrappers."""
    return [*network.operations, *network._flatten_layers()]


def seed_states(network: keras.Model) -> list[keras.Variable]:
    """Return the states of all seed generators in `network`, (2,) each; assign them to set seeds.

    They are the variables that are no weights, whatever their names.
    """
    weights = {id(weight) for weight in network.weights}
    return [variable for variable in network.variables if id(variable) not in weights]


def is_stock_operation(layer: Layer) -> bool:
    """Return whether `layer` is an operation of `keras.ops`, by the module of its class."""
    return type(layer).__module__.startswith("keras.src.ops.")


def is_stock_activation(function: Any) -> bool:
    """Return whether `function` is one of Keras' own activations, by its module."""
    module = getattr(function, "__module__", None) or ""  # a custom one may have none
    return module.startswith("keras.src.activations.")
