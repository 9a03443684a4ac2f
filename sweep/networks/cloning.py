"""Copies of networks and of layers, in the state that they are in."""

from typing import Any

import keras

from sweep.networks.keras_internals import Layer


def clone(network: keras.Model, **kwargs: Any) -> keras.Model:
    """Return a copy of `network` with copies of its layers, under their names, in their state.

    `kwargs` go on to `keras.models.clone_model`.
    """
    copies: dict[Layer, Layer] = {}

    def copy_once(layer: Layer) -> Layer:
        return copies.setdefault(layer, copy_layer(layer, layer.name))

    cloned = keras.models.clone_model(network, clone_function=copy_once, **kwargs)
    for layer, its_copy in copies.items():
        copy_state(layer, its_copy)
    return cloned


def copy_layer(layer: Layer, name: str) -> Layer:
    """Return a new layer of that name, or operation in its place, of the same type and settings."""
    copy = type(layer).from_config(layer.get_config())
    copy.name = name
    return copy


def copy_state(layer: Layer, copy: Layer) -> None:
    """Assign to a layer's copy all its variables, those that are no weights too (seeds)."""
    for new, old in zip(_variables(copy), _variables(layer), strict=True):
        new.assign(old)
    if hasattr(copy, "finalize_state"):  # a Normalization reads its weights only here
        copy.finalize_state()


def _variables(operation: Layer) -> list[keras.Variable]:
    return getattr(operation, "variables", [])  # keras.ops have none
