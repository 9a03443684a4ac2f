"""Which cells of a sweep are still to be run: what its jobs, in whatever process, go by.

It lies as a file in the sweep's folder, where a job finds it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow.entities import Run

from sweep.tracking import run_history

PLAN, STOP = "plan.json", "stop"


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep (digests), and `todo`, the numbers of those to run.

    parent: the sweep's run; varying: the overrides that tell the cells apart; started: seconds
    since 1970; rerun: whether what is finished is run again all the same; models: whether what is
    finished must hold models.
    """

    experiment: str
    cells: Sequence[str]
    todo: Sequence[int]
    varying: Sequence[str]
    rerun: bool
    models: bool
    started: float
    parent: str = ""
    folder: str = ""

    @classmethod
    def of(
        cls,
        experiment: str,
        cells: Sequence[str],
        varying: Sequence[str],
        *,
        rerun: bool,
        models: bool,
    ) -> "Plan":
        """The plan of a sweep that begins now."""
        reusable = set() if rerun else set(cells)
        finished = {
            cell for cell in reusable if run_history.find_finished(experiment, cell, models=models)
        }
        todo = [job for job, cell in enumerate(cells) if cell not in finished]
        return cls(experiment, cells, todo, varying, rerun, models, time.time())

    @property
    def sentence(self) -> str:
        """How many cells there are, and how many of them are to be run."""
        count, reused = len(self.cells), len(self.cells) - len(self.todo)
        cells = "1 cell" if count == 1 else f"{count} cells"
        return f"{cells}: {len(self.todo)} to run, {reused} finished before"

    def write(self, folder: Path, parent: str) -> None:
        """Write the plan into the sweep's folder, as of the run `parent`."""
        folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {"parent": parent, "folder": str(folder)}
        (folder / STOP).unlink(missing_ok=True)  # of a sweep before, where the folder is given
        (folder / PLAN).write_text(json.dumps(content))

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """The plan that lies in the sweep's folder."""
        return cls(**json.loads((folder / PLAN).read_text()))

    def wants(self, job: int) -> bool:
        """Whether a cell is still to be run: no other sweep has finished it meanwhile."""
        if job not in self.todo or (Path(self.folder) / STOP).exists():
            return False
        return self.rerun or self._finished(self.cells[job]) is None

    def stop(self) -> None:
        """Let no cell begin any more."""
        (Path(self.folder) / STOP).touch()

    def reused_runs(self, runs: Sequence[Run]) -> Mapping[int, Run]:
        """Runs of other sweeps, by number of the cell, for the cells that left none in `runs`."""
        jobs_with_run = {int(run.data.tags["job"]) for run in runs}
        earlier_runs = {}
        for job, cell in enumerate(self.cells):
            if job not in jobs_with_run and (job not in self.todo or not self.rerun):
                run = self._finished(cell)
                if run is not None:
                    earlier_runs[job] = run
        return earlier_runs

    def _finished(self, cell: str) -> Run | None:
        return run_history.find_finished(self.experiment, cell, models=self.models)

    def progress(self, job: int) -> str:
        """Where the sweep stands after this cell, and how long the rest may take."""
        place = self.todo.index(job) + 1
        left = len(self.todo) - place
        position = f"{place} of {len(self.todo)}"
        if not left:
            return position
        return f"{position}, {duration((time.time() - self.started) / place * left)} left"


def duration(seconds: float) -> str:
    """A time as a person reads it.

    >>> duration(8.2), duration(200), duration(9000)
    ('8 s', '3 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
