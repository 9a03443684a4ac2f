"""Around all cells of a multirun: checked, counted, resumed, and compared at the end."""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import mlflow
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sweep import BadInput, NotApplicable, report, terminal, tracking
from sweep.cli.checks import check, checked_parts, require_inside_project
from sweep.cli.choices import require_unambiguous
from sweep.cli.configs import command, overrides_text, to_dict
from sweep.cli.grid import SWEEPER, config_of_cell, overrides_of_cells, redact_files
from sweep.cli.identity import digest
from sweep.cli.jobs import (
    connect,
    exit_with_error,
    stop_on_logging_failure,
)
from sweep.launching.plans import Plan
from sweep.results import browser, cells, comparison, outcome
from sweep.results.cells import Cell
from sweep.tracking import run_history

FAILURES = {"FAILED": "failed", "KILLED": "was cut off", cells.MISSING: "did not run"}


def _require_folders_inside_project(hydra: DictConfig, mode: str) -> None:
    """Raise BadInput where a folder of Hydra's own leads out of the project."""
    require_inside_project(f"hydra.{mode}.dir", hydra[mode].dir)
    subfolders = {"hydra.output_subdir": hydra.output_subdir}
    subfolders["hydra.sweep.subdir"] = to_dict(hydra.sweep, resolve=False)["subdir"]
    for key, folder in subfolders.items():
        if ".." in Path(folder or "").parts:
            raise BadInput(f"{key} is {folder}, which leads out of hydra.{mode}.dir")


def _require_sweeper(hydra: DictConfig) -> None:
    """Raise BadInput where another sweeper would run other cells than those that are compared."""
    target, chosen = hydra.sweeper.get("_target_"), hydra.runtime.choices["hydra/sweeper"]
    if target != SWEEPER:
        came = f"._target_={target}" if chosen == "basic" else f"={chosen}"
        raise BadInput(
            f"the sweeper came as hydra/sweeper{came}; expected hydra/sweeper=basic, whose grid is "
            f"what is checked before and compared at the end: leave the other one out"
        )


def _multirun_file(config: DictConfig) -> Path:
    """The file in which Hydra writes down a multirun."""
    return Path(config.hydra.sweep.dir) / "multirun.yaml"


def _checked_digest(cfg: DictConfig) -> str:
    """The digest of a cell that can be run, or skipped; BadInput for all others."""
    parts = checked_parts(cfg)
    with suppress(NotApplicable):
        check(cfg, parts)
    return digest(cfg, parts)


