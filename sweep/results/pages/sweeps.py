"""What was swept: of each case the latest sweep with `experiment=strategies` that ended well.

`stored` asks MLflow; the rest looks at runs as MLflow gives them back.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import mlflow
from mlflow import MlflowException
from mlflow.entities import Run

from sweep import BadInput
from sweep.results.cells import FINISHED, image_counts, reused_run_ids
from sweep.tracking import SKIPPED, run_history, store

SWEEP = "experiment=strategies"
ORDER_PARAM, STOP_PARAM, SEED_PARAM = "prune.order", "prune.stop", "seed"
PRUNED_CHANNELS = "prune/channels"
PARENT = "mlflow.parentRunId"
PLACE = "DIR"  # stands for a path


@dataclass(frozen=True)
class Case:
    """One case: the parent run of its sweep, and its cells."""

    name: str
    sweep: Run
    cells: Sequence[Run]

    @property
    def measured(self) -> list[Run]:
        """The cells that have rates."""
        return [cell for cell in self.cells if PRUNED_CHANNELS in cell.data.metrics]

    @property
    def skipped(self) -> list[Run]:
        """The cells whose order does not apply."""
        return [cell for cell in self.cells if cell.data.tags.get("status") == SKIPPED]

    @property
    def images(self) -> dict[str, int]:
        """How many images the rates are shares of: "valid", "test", "poisoned"."""
        return image_counts(self.measured[0]) if self.measured else {}

    @property
    def seeds(self) -> list[str]:
        return sorted(param_values(self.cells, SEED_PARAM), key=int)


def stored(uri: str | None, experiment: str) -> list[Run]:
    """The runs of sweeps and of cells that MLflow's experiment at `uri` holds, however they ended.

    Raises BadInput where MLflow cannot read what is at `uri`.
    """
    store.use_existing(uri)
    try:
        existing = mlflow.get_experiment_by_name(experiment)
        if existing is None:
            return []
        where = existing.experiment_id
        return run_history.parents(where) + run_history.cell_runs(where)
    except MlflowException as error:
        reason, place = str(error).splitlines()[0], mlflow.get_tracking_uri()
        raise BadInput(f"{place} cannot be read by MLflow ({reason})") from error


def runs_of_sweep(sweep: Run, runs: Sequence[Run]) -> list[Run]:
    """The cells of a sweep among `runs`: its own, and those that it reused."""
    parent, reused = sweep.info.run_id, reused_run_ids(sweep)
    return [run for run in runs if run.data.tags.get(PARENT) == parent or run.info.run_id in reused]


def latest_cases(runs: Sequence[Run]) -> list[Case]:
    """The latest finished sweep of each case among `runs`, parents and cells, by the case's name.

    A command may sweep several cases; a case may have several commands.
    """
    by_name: dict[str, Case] = {}
    sweeps = [run for run in runs if SWEEP in overrides(run) and run.info.status == FINISHED]
    for sweep in sorted(sweeps, key=lambda run: run.info.start_time, reverse=True):
        cells = sorted(runs_of_sweep(sweep, runs), key=lambda run: int(run.data.tags["job"]))
        for name in dict.fromkeys(map(case_name, cells)):
            same = [cell for cell in cells if case_name(cell) == name]
            by_name.setdefault(name, Case(name, sweep, same))
    return [by_name[name] for name in sorted(by_name)]


def case_name(cell: Run) -> str:
    """The case that a cell is of; where none was chosen, its images and its network."""
    params = cell.data.params
    chosen = params.get("case", "none")
    return chosen if chosen != "none" else f"data={params['data']} badnet={params['badnet']}"


def overrides(run: Run) -> list[str]:
    """What was given on the command line; values may hold blanks."""
    return re.split(r" (?=~|\+*[\w./@]+=)", run.data.tags.get("overrides", ""))


def is_place(key: str, value: str) -> bool:
    """Whether what is set as `key` says where files lie on some machine.

    >>> is_place("data.root", "images"), is_place("tracking.uri", "sqlite:////home/me/mlflow.db")
    (True, True)
    """
    return key.lstrip("+") in ("data.root", "badnet.path") or bool(re.search(r"[/\\~]", value))


def without_place(override: str) -> str:
    """An override; where files lie on some machine is nobody's business.

    >>> without_place("badnet.path=/home/me/b.keras"), without_place("prune/order=clp")
    ('badnet.path=DIR', 'prune/order=clp')
    """
    key, equals, value = override.partition("=")
    return f"{key}={PLACE}" if equals and is_place(key, value) else override


def command(sweep: Run) -> str:
    """The command of a sweep for a shell."""
    words = map(without_place, filter(None, overrides(sweep)))
    return " ".join(["python run.py", *map(shlex.quote, words)])


def param_values(cells: Iterable[Run], param: str) -> list[str]:
    """The values of a parameter, each once."""
    return list(
        dict.fromkeys(cell.data.params[param] for cell in cells if param in cell.data.params)
    )
