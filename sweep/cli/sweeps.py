"""Around all cells of a multirun: checked, counted, resumed, and compared at the end."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
from hydra.core.utils import JobReturn
from mlflow.entities import Run
from omegaconf import DictConfig

from sweep import BadInput, report, terminal, tracking
from sweep.cli.checks import announce, print_estimates, require_folders_inside_project
from sweep.cli.choices import require_unambiguous
from sweep.cli.configs import command, overrides_text, to_dict
from sweep.cli.grid import (
    check_cells,
    compose_once,
    config_of_cell,
    overrides_of_cells,
    require_sweeper,
)
from sweep.cli.jobs import (
    connect,
    exit_with_error,
    register_pick,
    require_name_of_sweep,
    stop_on_logging_failure,
)
from sweep.launching import claims, lost, progress, workers
from sweep.launching.launchers import Launcher
from sweep.launching.plans import Plan
from sweep.redaction import redact_files
from sweep.results import browser, cells, comparison, outcome
from sweep.results.cells import Cell
from sweep.results.pick import Pick, pick
from sweep.tracking import run_history, store


def launcher_of(hydra: DictConfig, cells: int) -> Launcher:
    """What is known of the launcher that was chosen."""
    return Launcher.of(hydra.runtime.choices["hydra/launcher"], to_dict(hydra.launcher), cells)


class Sweep(workers.InWorker):
    """Around all cells of a multirun."""

    current: "Sweep | None" = None  # that has started, and not ended
    sweeper = "basic"  # of Hydra's, the one that is expected
    plan: Plan
    workers: workers.Settings

    def __reduce__(self) -> tuple[Any, ...]:
        return workers.begin, (self.workers,)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            require_folders_inside_project(config.hydra, "run")
            require_unambiguous(config.hydra.runtime.choices)
        except BadInput as error:
            exit_with_error(error)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            require_folders_inside_project(config.hydra, "sweep")
            require_sweeper(config.hydra, self.sweeper)
            self._start(config)
        except Exception as error:
            exit_with_error(error)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if Sweep.current is self:
            self.reporter.print_new()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.end():
            raise SystemExit(1)

    def end(self, status: str | None = None) -> bool:
        """Compare the cells and end the parent; return whether a cell is missing or failed.

        `status` None: FINISHED, FAILED where a cell is missing or failed.
        """
        redact_files([workers.multirun_file(self.config)])  # perhaps no job has started
        try:
            if status:
                self.plan.stop()
                self._end_parent_run(status)
            if not self.launcher.in_process:
                lost.mark_ended_workers(self.plan, looks=20 if self.launcher.count else 1)
            self.bar.close()
            table, paired_note = self._compare()
        except Exception as error:
            if status:
                return self._print_what_was_told()
            stop_on_logging_failure(error)
            with suppress(Exception):
                self._end_parent_run("FAILED")
            exit_with_error(error)
        self._print_running(table)
        if not status:
            self._end_parent_run("FAILED" if comparison.unfinished(table) else "FINISHED")
        Sweep.current = None
        self._print_comparison(table, paired_note)
        failed = comparison.print_failures(table)
        if self.name is not None:
            register_pick(self._picked(table), self.name, cut_off=status is not None)
        return failed

    def _print_what_was_told(self) -> bool:
        """Compare the cells by what they told this process, as their runs cannot be read."""
        self.bar.close()
        table = cells.cells_of(self.overrides, reused=self.reused)
        for job, told in self.reporter.cells.items():
            table[job] = replace(Cell(**told), overrides=table[job].overrides)
        comparison.print_comparison(table)
        return comparison.print_failures(table)

    def rounds(self) -> Iterator[Sequence[int]]:
        """The cells to launch, again and again until none is left."""
        return self._rounds_of(self.plan.todo)

    def _rounds_of(self, cells: Sequence[int]) -> Iterator[Sequence[int]]:
        """These cells to launch, again and again until none of them is left."""
        left = list(cells)
        while left and not self.plan.stopped:
            yield left
            self.reporter.print_new()
            runs = run_history.child_runs(self.experiment, self.parent.info.run_id)
            runs = [run for run in runs if run.info.status != "RUNNING"]
            ended = [run for run in runs if run.info.run_id not in self.cut]
            of_plan = self.plan.left(ended)
            left = [cell for cell in of_plan if cell in cells and cell not in self.lost]
            left = self.plan.await_free(left)

    def begin_jobs(self, cells: Sequence[int]) -> int:
        """Write down the cells of Hydra's next jobs, and return the number of the first job."""
        first = len(self.plan.launched)
        self.plan = self.plan.launch(cells)
        return first

    def lose_worker(self, ended_by_pool: Collection[int]) -> None:
        """Mark the runs of workers that are dead; those in `ended_by_pool` (pids) are run again."""
        self.cut |= lost.mark_killed_workers(self.plan, self._names(), ended_by_pool)

    def lose_jobs(self, cells: Sequence[int]) -> None:
        """Mark the runs of jobs that have ended without a result; they are not launched again."""
        self.lost |= set(cells)
        lost.mark_failed_jobs(self.plan, self._names(), cells, self.launcher.logs)

    def _names(self) -> list[str]:
        """What the cells are called, by what tells them apart."""
        return [overrides_text(overrides, self.plan.varying) for overrides in self.overrides]

    def _print_running(self, table: Sequence[Cell]) -> None:
        """Say which cells may still run, and where their output lies."""
        running = [cell.run_id for cell in table if cell.status == "RUNNING" and not cell.reused]
        if running:
            where = claims.where([mlflow.get_run(run_id) for run_id in running])
            logs = f"; {self.launcher.logs} holds their output" if self.launcher.logs else ""
            terminal.print_line(f"still at work: {where}{logs}; no further cell will begin")

    def _start(self, config: DictConfig) -> None:
        """Check all cells, plan which are to be run, and create the parent run."""
        compose_once()
        self.config, self.overrides = config, overrides_of_cells(config)
        table = cells.cells_of(self.overrides)
        varying = cells.distinguishing_keys(table)
        self._require_launcher(config, self.overrides[0], len(table))
        cfg, digests, finished = check_cells(config, self.overrides, varying)
        self._connect(cfg, cells.differing_keys(table))
        self._plan(cfg, digests, varying, finished)
        self.launcher = launcher_of(config.hydra, len(self.plan.todo))
        terminal.print_line(self.plan.sentence)
        if cfg.dry_run:
            self._print_plan()
            raise SystemExit(0)
        if self.launcher.in_process:  # elsewhere this process keeps its hands off the GPUs
            announce(self._todo())
        swept = [f"{key}={','.join(cells.distinct_values(table, key))}" for key in varying]
        self._begin("sweep " + ", ".join(swept), len(self.plan.todo), {"cells": len(table)})

    def _connect(self, cfg: DictConfig, differing: Collection[str]) -> None:
        """Connect to MLflow by the config of any cell, and mark there what has died."""
        self.experiment = connect(cfg)
        require_name_of_sweep(cfg, differing)
        self.published, self.name = cfg.published, cfg.register
        dead_count = len(run_history.mark_dead_runs(self.experiment))
        if dead_count:
            runs = "run" if dead_count == 1 else "runs"
            terminal.print_line(f"{dead_count} {runs} whose process had died: now KILLED")

    def _plan(
        self,
        cfg: DictConfig,
        digests: Sequence[str],
        varying: Sequence[str],
        finished: Collection[str],
    ) -> None:
        """Plan the cells of these digests; `cfg` is the config of any."""
        models = cfg.tracking.models
        self.plan = Plan.of(
            self.experiment, digests, varying, finished, rerun=cfg.rerun, models=models
        )

    def _begin(self, name: str, count: int, tags: Mapping[str, object]) -> None:
        """Create the parent run, and begin: `count` cells are to be run."""
        tags = {**tracking.source_tags(), **tags}
        tags["overrides"] = " ".join(self.config.hydra.overrides.task)
        self.parent = mlflow.MlflowClient().create_run(
            self.experiment,
            run_name=name,
            tags={key: tracking.tag_value(value) for key, value in tags.items()},
        )
        self._watch(self.config.hydra, count)

    def _require_launcher(self, config: DictConfig, cell: list[str], count: int) -> None:
        """Raise BadInput where the launcher cannot run such cells, or not log what they find."""
        uri = config_of_cell(config, cell).tracking.uri or store.default_uri()
        launcher_of(config.hydra, count).require(uri)

    def _watch(self, hydra: DictConfig, count: int) -> None:
        """Begin: from now on cells may run, and what they tell is printed."""
        self.bar = ExitStack()
        self.lost: set[int] = set()  # cells whose job ended without a word
        self.cut: set[str] = set()  # ids of runs that were cut through no fault of their own
        reuses = len(self.plan.todo) < len(self.plan.cells)
        self.reused = self.plan.reused_runs({}) if reuses else {}
        Sweep.current = self
        folder = Path(hydra.sweep.dir)
        self.plan = self.plan.begin(folder, self.parent.info.run_id)
        self.workers = self.launcher.settings(str(folder), terminal.console.width)
        done = self.bar.enter_context(terminal.progress_bar("sweep", count, "cells"))
        self.reporter = progress.Reporter(folder, count, done)
        self.bar.callback(self.reporter.close)
        if not self.launcher.in_process:
            self.reporter.watch()

    def _print_plan(self) -> None:
        """Print what each cell would be: run, or reused."""
        lines = [
            [str(job), "run" if job in self.plan.todo else "reused", name]
            for job, name in enumerate(self._names())
        ]
        terminal.print_table(["cell", "", ""], lines, 3)
        print_estimates(self._todo())

    def _todo(self) -> dict[int, DictConfig]:
        """The configs of the cells that are to run, by number."""
        todo = self.plan.todo
        return {job: config_of_cell(self.config, self.overrides[job]) for job in todo}

    def _compare(self) -> tuple[list[Cell], str]:
        """Log what the sweep came to, with a row for each cell, also those that are missing.

        With the rows a line on paired.csv; "" where there is none.
        """
        runs = run_history.child_runs(self.experiment, self.parent.info.run_id)
        own = self.plan.own_runs(runs)
        reused = self.plan.reused_runs(own)
        own = {job: run for job, run in own.items() if job not in reused}
        table = cells.cells_of(self.overrides, own, reused)
        all_runs = list(
            {run.info.run_id: run for run in (*own.values(), *reused.values())}.values()
        )
        repeat = command(self.config.hydra.overrides.task, "-m")
        with tracking.Log(self.parent) as log:
            log.tags(cells.reused_tags(reused))
            paired_note = self._log_outcome(log, table, all_runs, repeat)
        self.view = browser.save_view(self.parent, table, all_runs)
        report.log(self.parent)
        return table, paired_note

    def _print_table(self, table: Sequence[Cell]) -> None:
        comparison.print_comparison(table)

    def _picked(self, table: Sequence[Cell]) -> Pick:
        """The cell that a defender would take."""
        return pick(table)

    def _log_outcome(
        self, log: tracking.Log, table: Sequence[Cell], runs: Sequence[Run], repeat: str
    ) -> str:
        """Log what the cells came to, and return a line on paired.csv."""
        return outcome.log_outcome(log, table, self._picked(table), runs, repeat)

    def _print_comparison(self, table: list[Cell], paired_note: str) -> None:
        self._print_table(table)
        if self.published:
            comparison.print_published(table, to_dict(self.published, resolve=False))
        if paired_note:
            terminal.print_line(paired_note)
        report.print_place(self.parent)
        browser.print_links(self.view)

    def _end_parent_run(self, status: str) -> None:
        mlflow.MlflowClient().set_terminated(self.parent.info.run_id, status)
