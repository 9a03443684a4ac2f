"""Hydra's configs: what they build, what of them is checked, and how a cell is called."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput, joint, repairs, selection, settings, strategies
from sweep.evidence import Order, is_oracle
from sweep.networks import shape_and_classes
from sweep.pairs import pairs
from sweep.repairs import Repair
from sweep.stops import ValidCurve

OmegaConf.register_new_resolver("strategies", strategies.text, replace=True)  # for --help


def build(node: DictConfig, **more: Any) -> Any:
    """Hydra's instantiate; BadInput of the target comes through as it is."""
    try:
        return instantiate(node, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from None
        raise


def check(cfg: DictConfig) -> None:
    """Look at all that can be wrong with a cell before anything long starts.

    Raises BadInput, or NotApplicable where the order does not apply to the network.
    """
    settings.check(plain(cfg))
    source = build(cfg.data, cache=build(cfg.cache))
    attack, suspect = build(cfg.attack), build(cfg.badnet)
    suspect.check(source, attack)
    network = suspect.blueprint(source.shape, source.classes)
    shape, classes = shape_and_classes(network)
    source.check(shape, classes)
    cut, order = joint.cut(network, cfg.prune.layer, cfg.prune.semantics), build(cfg.prune.order)
    nothing = np.zeros((cut.channels + 1, 1), dtype=int)
    build(cfg.prune.stop)(ValidCurve.of(nothing, nothing[0], np.zeros(cut.channels)))
    selection.require(order, cut, recompute=cfg.prune.recompute)
    for repair in chosen(cfg).values():
        repairs.require(repair, network)
    if is_oracle(order) and not suspect.trains:
        pairs(source)


def chosen(cfg: DictConfig) -> dict[str, Repair]:
    """The repairs that are chosen, in turn; what is set of others does not matter, as in a grid."""
    return {name: repair for name, repair in build(cfg.repair).items() if callable(repair)}


def orders(cfg: DictConfig) -> dict[str, Order]:
    """All orders of conf/prune/order that look at clean images alone, by name; the one of `cfg`

    as it is set there.
    """
    folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / "prune" / "order"
    own = HydraConfig.get().runtime.choices["prune/order"]
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
    choices = {
        group.replace("/", "."): choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if not group.startswith("hydra/") and choice is not None
    }
    del choices["prune"]
    return flat | choices | {"repair": f"[{','.join(chosen(cfg))}]"}


def name(cfg: DictConfig, overrides: Sequence[str], varying: Sequence[str] | None) -> str:
    """A run's name: in a sweep what tells it from its siblings, alone its strategy."""
    if varying is not None:
        return told(overrides, varying)
    choices = HydraConfig.get().runtime.choices
    layers = cfg.prune.layer
    where = layers if isinstance(layers, str) else "+".join(layers)
    if cfg.inspect:
        return f"inspect {where}"
    return f"{choices['prune/order']} {choices['prune/stop']} {where}"


def told(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """The overrides of some keys, in one line."""
    return ", ".join(item for item in overrides if item.lstrip("+").split("=")[0] in keys)


def cells(config: DictConfig) -> Iterator[tuple[list[str], DictConfig]]:
    """The cells that Hydra's own sweeper makes of a multirun: overrides and composed config."""
    loader = GlobalHydra.instance().config_loader()
    params = dict(config.hydra.sweeper.get("params") or {})
    arguments = [f"{key}={value}" for key, value in params.items()]
    arguments += config.hydra.overrides.task
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    for overrides in BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]:
        cfg = loader.load_sweep_config(config, list(overrides))
        with_hydra = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        yield list(overrides), with_hydra
