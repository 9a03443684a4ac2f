"""What was swept: of each case the latest sweep with `experiment=strategies` that ended well.

`read` and `search` ask MLflow; the rest looks at runs as MLflow gives them back.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO

import mlflow
import numpy as np
from mlflow import MlflowException
from mlflow.entities import Run

from sweep import BadInput
from sweep.results.cells import FINISHED, reused_run_ids
from sweep.tracking import SKIPPED, artifacts, store

SWEEP = "experiment=strategies"
ORDER_PARAM, STOP_PARAM, SEED_PARAM = "prune.order", "prune.stop", "seed"
PRUNED_CHANNELS = "prune/channels"
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Case:
    """One case: the parent run of its sweep, its cells, and how many images of each name."""

    name: str
    sweep: Run
    cells: Sequence[Run]
    images: Mapping[str, int] = field(default_factory=dict)

    @property
    def measured(self) -> list[Run]:
        """The cells that have rates."""
        return [cell for cell in self.cells if PRUNED_CHANNELS in cell.data.metrics]

    @property
    def skipped(self) -> list[Run]:
        """The cells whose order does not apply."""
        return [cell for cell in self.cells if cell.data.tags.get("status") == SKIPPED]

    @property
    def seeds(self) -> list[str]:
        return sorted(param_values(self.cells, SEED_PARAM), key=int)


def read(uri: str | None, experiment: str) -> list[Case]:
    """The cases of the experiment at MLflow's `uri`, each with its latest finished sweep."""
    cases = latest_cases(search(uri, experiment, SWEEP))
    uris = [(case.measured or case.cells)[0].info.artifact_uri for case in cases]
    answers = artifacts.read_all(uris, "answers.npz")
    return [
        replace(case, images=_image_counts(data)) for case, data in zip(cases, answers, strict=True)
    ]


def search(uri: str | None, experiment: str, sweep: str) -> list[Run]:
    """The sweeps of the experiment whose command holds `sweep`, and their cells.

    However they ended. Cells of other sweeps that were reused are among them.

    Raises BadInput where MLflow cannot read what is at `uri`.
    """
    store.use_existing(uri)
    try:
        existing = mlflow.get_experiment_by_name(experiment)
        if existing is None:
            return []
        ids = [existing.experiment_id]
        sweeps = f"tags.overrides LIKE '%{sweep}%'"
        runs = mlflow.search_runs(ids, filter_string=sweeps, output_format="list")
        for parent in list(runs):
            cells = f"tags.`{PARENT}` = '{parent.info.run_id}'"
            runs += mlflow.search_runs(ids, filter_string=cells, output_format="list")
        known = {run.info.run_id for run in runs}
        reused = dict.fromkeys(run_id for parent in runs for run_id in reused_run_ids(parent))
        return runs + [mlflow.get_run(run_id) for run_id in reused if run_id not in known]
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        uri = mlflow.get_tracking_uri()
        raise BadInput(f"{uri} cannot be read by MLflow ({reason})") from error


def _image_counts(answers: bytes | None) -> dict[str, int]:
    """How many images of each name an answers.npz is about: "valid", "test", "poisoned"."""
    arrays = {} if answers is None else np.load(BytesIO(answers))
    return {name.removesuffix("_label"): len(arrays[name]) for name in arrays if "_label" in name}


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


def command(sweep: Run) -> str:
    """The command of a sweep for a shell; where files lie on some machine is nobody's business."""
    words = []
    for override in filter(None, overrides(sweep)):
        key, equals, value = override.partition("=")
        is_path = key.lstrip("+") in ("data.root", "badnet.path") or re.search(r"[/\\~]", value)
        words.append(shlex.quote(f"{key}={'DIR' if is_path else value}" if equals else override))
    return " ".join(["python run.py", *words])


def param_values(cells: Iterable[Run], param: str) -> list[str]:
    """The values of a parameter, each once."""
    return list(
        dict.fromkeys(cell.data.params[param] for cell in cells if param in cell.data.params)
    )
