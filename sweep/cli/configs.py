"""What a cell's config comes to in MLflow: its params, and the name of its run."""

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput, strategies
from sweep.cli.choices import chosen_names
from sweep.cli.parts import chosen_repairs
from sweep.results import cells

OmegaConf.register_new_resolver("strategies", strategies.listing, replace=True)  # for --help


def plain(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """`cfg` as dicts and lists, with what it refers to in its place where `resolve`."""
    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=resolve))
    except OmegaConfBaseException as error:
        raise BadInput(str(error).splitlines()[0]) from error


def params(cfg: DictConfig) -> dict[str, Any]:
    """The flattened config without published numbers, and each group's choice by its name."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else key, value)
        elif not prefix.endswith("_partial_"):
            flat[prefix] = node

    config = plain(cfg)
    config.pop("published")
    walk("", config)
    choices = {group.replace("/", "."): name for group, name in chosen_names(cfg).items()}
    return flat | choices | {"repair": f"[{','.join(chosen_repairs(cfg))}]"}


def run_name(cfg: DictConfig, overrides: Sequence[str], varying: Sequence[str] | None) -> str:
    """A run's name: in a sweep what tells it from its siblings, alone its strategy."""
    if varying is not None:
        return overrides_text(overrides, varying)
    choices = chosen_names(cfg)
    layers = cfg.prune.layer
    where = layers if isinstance(layers, str) else "+".join(layers)
    if cfg.inspect:
        return f"inspect {where}"
    return f"{choices['prune/order']} {choices['prune/stop']} {where}"


def overrides_text(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """The overrides of some keys, in one line."""
    (settings,) = cells.settings([overrides])
    return ", ".join(f"{key}={value}" for key, value in settings.items() if key in keys)
