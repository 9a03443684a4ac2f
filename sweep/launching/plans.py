"""Which cells of a sweep are still to be run: what its jobs, in whatever process, go by.

It lies as a file in the sweep's folder, where a job finds it. Hydra numbers what it launches; which
cell that is stands in the plan, since in a later round few of the cells are launched.
"""

import json
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mlflow.entities import Run

from sweep import BadInput, files, processes, terminal
from sweep.launching import claims
from sweep.redaction import redacted
from sweep.tracking import run_history

PLAN, STOP = "plan.json", "stop"
AWAIT = 2.0  # seconds between two looks at a cell that another process is at work on


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep (digests), and `todo`, the numbers of those to run.

    parent: the sweep's run; varying: the overrides that tell the cells apart; started: seconds
    since 1970; rerun: whether what is finished is run again all the same; models: whether what is
    finished must hold models; process: the sweep's own; launched: the cell of each of Hydra's jobs.
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
    process: Mapping[str, str | float] = field(default_factory=processes.current_process)
    launched: Sequence[int] = ()

    @classmethod
    def of(
        cls,
        experiment: str,
        cells: Sequence[str],
        varying: Sequence[str],
        finished: Collection[str],
        *,
        rerun: bool,
        models: bool,
    ) -> "Plan":
        """The plan of a sweep that begins now; `finished` are cells that it need not run."""
        todo = [job for job, cell in enumerate(cells) if cell not in finished]
        return cls(experiment, cells, todo, varying, rerun, models, time.time())

    @property
    def sentence(self) -> str:
        """How many cells there are, and how many of them are to be run."""
        count, reused = len(self.cells), len(self.cells) - len(self.todo)
        cells = "1 cell" if count == 1 else f"{count} cells"
        return f"{cells}: {len(self.todo)} to run, {reused} finished before"

    def begin(self, folder: Path, parent: str) -> "Plan":
        """The plan as of the run `parent`, which lies in the sweep's folder now."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP).unlink(missing_ok=True)  # of a sweep before, where the folder is given
        plan = replace(self, parent=parent, folder=str(folder))
        plan._write()
        return plan

    def extend(self, cells: Sequence[str], finished: Collection[str]) -> "Plan":
        """The plan with more cells (digests) behind its own; `finished` need not be run."""
        first = len(self.cells)
        todo = [first + place for place, cell in enumerate(cells) if cell not in finished]
        plan = replace(self, cells=[*self.cells, *cells], todo=[*self.todo, *todo])
        plan._write()
        return plan

    def launch(self, cells: Sequence[int]) -> "Plan":
        """The plan with these cells as Hydra's next jobs."""
        plan = replace(self, launched=[*self.launched, *cells])
        plan._write()
        return plan

    def _write(self) -> None:
        with files.atomic_write(Path(self.folder) / PLAN) as unfinished:
            unfinished.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """The plan that lies in the sweep's folder; BadInput where this machine does not see it."""
        try:
            return cls(**json.loads((folder / PLAN).read_text()))
        except FileNotFoundError:
            raise BadInput(
                f"{folder} of the sweep is not there on {socket.gethostname()}; expected a folder "
                f"that all machines share: set hydra.sweep.dir to one"
            ) from None

    def wants(self, job: int) -> bool:
        """Whether a cell is to be run now: the sweep goes on, and no other has, or does the same.

        What another process is at work on is asked for again when the others are done.
        """
        if job not in self.todo or self.stopped or processes.is_dead(self.process):
            return False
        cell = self.cells[job]
        if self.rerun:
            return True
        # In this order: a cell that is finished between the two looks is seen by the second.
        return not claims.claims(self.experiment, cell) and not self._finished(cell)

    def claim(self, job: int, run_id: str) -> None:
        """Claim a cell by a run that has begun; raises Claimed, and deletes the run, where another
        process is at work on the cell, or has finished it since it was wanted."""
        if self.rerun:
            return
        cell = self.cells[job]
        claims.withdraw_if_later(run_id, self.experiment, cell)
        if finished := self._finished(cell):
            claims.withdraw(run_id, f"finished as {finished.info.run_name}")

    def left(self, runs: Sequence[Run]) -> list[int]:
        """The cells that are still to be run where the sweep's `runs` have come to an end."""
        ended = {run.data.tags.get(run_history.CELL) for run in runs}
        left = [job for job in self.todo if self.cells[job] not in ended]
        return [job for job in left if self.rerun or not self._finished(self.cells[job])]

    def await_free(self, jobs: Sequence[int]) -> list[int]:
        """Those of the cells that no other process is at work on, or not any more, to be run.

        Where all are claimed, waits until one is free. Cells that others finish are not returned.
        """
        waiting, said = list(jobs), ""
        while waiting and not self.stopped:
            claimed = {job: claims.claims(self.experiment, self.cells[job]) for job in waiting}
            waiting = [job for job in waiting if self.rerun or not self._finished(self.cells[job])]
            free = [job for job in waiting if self.rerun or not claimed[job]]
            if free:
                return free
            runs = [run for job in waiting for run in claimed[job]]
            said = self._say_awaited(len(waiting), claims.where(runs), said)
            time.sleep(AWAIT)
        return []

    def _say_awaited(self, count: int, where: str, said: str) -> str:
        """Say, where it has changed, what is awaited; returned is what was said."""
        if count and where != said:
            cells = "1 cell" if count == 1 else f"{count} cells"
            terminal.print_line(f"waiting for {cells} under way elsewhere: {where}")
        return where

    @property
    def stopped(self) -> bool:
        """Whether no cell is to begin any more."""
        return (Path(self.folder) / STOP).exists()

    @property
    def stop_reason(self) -> str:
        """Why a cell has stopped the sweep; "" where none has, or where that was wanted."""
        return (Path(self.folder) / STOP).read_text() if self.stopped else ""

    def stop(self, reason: str = "") -> bool:
        """Let no cell begin any more; whether that could be written, which a full disk forbids."""
        try:
            if not self.stopped:
                (Path(self.folder) / STOP).write_text(redacted(reason))
        except OSError:
            return False
        return True

    def own_runs(self, runs: Sequence[Run]) -> Mapping[int, Run]:
        """The sweep's own `runs` by number of the cell: of several the one that came furthest."""
        by_cell: dict[str, Run] = {}
        for run in sorted(runs, key=_how_far):
            by_cell[run.data.tags.get(run_history.CELL, "")] = run
        return {job: by_cell[cell] for job, cell in enumerate(self.cells) if cell in by_cell}

    def reused_runs(self, own: Mapping[int, Run]) -> Mapping[int, Run]:
        """Runs of other sweeps, by number of the cell, for cells that did not end in `own`."""
        jobs = [
            job
            for job in range(len(self.cells))
            if not (job in own and own[job].info.status in ("FINISHED", "FAILED"))
            and (job not in self.todo or not self.rerun)
        ]
        known = run_history.find_all_finished(
            self.experiment, {self.cells[job] for job in jobs}, models=self.models
        )
        return {job: known[self.cells[job]] for job in jobs if self.cells[job] in known}

    def _finished(self, cell: str) -> Run | None:
        return run_history.find_finished(self.experiment, cell, models=self.models)


def _how_far(run: Run) -> tuple[int, int]:
    """What sorts the runs of a cell: by how they ended, then by when they began."""
    ended = ("KILLED", "RUNNING", "FAILED", "FINISHED")
    place = ended.index(run.info.status) if run.info.status in ended else 0
    return place, run.info.start_time
