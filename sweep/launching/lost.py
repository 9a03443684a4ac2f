"""Cells that a launcher has lost: their runs are marked, and the sweep is told.

`names` are what the cells of a plan are called, by their numbers.
"""

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from mlflow.entities import Run

from sweep import processes
from sweep.launching import progress
from sweep.launching.plans import Plan
from sweep.tracking import run_history

LOOKS, EVERY = 25, 0.2  # for a worker that is dying, in seconds
WORKER_KILLED = "its worker was killed, by somebody or for want of memory"
ENDED_WITH_POOL = "its worker was ended since another one was killed; it was run again"


def mark_killed_workers(
    plan: Plan, names: Sequence[str], ended_by_pool: Collection[int]
) -> set[str]:
    """Mark the runs of workers that are dead; return the ids of those that are to be run again.

    These are of workers that were ended after another one, `ended_by_pool` (pids).
    """
    cut = set()
    for run in _dead_runs(plan):
        if int(run.data.tags["pid"]) in ended_by_pool:
            cut.add(run.info.run_id)
            run_history.kill(run, ENDED_WITH_POOL)
        else:
            run_history.kill(run, WORKER_KILLED)
            _tell(plan, names[int(run.data.tags["job"])], WORKER_KILLED)
    return cut


def _dead_runs(plan: Plan) -> list[Run]:
    """Mark the sweep's runs whose worker is dead, as soon as one is; return them.

    The pool may know of it before the worker is gone for the system; one that was at no cell's work
    has no run, which ends the wait.
    """
    for _ in range(LOOKS):
        runs = run_history.mark_dead_runs(plan.experiment)
        own = [run for run in runs if run.data.tags.get("sweep") == plan.parent]
        if own:
            return own
        time.sleep(EVERY)
    return []


def mark_failed_jobs(plan: Plan, names: Sequence[str], cells: Sequence[int], logs: str) -> None:
    """Mark the runs of cells whose jobs have ended without a result; `logs` hold their output."""
    runs = plan.own_runs(run_history.child_runs(plan.experiment, plan.parent))
    for cell in cells:
        error = f"its job ended without a result; {logs} holds its output"
        if cell in runs and runs[cell].info.status == "RUNNING":
            run_history.kill(runs[cell], error)
        _tell(plan, names[cell], error)


def mark_ended_workers(plan: Plan, looks: int) -> None:
    """Mark the runs of workers that end with the sweep, which may take a moment: so many looks."""
    for _ in range(looks):
        run_history.mark_dead_runs(plan.experiment)
        runs = run_history.child_runs(plan.experiment, plan.parent)
        running = [run for run in runs if run.info.status == "RUNNING"]
        if not any(processes.is_here(run.data.tags) for run in running):
            return
        time.sleep(EVERY)


def _tell(plan: Plan, name: str, error: str) -> None:
    progress.tell(Path(plan.folder), f"{name}: KILLED: {error}", done=True)
