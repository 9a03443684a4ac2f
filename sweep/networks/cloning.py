"""Copies of networks and of layers, in the state that they are in."""

from typing import Any

import keras


def clone(network: keras.Model, **how: Any) -> keras.Model:
    """A copy of `network` with copies of its layers, under their names, in their state."""
    copies: dict[Any, Any] = {}

    def copy(layer: Any) -> Any:
        return copies.setdefault(layer, copied(layer, layer.name))

    clone = keras.models.clone_model(network, clone_function=copy, **how)
    for layer, its_copy in copies.items():
        copy_state(layer, its_copy)
    return clone


def copied(layer: Any, name: str) -> Any:
    """A new layer, or operation in its place, of the same kind and settings under that name."""
    copy = type(layer).from_config(layer.get_config())
    copy.name = name
    return copy


def copy_state(layer: Any, copy: Any) -> None:
    """Give a layer's copy all its variables, those that are no weights too (seeds)."""
    for ours, theirs in zip(_variables(copy), _variables(layer), strict=True):
        ours.assign(theirs)
    if hasattr(copy, "finalize_state"):  # a Normalization reads its weights only here
        copy.finalize_state()


def _variables(operation: Any) -> list[Any]:
    return getattr(operation, "variables", [])  # keras.ops have none
