"""Around all trials of a search: asked of a study batch by batch, run as cells, told what came out.

A study is not stored: its trials are the cells' runs. The same command asks the same study the same
questions, finds in MLflow what it was answered, and goes on where nobody has answered yet.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlflow.entities import Run
from omegaconf import DictConfig

from sweep import BadInput, terminal, tracking
from sweep.cli.configs import command
from sweep.cli.grid import (
    compose_once,
    composed,
    config_and_choices,
    config_of_cell,
    digest_of,
    finished_cells,
)
from sweep.cli.searching.checking import checked
from sweep.cli.searching.request import make_multirun, read, values_of
from sweep.cli.sweeps import Sweep, launcher_of
from sweep.results import cells, searches
from sweep.results.cells import Cell
from sweep.results.pick import Pick
from sweep.search import Found, Study, Suggestion, Values, require_optuna
from sweep.search.study import AT_RANDOM, EXHAUSTED
from sweep.tracking import run_history

#: That trials come in, however wide the launcher: who is asked only once has learned nothing.
LEAST_BATCHES = 4


@dataclass(frozen=True)
class Trial:
    """A trial: the words of its cell, its digest, its values, and what suggested it, if so."""

    overrides: Sequence[str]
    digest: str
    values: Values
    suggestion: Suggestion | None = None


class Search(Sweep):
    """Around all trials of a search."""

    sweeper = "search"

    def _start(self, config: DictConfig) -> None:
        """Check all that may be tried, and create the parent run."""
        compose_once()
        make_multirun(config)
        self.config = config
        request = read(config)
        require_optuna()
        self._require_launcher(config, list(request.base), request.trials)
        self.request, left_out = checked(config, request)
        self.study = Study(self.request.space, request.sampler, request.seed, request.most_lost)
        self.cfg = config_of_cell(config, list(request.base))
        self._connect(self.cfg, ())
        most = request.batch or max(1, request.trials // LEAST_BATCHES)
        self.launcher = launcher_of(config.hydra, most)
        self.width = request.batch or min(self.launcher.width, most)
        for line in left_out:
            terminal.print_line(line)
        terminal.print_line(self._sentence)
        if self.cfg.dry_run:
            searches.print_space(self.request.space, self.request.fixed, self.request.first)
            raise SystemExit(0)
        self.overrides: list[list[str]] = []
        self.trials: list[Trial] = []
        self.found: dict[int, Found | None] = {}
        self.again = self.refused = self.before = 0
        self._plan(self.cfg, [], self._varying, ())
        names = [setting.name for setting in self.request.space.settings]
        tags = {"cells": request.trials, searches.TAG: request.sampler}
        tags |= {searches.MOST_LOST_TAG: f"{request.most_lost:g}"}
        tags |= {"threat_model": "oracle"} if request.oracle else {}
        self._begin(f"search {', '.join(names)}", request.trials, tags)

    @property
    def _varying(self) -> list[str]:
        """The keys that tell trials apart."""
        keys = [setting.key for setting in self.request.space.settings if len(setting.ends) > 1]
        given = [word.partition("=")[0] for words in self.request.first for word in words]
        return list(dict.fromkeys([*given, *keys]))

    @property
    def _sentence(self) -> str:
        request = self.request
        limit = "" if request.minutes is None else f", for {request.minutes:g} minutes at most"
        by = "true attack success, which no defender knows" if request.oracle else "what clean "
        by += "" if request.oracle else "images tell of B'"
        together = "" if self.width == 1 else f", {self.width} at a time"
        mark = cells.ORACLE if request.oracle else ""
        return (
            f"search{mark}: up to {request.trials} trials{together}{limit}, "
            f"{len(request.first)} of them given; {request.sampler}, by {by}"
        )

    def rounds(self) -> Iterator[Sequence[int]]:
        """The cells to launch: batch by batch what is to be tried next, until nothing is left."""
        started, minutes = time.monotonic(), self.request.minutes
        given = [self._given(words) for words in self.request.first[: self.request.trials]]
        while (left := self.request.trials - len(self.trials) - self.refused) > 0:
            if self.plan.stopped:
                return
            if minutes is not None and time.monotonic() > started + 60 * minutes:
                terminal.print_line(f"search.minutes={minutes:g} are over, with {left} trials left")
                return
            batch, given = given[: self.width], given[self.width :]
            batch = batch or self._ask(min(self.width, left))
            if not batch:
                terminal.print_line("nothing was suggested that was not tried before")
                return
            yield from self._round(batch)

    def _given(self, words: Sequence[str]) -> Trial:
        """A trial of these words."""
        overrides = [*self.request.base, *words]
        cfg, choices = config_and_choices(self.config, overrides)
        return Trial(overrides, digest_of(cfg), values_of(self.request.space, cfg, choices))

    def _ask(self, count: int) -> list[Trial]:
        """So many trials that are new, or fewer where there are no more."""
        batch: list[Trial] = []
        known = {trial.digest: job for job, trial in enumerate(self.trials)}
        repeats = 0
        while len(batch) < count and repeats < EXHAUSTED:
            suggestion = self.study.ask(at_random=repeats >= AT_RANDOM)
            overrides = self.request.overrides(suggestion.values)
            try:
                digest = digest_of(composed(self.config, overrides)[0])
            except BadInput as error:  # of choices that can be, but not together
                terminal.print_line(f"{' '.join(overrides)}: {error}")
                self.study.tell(suggestion, None)
                self.refused += 1
                repeats += 1
                continue
            if digest in known or digest in [trial.digest for trial in batch]:
                self.study.tell(suggestion, self.found.get(known.get(digest, -1)))
                self.again += 1
                repeats += 1
                continue
            batch.append(Trial(overrides, digest, suggestion.values, suggestion))
            repeats = 0
        return batch

    def _round(self, trials: Sequence[Trial]) -> Iterator[Sequence[int]]:
        """The cells of these trials to launch, those that are not finished; then they are told."""
        jobs = range(len(self.trials), len(self.trials) + len(trials))
        digests = [trial.digest for trial in trials]
        finished = finished_cells(self.cfg, set(digests))
        self.trials += trials
        self.overrides += [list(trial.overrides) for trial in trials]
        self.plan = self.plan.extend(digests, finished)
        todo = [job for job in jobs if job in self.plan.todo]
        if len(todo) < len(trials):
            self.reporter.skip(len(trials) - len(todo))
            self.reused = self.plan.reused_runs({})
            self.before += len(trials) - len(todo)
        if todo and self.before:
            trials_before = "1 trial" if self.before == 1 else f"{self.before} trials"
            terminal.print_line(f"{trials_before} finished before")
            self.before = 0
        yield from self._rounds_of(todo)
        self._tell(jobs)

    def _tell(self, jobs: Sequence[int]) -> None:
        """Tell the study what cells came to."""
        runs = run_history.child_runs(self.experiment, self.parent.info.run_id)
        own = self.plan.own_runs(runs)
        reused = self.plan.reused_runs(own)
        table = cells.cells_of(self.overrides, own, reused)
        for job in jobs:
            trial, found = self.trials[job], searches.found(table[job], self.request.objective)
            self.found[job] = found
            if trial.suggestion is not None:
                self.study.tell(trial.suggestion, found)
            elif found is not None:
                self.study.add(trial.values, found)
        searches.log_progress(self.parent, self._outcome(table))

    def _outcome(self, table: Sequence[Cell]) -> searches.Outcome:
        """What the trials came to, so far."""
        values = [trial.values for trial in self.trials]
        commands = [command(overrides) for overrides in self.overrides]
        request = self.request
        return searches.Outcome(table, values, commands, request.objective, request.most_lost)

    def _picked(self, table: Sequence[Cell]) -> Pick:
        return self._outcome(table).pick

    def _log_outcome(
        self, log: tracking.Log, table: Sequence[Cell], runs: Sequence[Run], repeat: str
    ) -> str:
        log.tags({"cells": len(table)})
        if self.trials:
            searches.log_progress(self.parent, self._outcome(table))  # of a batch that was cut off
        searches.log_outcome(log, self._outcome(table))
        return super()._log_outcome(log, table, runs, repeat)

    def _print_table(self, table: Sequence[Cell]) -> None:
        before = sum(cell.reused for cell in table)
        tried = {"finished before": before, "suggested again": self.again, "refused": self.refused}
        searches.print_outcome(self._outcome(table), tried)
