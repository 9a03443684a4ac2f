"""Which runs a report is about: of an experiment, of sweeps, or single ones, as MLflow has them."""

import csv
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from itertools import takewhile

import mlflow
from mlflow import MlflowException
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from sweep import BadInput
from sweep.redaction import redacted
from sweep.results.cells import MISSING, SEED_KEY, Cell, cell_of, reused_run_ids
from sweep.results.pages.sweeps import PARENT, overrides, without_place
from sweep.results.searches import without_search
from sweep.tracking import artifacts, run_history, store

EXPERIMENT = "prunesweep"
AT_ONCE = 100  # run ids in one search
NEWEST = ["attributes.start_time DESC"]
COMPARISON = "comparison.csv"

Row = Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """One cell of the report: its run where there is one, its sweep, and all its settings.

    `given` are those of the command line, by their names there. `whole`: the report is about its
    whole sweep, not about single runs.
    """

    cell: Cell
    run: Run | None
    sweep: Run | None
    settings: Mapping[str, str]
    given: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False

    def tag(self, name: str) -> str:
        """A tag of its run; "" where there is none."""
        return "" if self.run is None else self.run.data.tags.get(name, "")

    @property
    def command(self) -> str:
        """The command that runs this cell alone; "" where that is not known."""
        if self.sweep is None and not self.given:
            return ""
        words = without_search(overrides(self.sweep)) if self.sweep is not None else []
        keys = [word.partition("=")[0].lstrip("+") for word in filter(None, words)]
        pinned = {
            key: self.given.get(key, self.settings.get(dotted(key), word.partition("=")[2]))
            for key, word in zip(keys, filter(None, words), strict=True)
        }
        more = {key: value for key, value in self.given.items() if key not in pinned}
        return shell("python run.py", {**pinned, **more})


def sweep_command(sweep: Run) -> str:
    """The command of a whole sweep."""
    given = dict(word.partition("=")[::2] for word in filter(None, overrides(sweep)))
    return shell("python run.py -m", given)


def shell(command: str, given: Mapping[str, str]) -> str:
    """A command and what it is given, for a shell; where files lie on a machine is left out.

    >>> shell("python run.py", {"data.root": "/home/me", "repair": "[]", "prune.frac": "0.1"})
    "python run.py data.root=DIR 'repair=[]' prune.frac=0.1"
    """
    words = []
    for key, value in given.items():
        words.append(shlex.quote(without_place(f"{key}={redacted(value)}")))
    return " ".join([command, *words])


def dotted(key: str) -> str:
    """The name among a run's params of what is set as `key` on the command line."""
    return key.lstrip("+").replace("/", ".")


def find(targets: Sequence[str], uri: str | None) -> list[Entry]:
    """The cells that the report is about; none named: those of the latest sweep.

    Raises BadInput where a target is not there, is empty, or is not of this program.
    """
    store.use_existing(uri)
    with in_a_sentence(Exception):  # of MLflow, and of what it stands on
        mlflow.search_experiments(max_results=1)
    with in_a_sentence(MlflowException):
        return _named(targets) if targets else of_sweep(_latest())


def _named(targets: Sequence[str]) -> list[Entry]:
    entries: list[Entry] = []
    single: list[Run] = []
    for target in dict.fromkeys(targets):
        experiment = mlflow.get_experiment_by_name(target)
        if experiment is not None:
            entries += _of_experiment(target, experiment.experiment_id)
            continue
        run = _run(target)
        if "cells" in run.data.tags:
            entries += of_sweep(run)
        elif "job" in run.data.tags:
            single.append(run)
        else:
            raise BadInput(
                f"run {run.info.run_id} ({run.info.run_name}) is not one of this program; expected "
                f"a sweep or a cell, made by run.py"
            )
    return entries + _single(single)


@contextmanager
def in_a_sentence(kind: type[Exception]) -> Iterator[None]:
    """Turn errors of a kind into a sentence on what MLflow, or its database, does not take."""
    try:
        yield
    except BadInput:
        raise
    except kind as error:
        reason = textwrap.shorten(redacted(str(error)), 200, placeholder=" ...")
        place = redacted(mlflow.get_tracking_uri())
        raise BadInput(f"{place} cannot be read by MLflow ({reason})") from error


def _latest() -> Run:
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        client = MlflowClient()
        sweeps = client.search_runs(
            [experiment.experiment_id], "tags.cells != ''", max_results=1, order_by=NEWEST
        )
        if sweeps:
            return sweeps[0]
    raise BadInput(
        f"MLflow's experiment {EXPERIMENT!r} at {redacted(mlflow.get_tracking_uri())} holds no "
        f"sweep; run one (python run.py -m prune.frac=0.02,0.04,0.1), or name an experiment or runs"
    )


