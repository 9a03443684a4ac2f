"""Keras models inside Keras models, flattened: the same function in one graph of layers.

Layers are copied, the given network is never changed. What has no graph of its own stays one
layer: a subclassed model, a wrapper (TimeDistributed), a model that is called with a mask.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras

from sweep.networks.cloning import copy_layer, copy_state
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import (
    Layer,
    Node,
    Tensor,
    has_stock_call,
    is_functional,
    layer_that_made,
    takes_training,
    wrapped_functional,
)

Path = tuple[str, ...]  # the names of the models around a layer, outermost first


def flattened(network: keras.Model) -> keras.Model:
    """Return `network`, functional, with the layers of the models inside it in its own graph.

    A layer that is used several times stays one layer. An inner layer keeps its name where no
    other one has it, and else is named after the models around it too: "inner.conv". A network
    without models inside is returned as it is.
    """
    if not any(_inner_model(node) for node in Graph(network).nodes):
        return network
    return _Flattening(network).network


class _Flattening:
    """The copies of all layers of a network, by the layer, and the flat `network` of them."""

    def __init__(self, network: keras.Model) -> None:
        names = _names(network)
        self._taken = set(names.values())
        self._copies = {layer: copy_layer(layer, name) for layer, name in names.items()}
        inputs = [self._copies[layer_that_made(tensor)].output for tensor in network.inputs]
        outputs = self._run(network, inputs)
        inputs = keras.tree.pack_sequence_as(network.input, inputs)
        outputs = keras.tree.pack_sequence_as(network.output, outputs)
        self.network = keras.Model(inputs, outputs, name=network.name)
        for layer, copy in self._copies.items():
            copy_state(layer, copy)

    def _run(
        self,
        model: keras.Model,
        inputs: list[Tensor],
        around: Path = (),
        training: bool | None = None,
    ) -> list[Tensor]:
        """Return a model's outputs: the copies of its layers are called on `inputs`.

        A model hands `training` on to its layers where it was called with one.
        """
        known = dict(zip(map(id, model.inputs), inputs, strict=True))
        for node in Graph(model).nodes:
            if node.is_input:
                continue
            args, kwargs = node.arguments.fill_in(known)
            if training is not None and takes_training(node.operation):
                kwargs["training"] = training
            inner = _inner_model(node)
            if inner is None:
                results = self._copies[node.operation](*args, **kwargs)
            else:
                path = (*around, node.operation.name)
                tensors = _called_on(inner, args[0] if args else kwargs["inputs"])
                pairs = zip(tensors, inner.inputs, strict=True)
                inner_inputs = [self._cast(tensor, expected, path) for tensor, expected in pairs]
                results = self._run(inner, inner_inputs, path, kwargs.get("training"))
            known.update(
                zip(map(id, node.output_tensors), keras.tree.flatten(results), strict=True)
            )
        return [known[id(tensor)] for tensor in model.outputs]

    def _cast(self, tensor: Tensor, expected: Tensor, around: Path) -> Tensor:
        """Return `tensor` in the type that the model `around` casts its input to."""
        if tensor.dtype == expected.dtype:
            return tensor
        cast = keras.ops.cast(tensor, expected.dtype)
        layer_that_made(cast).name = _free((*around, "cast"), self._taken)
        return cast


def _inner_model(node: Node) -> Any | None:
    """Return the functional model that `node` calls, if it can be flattened; else None."""
    model = wrapped_functional(node.operation)
    if not (has_stock_call(node.operation) and is_functional(model)):
        return None
    has_inputs_alone = len(node.arguments.args) <= 1 and _set_keywords(node) <= {
        "inputs",
        "training",
    }
    return model if has_inputs_alone else None


def _set_keywords(node: Node) -> set[str]:
    """Return the keywords that `node` is called with, but for those whose values are all None."""
    return {
        name
        for name, value in node.arguments.kwargs.items()  # a mask may be a None for each input
        if any(leaf is not None for leaf in keras.tree.flatten(value))
    }


def _layers(model: keras.Model, around: Path = ()) -> Iterator[tuple[Layer, Path]]:
    """Yield each layer or operation of `model` and of those inside, with the models around it."""
    for node in Graph(model).nodes:
        inner = _inner_model(node)
        if inner is not None:
            yield from _layers(inner, (*around, node.operation.name))
        elif not (node.is_input and around):
            yield node.operation, around


def _names(network: keras.Model) -> dict[Layer, str]:
    """Return the name of each layer in the flat network."""
    paths: dict[Layer, Path] = {}
    for layer, around in _layers(network):
        paths[layer] = min(around, paths.get(layer, around), key=len)
    uses = Counter(layer.name for layer in paths)
    kept = {layer: layer.name for layer, path in paths.items() if not path or uses[layer.name] == 1}
    taken = set(kept.values())
    others = {
        layer: _free((*path, layer.name), taken)
        for layer, path in paths.items()
        if layer not in kept
    }
    return kept | others


def _free(path: Path, taken: set[str]) -> str:
    """Return a name that no other layer has, which is `taken` from now on."""
    name = ".".join(path)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _called_on(model: keras.Model, inputs: Any) -> list[Tensor]:
    """Return the tensors that `model` is called on, in the order of its inputs."""
    if isinstance(inputs, dict) and not isinstance(model.input, dict):
        return [inputs[tensor.name] for tensor in model.inputs]
    return keras.tree.flatten(inputs)
