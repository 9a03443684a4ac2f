"""Heads of attention as channels: a network cut at the heads of a keras.layers.MultiHeadAttention.

What a head makes, its context, is known inside of that layer alone. So the network is cut in a view
of it (`with_heads`), where contexts stand between two layers; a pruned copy is one of the network.
"""

import re
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.networks.cloning import copy_layer, copy_state
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Tensor
from sweep.networks.layer_types import has_heads, zero_heads
from sweep.pruning.layer_cut import Cut


class HeadCut(Cut):
    """A network cut at the heads of a MultiHeadAttention: its name, or "auto" for the last one.

    A channel is the context of a head, the maps are (n, tokens, size of a head, heads). `view` is
    the network `with_heads`, which several cuts may share.
    """

    unit = "head"

    def __init__(
        self,
        network: keras.Model,
        layer: str = "auto",
        semantics: str = "zero",
        view: keras.Model | None = None,
    ) -> None:
        names = attentions(network)
        layer = names[-1] if layer == "auto" else layer
        if layer not in names:
            Graph(network).node_of(layer)  # refuses what is not there
            raise BadInput(
                f"prune.layer is {layer!r}, and prune.unit=head; expected a "
                f"keras.layers.MultiHeadAttention: {', '.join(names)}"
            )
        super().__init__(network, layer, semantics, with_heads(network) if view is None else view)

    def silence(self, copy: keras.Model, channels: NDArray[np.int64]) -> None:
        """Zero what is read of these heads in `copy`, a clone of the network."""
        zero_heads(copy.get_layer(self.layer), channels)

    def _weights_silence(self) -> bool:
        return True


def attentions(network: keras.Model) -> list[str]:
    """The names of the MultiHeadAttention that is called, in turn; BadInput if there is none."""
    nodes = [node for node in Graph(network).nodes if has_heads(node.operation)]
    if not nodes:
        raise BadInput(
            "prune.unit is 'head', and the network has no keras.layers.MultiHeadAttention; "
            "set prune.unit=channel"
        )
    return [node.operation.name for node in nodes]


def with_heads(network: keras.Model) -> keras.Model:
    """A copy of `network` in which two layers stand for each MultiHeadAttention.

    The first, under its name, gives the contexts, (n, tokens, size, heads); the second projects
    them as it does. The first is a MultiHeadAttention too, so that masks, dropout and whatever else
    it is called with are Keras' own: all that its projection does is to move the heads to the end.
    """
    copies: dict[Layer, Layer] = {}
    projections: dict[Layer, Layer] = {}  # by what makes the contexts
    names = {layer.name for layer in network.layers}

    def copy_once(layer: Layer) -> Layer:
        if layer not in copies and has_heads(layer):
            copies[layer] = _contexts(layer)
            projections[copies[layer]] = _projection(layer, names)
        elif layer not in copies:
            copies[layer] = copy_layer(layer, layer.name)
        return copies[layer]

    def call_layer(layer: Layer, *args: Any, **kwargs: Any) -> Tensor:
        made = layer(*args, **kwargs)
        if layer not in projections:
            return made
        if isinstance(made, tuple):  # with the scores of attention
            return (projections[layer](made[0]), *made[1:])
        return projections[layer](made)

    view = keras.models.clone_model(network, clone_function=copy_once, call_function=call_layer)
    for layer, copy in copies.items():
        if copy in projections:
            _copy_attention(layer, copy, projections[copy])
        else:
            copy_state(layer, copy)
    return view


def _contexts(layer: Layer) -> Layer:
    """A MultiHeadAttention as `layer`, whose output has the shape of contexts, heads last."""
    shape = (layer.value_dim, layer.num_heads)
    copy = type(layer).from_config(layer.get_config() | {"output_shape": shape})
    copy.name = layer.name
    return copy


def _projection(layer: Layer, names: set[str]) -> Layer:
    """The output projection of `layer` for contexts, heads last, under a name not in `names`."""
    name = f"{layer.name}_output"
    while name in names:
        name += "_"
    names.add(name)
    config = layer.output_dense.get_config()
    read, kernel, made = re.split(",|->", config["equation"])
    places = len(read) - 2  # axes before those of heads and size, the batch's first
    config["equation"] = f"...{read[-1]}{read[-2]},{kernel}->...{made[places:]}"
    config["output_shape"] = config["output_shape"][places - 1 :]
    return type(layer.output_dense).from_config(config | {"name": name})


def _copy_attention(layer: Layer, contexts: Layer, projection: Layer) -> None:
    """Assign what `layer` holds to the two layers that stand for it."""
    copy_state(layer.output_dense, projection)
    kernel, *bias = contexts.output_dense.variables
    heads, size, *_ = kernel.shape
    kernel.assign(np.eye(heads * size).reshape(heads, size, heads, size).swapaxes(2, 3))
    moving = {id(variable) for variable in (kernel, *bias)}
    for new, old in zip(contexts.variables, layer.variables, strict=True):
        if id(new) not in moving:
            new.assign(old)
    for variable in bias:
        variable.assign(np.zeros(variable.shape))
