"""Hydra's configs: what they build, what of them is checked, and how a cell is called."""

import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput, joint, repairs, rows, selection, settings, strategies
from sweep.callback import functions
from sweep.callback.choices import called, names, require_one
from sweep.evidence import Order, is_oracle
from sweep.networks import shape_and_classes
from sweep.pairs import pairs
from sweep.redaction import redacted
from sweep.repairs import Repair
from sweep.stops import ValidCurve

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


def refused(error: BaseException) -> BadInput | None:
    """What Hydra says where it does not take what it is given, in a sentence; None: all else."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    composing = raised_in.is_relative_to(Path(hydra.__file__).parent)
    told = str(error)
    if not told or not (composing or isinstance(error, HydraException | OmegaConfBaseException)):
        return None
    unknown = re.search(r"Could not override '(.*)'", told)
    if unknown:
        return BadInput(f"there is no key {unknown[1]}; python run.py --help shows all")
    choice = re.search(r"Could not (?:find|load) '(.*)/(.*?)'", told)
    if choice:
        folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / choice[1]
        listed = re.findall(r"^\t(\S+)$", told.partition("Config search path")[0], re.MULTILINE)
        known = listed or sorted(path.stem for path in folder.glob("*.yaml"))
        return BadInput(f"there is no {choice[1]}={choice[2]}; expected one of {', '.join(known)}")
    if "Config group override" in told:
        given = [word for word in sys.argv[1:] if re.search(r"\bnull\b", word)]
        return BadInput(f"{' '.join(given)}: a group is not to be null; python run.py --help")
    return BadInput(" ".join(told.split()) if isinstance(error, InstantiationException) else told)


def within(key: str, path: str) -> None:
    """Raise BadInput where a folder that is written in leads out of the project by `..`.

    One that is given in full is meant.
    """
    root = os.environ["PROJECT_ROOT"]
    if ".." in Path(path).parts and not Path(os.path.abspath(path)).is_relative_to(root):
        raise BadInput(
            f"{key} is {path}, which leads out of {root}; expected a folder there, or the whole "
            f"path of another, without .."
        )


def hide(written: Iterable[Path]) -> None:
    """Take the passwords out of files that Hydra itself has written."""
    for path in written:
        told = path.read_text() if path.is_file() else ""
        if redacted(told) != told:
            path.write_text(redacted(told))


def check(cfg: DictConfig) -> None:
    """Look at all that can be wrong with a cell before anything long starts.

    Raises BadInput, or NotApplicable where the order does not apply to the network.
    """
    settings.check(plain(cfg))
    for part in ("data", "badnet", "cache"):
        within(f"{part}.folder", cfg[part].get("folder") or "")
    within("tracking.uri", (cfg.tracking.uri or "").removeprefix("sqlite:///"))
    source = build(cfg.data, cache=build(cfg.cache))
    attack, suspect = build(cfg.attack), build(cfg.badnet)
    order, stop, mended = build(cfg.prune.order), build(cfg.prune.stop), chosen(cfg)
    functions.require_one_argument(attack.triggers, order, stop, mended)
    suspect.check(source, attack)
    network = suspect.blueprint(source.shape, source.classes)
    shape, classes = shape_and_classes(network)
    source.check(shape, classes)
    cut = joint.cut(network, cfg.prune.layer, cfg.prune.semantics)
    nothing = np.zeros((cut.channels + 1, 1), dtype=int)
    stop(ValidCurve.of(nothing, nothing[0], np.zeros(cut.channels)))
    selection.require(order, cut, recompute=cfg.prune.recompute)
    for repair in mended.values():
        repairs.require(repair, network)
    if is_oracle(order) and not suspect.trains:
        pairs(source)


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
    (told,) = rows.settings([overrides])
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