class Sweep(Callback):
    """Around all cells of a multirun."""

    current: "Sweep | None" = None  # that has started, and not ended

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: a launcher sends it to its workers, and these know of their cells alone."""
        return {}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            _require_folders_inside_project(config.hydra, "run")
            require_unambiguous(config.hydra.runtime.choices)
        except BadInput as error:
            exit_with_error(error)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            _require_folders_inside_project(config.hydra, "sweep")
            _require_sweeper(config.hydra)
            self._start(config)
        except Exception as error:
            exit_with_error(error)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.runtime.output_dir, config.hydra.output_subdir or "")
        redact_files([*folder.glob("*.yaml"), _multirun_file(config)])

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if Sweep.current is self and config.hydra.job.num in self.plan.todo:
            self.done(1)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.end():
            raise SystemExit(1)

    def end(self, status: str | None = None) -> bool:
        """Compare the cells and end the parent; return whether a cell is missing or failed.

        `status` None: FINISHED, FAILED where a cell is missing or failed.
        """
        self.bar.close()
        redact_files([_multirun_file(self.config)])  # perhaps no job has started
        if status:
            self._end_parent_run(status)
        try:
            table, paired_note = self._compare()
        except Exception as error:
            if status:
                raise
            stop_on_logging_failure(error)
            with suppress(Exception):
                self._end_parent_run("FAILED")
            exit_with_error(error)
        statuses = [cell.status for cell in table]
        bad = [status for status in statuses if status not in ("FINISHED", tracking.SKIPPED)]
        if not status:
            self._end_parent_run("FAILED" if bad else "FINISHED")
        Sweep.current = None
        self._print_comparison(table, paired_note)
        if bad:
            counts = [f"{bad.count(s)} {words}" for s, words in FAILURES.items() if s in bad]
            terminal.print_line(
                f"Of {len(table)} cells {' and '.join(counts)}; the same command again runs these "
                f"alone."
            )
        return bool(bad)

    def _start(self, config: DictConfig) -> None:
        """Check all cells, plan which are to be run, and create the parent run."""
        self.config, self.overrides = config, overrides_of_cells(config)
        table = cells.cells_of(self.overrides, [])
        varying = cells.distinguishing_keys(table)
        cfg, digests = self._check_cells(config, varying)
        self.experiment = connect(cfg)
        self.published = cfg.published
        dead_count = run_history.mark_dead_runs(self.experiment)
        if dead_count:
            runs = "run" if dead_count == 1 else "runs"
            terminal.print_line(f"{dead_count} {runs} whose process had died: now KILLED")
        self.plan = Plan.of(
            self.experiment, digests, varying, rerun=cfg.rerun, models=cfg.tracking.models
        )
        terminal.print_line(self.plan.sentence)
        if cfg.dry_run:
            self._print_plan(varying)
            raise SystemExit(0)
        swept = [f"{key}={','.join(cells.distinct_values(table, key))}" for key in varying]
        tags = tracking.source_tags()
        tags |= {"overrides": " ".join(config.hydra.overrides.task), "cells": len(table)}
        self.parent = mlflow.MlflowClient().create_run(
            self.experiment,
            run_name="sweep " + ", ".join(swept),
            tags={key: tracking.tag_value(value) for key, value in tags.items()},
        )
        self.bar = ExitStack()
        Sweep.current = self
        self.plan.write(Path(config.hydra.sweep.dir), self.parent.info.run_id)
        self.done = self.bar.enter_context(
            terminal.progress_bar("sweep", len(self.plan.todo), "cells")
        )

    def _check_cells(self, config: DictConfig, varying: list[str]) -> tuple[DictConfig, list[str]]:
        """The config of the first cell, and the digest of each.

        A cell to which its order does not apply may stay; it will be skipped. Raises BadInput, with
        every sentence there is, where a cell can't be run.
        """
        configs, digests = [], []
        wrong: dict[str, list[str]] = {}
        with terminal.progress("checking", len(self.overrides), "cells") as done:
            for overrides in self.overrides:
                cfg = config_of_cell(config, overrides)
                configs.append(cfg)
                try:
                    digests.append(_checked_digest(cfg))
                except BadInput as error:
                    wrong.setdefault(str(error), []).append(overrides_text(overrides, varying))
                done(1)
        if wrong:
            sentences = [
                reason if len(configs) == 1 else f"{reason}\n  (in: {'; '.join(places)})"
                for reason, places in wrong.items()
            ]
            raise BadInput("nothing was started.\n" + "\n".join(sentences))
        return configs[0], digests

    def _print_plan(self, varying: list[str]) -> None:
        """Print what each cell would be: run, or reused."""
        lines = [
            [
                str(job),
                "run" if job in self.plan.todo else "reused",
                overrides_text(overrides, varying),
            ]
            for job, overrides in enumerate(self.overrides)
        ]
        terminal.print_table(["cell", "", ""], lines, 3)

    def _compare(self) -> tuple[list[Cell], str]:
        """Log what the sweep came to, with a row for each cell, also those that are missing.

        With the rows a line on paired.csv; "" where there is none.
        """
        runs = run_history.child_runs(self.experiment, self.parent.info.run_id)
        reused = self.plan.reused_runs(runs)
        table = cells.cells_of(self.overrides, runs, reused)
        all_runs = [*runs, *reused.values()]
        repeat = command(self.config.hydra.overrides.task, "-m")
        with tracking.Log(self.parent) as log:
            log.tags(cells.reused_tags(reused))
            paired_note = outcome.log_outcome(log, table, all_runs, repeat)
        self.view = browser.save_view(self.parent, table, all_runs)
        report.log(self.parent)
        return table, paired_note

    def _print_comparison(self, table: list[Cell], paired_note: str) -> None:
        comparison.print_comparison(table)
        if self.published:
            comparison.print_published(table, to_dict(self.published, resolve=False))
        if paired_note:
            terminal.print_line(paired_note)
        report.print_place(self.parent)
        browser.print_links(self.view)

    def _end_parent_run(self, status: str) -> None:
        mlflow.MlflowClient().set_terminated(self.parent.info.run_id, status)
