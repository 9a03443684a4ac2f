"""Around all cells of a multirun: checked, counted, and compared at the end."""

import atexit
import json
from pathlib import Path
from typing import Any

import mlflow
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput, NotApplicable, comparison, paired, rows, terminal, tracking
from sweep.callback.configs import cells, check, told
from sweep.callback.jobs import PARENT, connect, fail


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
                wrong.setdefault(str(error), []).append(told(overrides, varying))
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
