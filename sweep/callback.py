"""One sweep: every cell checked before the first runs, a parent run, the comparison at the end.

`tracked` makes a cell out of the story in run.py; `Sweep` is the Hydra callback around all cells.
Hydra only warns of an exception in a callback, so errors leave here as SystemExit.
"""

import atexit
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import (
    BadInput,
    NotApplicable,
    comparison,
    joint,
    paired,
    repairs,
    rows,
    selection,
    settings,
    strategies,
    terminal,
    tracking,
)
from sweep.evidence import is_oracle, threat_model
from sweep.networks import shape_and_classes
from sweep.pairs import pairs
from sweep.stops import ValidCurve

OmegaConf.register_new_resolver("strategies", strategies.text, replace=True)  # for --help

PARENT = "parent.json"  # in the sweep's folder: how its cells, in whatever process, find the parent


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
    for repair in build(cfg.repair).values():
        repairs.require(repair, network)
    if is_oracle(order) and not suspect.trains:
        pairs(source)


def tracked(story: Callable[[DictConfig, tracking.Log], None]) -> Callable[[DictConfig], None]:
    """Make a Hydra job of `story(cfg, log)`: checked, in a run of its own, errors in a sentence.

    In a sweep a failing cell is marked and the next goes on; alone it ends the program.
    """

    @wraps(story)
    def job(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        alone = hydra.mode == RunMode.RUN
        try:
            if alone:
                check(cfg)
                sweep = {"parent": None, "experiment": connect(cfg), "varying": None}
            else:
                sweep = json.loads((Path(hydra.sweep.dir) / PARENT).read_text())
                connect(cfg)
            with tracking.run(
                sweep["experiment"],
                name=name(cfg, hydra.overrides.task, sweep["varying"]),
                params=params(cfg),
                tags={
                    "job": 0 if alone else hydra.job.num,
                    "sweep": sweep["parent"] or "none",
                    "threat_model": threat_model(build(cfg.prune.order)),
                },
                parent=sweep["parent"],
            ) as log:
                log.text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
                if not alone:
                    check(cfg)
                story(cfg, log)
            if alone:
                show(hydra.overrides.task, log)
        except Exception as error:
            if alone:
                fail(error)
            if not isinstance(error, BadInput):
                traceback.print_exc()
        except KeyboardInterrupt:
            print("prunesweep: interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return job


def show(overrides: Sequence[str], log: tracking.Log) -> None:
    """Print the one row of a cell that ran alone."""
    comparison.show(rows.rows([overrides], [mlflow.get_run(log.run_id)]))
    terminal.say(f"Look at the run in a browser: {tracking.how_to_look()}", wrap=False)


def fail(error: Exception) -> None:
    """End the program with `error`: one sentence for bad input, a traceback for all else."""
    if not isinstance(error, BadInput) or os.environ.get("HYDRA_FULL_ERROR"):
        traceback.print_exception(error)
        raise SystemExit(1)
    print(f"prunesweep: {error}", file=sys.stderr)
    raise SystemExit(2)


def connect(cfg: DictConfig) -> str:
    """Connect to MLflow as `cfg` says; the experiment's id."""
    root = Path(os.environ["PROJECT_ROOT"])
    return tracking.connect(cfg.tracking.uri, cfg.tracking.experiment, root)


def name(cfg: DictConfig, overrides: Sequence[str], varying: Sequence[str] | None) -> str:
    """A run's name: in a sweep what tells it from its siblings, alone its strategy."""
    if varying is not None:
        return _told(overrides, varying)
    chosen = HydraConfig.get().runtime.choices
    layers = cfg.prune.layer
    where = layers if isinstance(layers, str) else "+".join(layers)
    return f"{chosen['prune/order']} {chosen['prune/stop']} {where}"


def _told(overrides: Sequence[str], keys: Sequence[str]) -> str:
    return ", ".join(item for item in overrides if item.lstrip("+").split("=")[0] in keys)


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
    chosen = {
        group.replace("/", "."): choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if not group.startswith("hydra/") and choice is not None
    }
    del chosen["prune"]
    return flat | chosen


class Sweep(Callback):
    """Around all cells of a multirun."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            self._start(config)
        except Exception as error:
            fail(error)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            unwell = self._compare(config)
        except Exception as error:
            self._end("FAILED")
            fail(error)
        self._end("FAILED" if unwell else "FINISHED")
        if unwell:
            terminal.say(f"{unwell} of {len(self.cells)} cells failed; see the table.")
            raise SystemExit(1)

    def _start(self, config: DictConfig) -> None:
        self.cells = list(cells(config))
        table = rows.rows(self._overrides(), [])
        varying = rows.varying(table)
        wrong: dict[str, list[str]] = {}
        for overrides, cfg in self.cells:
            try:
                check(cfg)
            except NotApplicable:
                continue
            except BadInput as error:
                wrong.setdefault(str(error), []).append(_told(overrides, varying))
        if wrong:
            one = len(self.cells) == 1
            several = [e if one else f"{e}\n  (in: {'; '.join(w)})" for e, w in wrong.items()]
            raise BadInput("nothing was started.\n" + "\n".join(several))
        terminal.say(f"{len(self.cells)} cell{'s' if len(self.cells) > 1 else ''}")
        self.experiment = connect(config)
        swept = [f"{key}={','.join(rows.values(table, key))}" for key in varying]
        self.parent = mlflow.MlflowClient().create_run(
            self.experiment,
            run_name="sweep " + ", ".join(swept),
            tags={key: tracking.text(value) for key, value in tracking.origin().items()}
            | {"overrides": " ".join(config.hydra.overrides.task), "cells": str(len(table))},
        )
        atexit.register(self._abandon)
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        parent = {
            "parent": self.parent.info.run_id,
            "experiment": self.experiment,
            "varying": varying,
        }
        (folder / PARENT).write_text(json.dumps(parent))

    def _compare(self, config: DictConfig) -> int:
        """Log and print the comparison; the number of cells that failed."""
        connect(config)
        runs = tracking.children(self.experiment, self.parent.info.run_id)
        table = rows.rows(self._overrides(), runs)
        log = tracking.Log(self.parent.info.run_id)
        log.text("comparison.csv", comparison.to_csv(table))
        if any(row.measured for row in table):
            log.figure("figures/comparison.png", comparison.figure(table))
        tradeoff = comparison.tradeoff(table)
        if tradeoff is not None:
            log.figure("figures/tradeoff.png", tradeoff)
        differences, line = paired.sweep(table)
        if differences:
            log.text("paired.csv", differences)
        comparison.show(table)
        if config.published:
            comparison.show_published(table, OmegaConf.to_container(config.published))
        if differences:
            terminal.say(line)
        terminal.say(f"Compare the runs in a browser: {tracking.how_to_look()}", wrap=False)
        return sum(row.status not in ("FINISHED", tracking.SKIPPED) for row in table)

    def _overrides(self) -> list[list[str]]:
        return [overrides for overrides, _ in self.cells]

    def _end(self, status: str) -> None:
        atexit.unregister(self._abandon)
        mlflow.MlflowClient().set_terminated(self.parent.info.run_id, status)

    def _abandon(self) -> None:
        self._end("KILLED")


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
