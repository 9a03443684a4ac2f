"""What a cell's config comes to in MLflow: its params, and the name of its run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput, strategies
from sweep.cli.choices import chosen_names
from sweep.cli.parts import chosen_repairs
from sweep.results import cells

OmegaConf.register_new_resolver("strategies", strategies.listing, replace=True)  # for --help


def to_dict(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Return `cfg` as dicts and lists, with what it refers to in its place where `resolve`."""
    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=resolve))
    except OmegaConfBaseException as error:
        raise BadInput(str(error).splitlines()[0]) from error


def params(cfg: DictConfig) -> dict[str, Any]:
    """The flattened config without published numbers, and each group's choice by its name."""
    config = to_dict(cfg)
    config.pop("published")
    params = dict(_flattened(config))
    params |= {group.replace("/", "."): name for group, name in chosen_names(cfg).items()}
    return params | {"repair": f"[{','.join(chosen_repairs(cfg))}]"}


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value by the keys that lead to it, joined by dots."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flattened(value, f"{key}.")
        elif not key.endswith("_partial_"):
            yield key, value


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
    (settings,) = cells.shown_settings([overrides])
    return ", ".join(f"{key}={value}" for key, value in settings.items() if key in keys)
