"""Hydra's configs: what they build, what of them is checked, and how a cell is called."""

import inspect
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput, strategies
from sweep.cli import functions
from sweep.cli.choices import called, names, require_one
from sweep.pruning.evidence import Order
from sweep.pruning.requirements import is_oracle
from sweep.redaction import redacted
from sweep.repairs.applicability import Repair
from sweep.results import cells

SWEEPER = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"  # whose cells `grid` gives

OmegaConf.register_new_resolver("strategies", strategies.text, replace=True)  # for --help


def build(node: DictConfig, **more: Any) -> Any:
    """Hydra's instantiate; BadInput of the target comes through as it is.

    Raises BadInput also where a function does not take what is set for it.
    """
    try:
        built = instantiate(node, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from None
        told = functions.wrong(error)
        if told:
            raise BadInput(told) from error
        raise
    for made in built.values() if isinstance(built, DictConfig) else [built]:
        if isinstance(made, partial):
            _require_settings(made)
    return built


def _require_settings(made: partial) -> None:
    """Raise BadInput where a function that is called later does not take its settings."""
    signature = inspect.signature(made.func)
    try:
        signature.bind_partial(*made.args, **made.keywords)
    except TypeError as error:
        own = [one.name for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
        known = f"; it takes {', '.join(own)}" * bool(own)
        raise BadInput(f"{made.func.__name__} {error}{known}") from None


def hide(written: Iterable[Path]) -> None:
    """Take the passwords out of files that Hydra itself has written."""
    for path in written:
        told = path.read_text() if path.is_file() else ""
        if redacted(told) != told:
            path.write_text(redacted(told))


def chosen(cfg: DictConfig) -> dict[str, Repair]:
    """The repairs that are chosen, in turn; what is set of others does not matter, as in a grid."""
    built = {name: repair for name, repair in build(cfg.repair).items() if callable(repair)}
    return {called("repair", name, cfg.repair[name]): repair for name, repair in built.items()}


def orders(cfg: DictConfig) -> dict[str, Order]:
    """All orders of conf/prune/order that look at clean images alone, by name; the one of `cfg`

    as it is set there.
    """
    folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / "prune" / "order"
    own = names(cfg)["prune/order"]
    nodes = {path.stem: OmegaConf.load(path) for path in sorted(folder.glob("*.yaml"))}
    built = {name: build(node) for name, node in (nodes | {own: cfg.prune.order}).items()}
    return {name: order for name, order in built.items() if not is_oracle(order)}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """`cfg` as dicts and lists, everything in it resolved."""
    try:
        return OmegaConf.to_container(cfg, resolve=True)
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
    choices = {group.replace("/", "."): name for group, name in names(cfg).items()}
    return flat | choices | {"repair": f"[{','.join(chosen(cfg))}]"}


def name(cfg: DictConfig, overrides: Sequence[str], varying: Sequence[str] | None) -> str:
    """A run's name: in a sweep what tells it from its siblings, alone its strategy."""
    if varying is not None:
        return told(overrides, varying)
    choices = names(cfg)
    layers = cfg.prune.layer
    where = layers if isinstance(layers, str) else "+".join(layers)
    if cfg.inspect:
        return f"inspect {where}"
    return f"{choices['prune/order']} {choices['prune/stop']} {where}"


def told(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """The overrides of some keys, in one line."""
    (told,) = cells.settings([overrides])
    return ", ".join(f"{key}={value}" for key, value in told.items() if key in keys)


def grid(config: DictConfig) -> list[list[str]]:
    """The overrides of each cell that Hydra's own sweeper makes of a multirun."""
    params = dict(config.hydra.sweeper.get("params") or {})
    arguments = [f"{key}={value}" for key, value in params.items()]
    arguments += config.hydra.overrides.task
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (cells,) = BasicSweeper.split_arguments(parser.parse_overrides(arguments), max_batch_size=None)
    return [list(overrides) for overrides in cells]


def composed(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of one cell of a multirun."""
    cfg = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    require_one(cfg.hydra.runtime.choices)
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