def _run(target: str) -> Run:
    known = None
    if re.fullmatch(r"[0-9a-f]{32}", target):
        runs = MlflowClient().search_runs(
            [experiment.experiment_id for experiment in mlflow.search_experiments()],
            f"attributes.run_id = '{target}'",
        )
        known = runs[0] if runs else None
    if known is None:
        raise BadInput(
            f"{target!r} is no experiment and no run at {redacted(mlflow.get_tracking_uri())}; "
            f"expected the name of an experiment, or ids of runs as in comparison.csv or in the "
            f"browser"
        )
    return known


def _of_experiment(name: str, experiment: str) -> list[Entry]:
    """Every cell of an experiment once, by the newest run that finished it."""
    runs = run_history.cell_runs(experiment)
    if not runs:
        raise BadInput(
            f"MLflow's experiment {name!r} holds no cell of this program; expected one that run.py "
            f"has logged to"
        )
    runs.sort(key=lambda run: (run.info.status == "FINISHED", run.info.start_time))
    newest = {run.data.tags.get(run_history.CELL, run.info.run_id): run for run in runs}
    return _single(sorted(newest.values(), key=lambda run: run.info.start_time))


def _single(runs: Sequence[Run]) -> list[Entry]:
    """Runs that are no whole sweep; what is known of their command stands in their sweeps."""
    parents: dict[str, Run] = {}
    for run in _by_id({run.data.tags.get(PARENT, "") for run in runs} - {""}):
        parents[run.info.run_id] = run
    rows = {key: _rows(parent) for key, parent in parents.items()}
    entries = []
    for number, run in enumerate(runs):
        parent = run.data.tags.get(PARENT, "")
        same = [row for row in rows.get(parent, []) if row["run_id"] == run.info.run_id]
        given = _given(same[0], _settings_of(rows[parent], [run])) if same else {}
        entries.append(_entry(number, run, parents.get(parent), given, whole=False))
    return entries


def of_sweep(parent: Run) -> list[Entry]:
    """The cells of a sweep in their order, those that were reused and those that left no run too.

    Raises BadInput where it has none.
    """
    runs = run_history.child_runs(parent.info.experiment_id, parent.info.run_id)
    runs += _by_id(set(reused_run_ids(parent)) - {""})
    rows = _rows(parent)
    if rows:
        by_id = {run.info.run_id: run for run in runs}
        names = _settings_of(rows, runs)
        return [
            _entry(
                int(row["job"]),
                by_id.get(row["run_id"]),
                parent,
                _given(row, names),
                row,
            )
            for row in rows
        ]
    by_job = {int(run.data.tags["job"]): run for run in runs if "job" in run.data.tags}
    cells = max([int(parent.data.tags.get("cells", 0)), *(job + 1 for job in by_job)])
    if not cells:
        raise BadInput(f"sweep {parent.info.run_id} ({parent.info.run_name}) holds no cell")
    return [_entry(job, by_job.get(job), parent, {}) for job in range(cells)]


def _by_id(ids: set[str]) -> list[Run]:
    """The runs of these ids, wherever they are."""
    experiments = (
        [experiment.experiment_id for experiment in mlflow.search_experiments()] if ids else []
    )
    ordered = sorted(ids)
    runs: list[Run] = []
    for start in range(0, len(ordered), AT_ONCE):
        listed = ", ".join(f"'{run_id}'" for run_id in ordered[start : start + AT_ONCE])
        runs += MlflowClient().search_runs(experiments, f"attributes.run_id IN ({listed})")
    return runs


def _rows(parent: Run) -> list[Row]:
    """The lines of a sweep's comparison.csv; none where it has not ended."""
    (text,) = artifacts.read_all([parent.info.artifact_uri], COMPARISON)
    return list(csv.DictReader(StringIO((text or b"").decode())))


def _settings_of(rows: Sequence[Row], runs: Sequence[Run]) -> list[str]:
    """The columns of a comparison.csv that are settings: those between its head and its metrics."""
    metrics = {name for run in runs for name in run.data.metrics}
    names = list(rows[0])
    rest = names[names.index("threat_model") + 1 : -1]
    return list(takewhile(lambda name: name not in metrics, rest))


def _given(row: Row, names: Sequence[str]) -> dict[str, str]:
    return {name: row[name] for name in names if row[name]}


def _entry(
    job: int,
    run: Run | None,
    sweep: Run | None,
    given: Mapping[str, str],
    row: Row | None = None,
    *,
    whole: bool = True,
) -> Entry:
    settings = {dotted(key): value for key, value in given.items()}
    if run is not None:
        params = run.data.params
        settings |= {SEED_KEY: params.get(SEED_KEY, "0"), **params}
        if run.data.tags.get("layer"):
            settings["prune.layer"] = run.data.tags["layer"]
    cell = cell_of(job, given, run)
    if run is None and row is not None and row["status"] != MISSING:
        cell = Cell(
            job, given, row["run_id"], error=row["error"] or "its run is not there any more"
        )
    return Entry(cell, run, sweep, settings, given, whole)
