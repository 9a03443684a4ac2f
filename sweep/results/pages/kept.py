"""The runs that pages show, in a table beside them, so that pages grow over machines and stores.

A row a run, its columns named as by `mlflow.search_runs`: `params.`, `metrics.` (the last of each),
`tags.`. What is about a machine or a person is not in it.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from sweep import BadInput, files
from sweep.results.pages.sweeps import PARENT, is_place, overrides, without_place

FILE = "runs.csv"
INFO = ("run_id", "status", "start_time", "end_time")  # times in ms since 1970
OF_MACHINES = frozenset({"host", "pid", "pid_started", "heartbeat", "figures"})
OVERRIDES = "overrides"


def read(folder: Path) -> list[Run]:
    """The runs in the folder's table, none where there is no table; BadInput where it is none."""
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            table = csv.DictReader(file)
            if not set(INFO) <= set(table.fieldnames or ()):
                raise ValueError(f"its columns are not {', '.join(INFO)} and more")
            return [_run(row) for row in table]
        except (csv.Error, TypeError, ValueError) as error:
            raise BadInput(
                f"{path} is no table of runs: {error}; without it, or with --alone, the pages are "
                "written from MLflow alone"
            ) from error


def merged(stored: Sequence[Run], kept: Iterable[Run]) -> list[Run]:
    """The runs of a store, and those kept of other ones."""
    known = {run.info.run_id for run in stored}
    return [*stored, *(run for run in kept if run.info.run_id not in known)]


def write(folder: Path, runs: Iterable[Run]) -> None:
    """Write the table of these runs, each once, the oldest first."""
    unique = {run.info.run_id: run for run in runs}
    rows = [_row(run) for run in sorted(unique.values(), key=_age)]
    names = sorted({name for row in rows for name in row} - set(INFO))
    with (
        files.atomic_write(folder / FILE) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, [*INFO, *names], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _age(run: Run) -> tuple[int, str]:
    return run.info.start_time, run.info.run_id


def _row(run: Run) -> dict[str, object]:
    info, data = run.info, run.data
    row: dict[str, object] = {name: getattr(info, name) for name in INFO}
    row |= {f"params.{name}": _told(name, value) for name, value in data.params.items()}
    row |= {f"metrics.{name}": value for name, value in data.metrics.items()}
    tags = {name: value for name, value in data.tags.items() if _is_about_the_run(name)}
    if OVERRIDES in tags:
        tags[OVERRIDES] = " ".join(map(without_place, overrides(run)))
    return row | {f"tags.{name}": value for name, value in tags.items()}


def _told(name: str, value: str) -> str:
    """The value of a param; of a place its last part, by which pages tell files apart."""
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1] if is_place(name, value) else value


def _is_about_the_run(tag: str) -> bool:
    return tag == PARENT or not (tag.startswith("mlflow.") or tag in OF_MACHINES)


def _run(row: Mapping[str, str]) -> Run:
    start, end = int(row["start_time"]), int(row["end_time"] or row["start_time"])
    info = RunInfo(row["run_id"], "", "", row["status"], start, end, "active")
    of_kind: dict[str, dict[str, str]] = {"params": {}, "metrics": {}, "tags": {}}
    for column, value in row.items():
        kind, _, name = column.partition(".")
        if kind in of_kind and value:
            of_kind[kind][name] = value
    metrics = [Metric(name, float(value), 0, 0) for name, value in of_kind["metrics"].items()]
    params = [Param(*item) for item in of_kind["params"].items()]
    return Run(info, RunData(metrics, params, [RunTag(*item) for item in of_kind["tags"].items()]))
