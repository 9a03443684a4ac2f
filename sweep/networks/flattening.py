"""Keras models inside Keras models, opened: the same function in one graph of layers.

Layers are copied, the given network is never changed. What has no graph of its own stays one
layer: a subclassed model, a wrapper (TimeDistributed), a model that is called with a mask.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional

from sweep.networks.cloning import copied, copy_state
from sweep.networks.graph import Graph

Path = tuple[str, ...]  # the names of the models around a layer, outermost first


def flat(network: keras.Model) -> keras.Model:
    """`network`, functional, with every layer of the models inside it standing in its own graph.

    A layer that is used several times stays one layer. An inner layer keeps its name where no
    other one has it, and else is named after the models around it too: "inner.conv". A network
    without models inside is returned as it is.
    """
    if not any(_opened(node) for node in Graph(network).nodes):
        return network
    return _Flattening(network).network


class _Flattening:
    """The copies of all layers of a network, by the layer, and the flat `network` of them."""

    def __init__(self, network: keras.Model) -> None:
        names = _names(network)
        self._taken = set(names.values())
        self._copies = {layer: copied(layer, name) for layer, name in names.items()}
        inputs = [self._copies[tensor._keras_history.operation].output for tensor in network.inputs]
        outputs = self._run(network, inputs)
        inputs = keras.tree.pack_sequence_as(network.input, inputs)
        outputs = keras.tree.pack_sequence_as(network.output, outputs)
        self.network = keras.Model(inputs, outputs, name=network.name)
        for layer, copy in self._copies.items():
            copy_state(layer, copy)

    def _run(
        self, model: Any, inputs: list[Any], around: Path = (), training: bool | None = None
    ) -> list[Any]:
        """Call the copies of a model's layers on `inputs`; its outputs.

        A model tells its layers `training` if it was told.
        """
        known = dict(zip(map(id, model.inputs), inputs, strict=True))
        for node in Graph(model).nodes:
            if node.is_input:
                continue
            args, kwargs = node.arguments.fill_in(known)
            if training is not None and getattr(node.operation, "_call_has_training_arg", False):
                kwargs["training"] = training
            inner = _opened(node)
            if inner is None:
                made = self._copies[node.operation](*args, **kwargs)
            else:
                path = (*around, node.operation.name)
                given = _given(inner, args[0] if args else kwargs["inputs"])
                pairs = zip(given, inner.inputs, strict=True)
                entering = [self._as(tensor, expected, path) for tensor, expected in pairs]
                made = self._run(inner, entering, path, kwargs.get("training"))
            known.update(zip(map(id, node.output_tensors), keras.tree.flatten(made), strict=True))
        return [known[id(tensor)] for tensor in model.outputs]

    def _as(self, tensor: Any, expected: Any, around: Path) -> Any:
        """`tensor` of the type that the model `around` casts its input to."""
        if tensor.dtype == expected.dtype:
            return tensor
        cast = keras.ops.cast(tensor, expected.dtype)
        cast._keras_history.operation.name = _free((*around, "cast"), self._taken)
        return cast


def _opened(node: Any) -> Any | None:
    """The functional model that `node` calls, and that can be opened; None for all else."""
    model = node.operation
    graph = model._functional if isinstance(model, keras.Sequential) else model
    stock = getattr(type(model), "call", None) in (Functional.call, keras.Sequential.call)
    given = node.arguments.kwargs.items()  # with a mask of None for each input
    told = {name for name, value in given if any(v is not None for v in keras.tree.flatten(value))}
    alone = len(node.arguments.args) <= 1 and told <= {"inputs", "training"}
    return graph if stock and alone and isinstance(graph, Functional) else None


def _layers(model: Any, around: Path = ()) -> Iterator[tuple[Any, Path]]:
    """Every layer or operation of `model` and of the models inside, with the models around it."""
    for node in Graph(model).nodes:
        inner = _opened(node)
        if inner is not None:
            yield from _layers(inner, (*around, node.operation.name))
        elif not (node.is_input and around):
            yield node.operation, around


def _names(network: keras.Model) -> dict[Any, str]:
    """The name of each layer in the flat network."""
    paths: dict[Any, Path] = {}
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
    """A name that no other layer has, which is `taken` from now on."""
    name = ".".join(path)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _given(model: Any, inputs: Any) -> list[Any]:
    """The tensors that `model` is called on, in the order of its inputs."""
    if isinstance(inputs, dict) and not isinstance(model.input, dict):
        return [inputs[tensor.name] for tensor in model.inputs]
    return keras.tree.flatten(inputs)
