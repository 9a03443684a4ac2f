"""Which runs are left over: dead ones, and by age or sweep those that failed or were killed.

A run is dead that is RUNNING though its process is gone. On this machine the process is looked up;
of another machine the run's heartbeat tells. A run that never had one, as it was of an older
version or of a sweep as a whole, counts as dead only where its host or an age is named.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from sweep import BadInput, processes
from sweep.results.cells import reused_run_ids
from sweep.tracking import run_history, view

DEAD_AFTER = 300.0  # seconds without a sign of life
PARENT = "mlflow.parentRunId"
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0}


@dataclass(frozen=True)
class Wanted:
    """What was asked for: the runs of a sweep, of a host, or older than so many seconds.

    finished: the whole sweep, also what it has finished.
    """

    sweep: str | None = None
    host: str | None = None
    older_than: float | None = None
    finished: bool = False


@dataclass(frozen=True)
class Leftover:
    """A run that is left over, why, and how many seconds ago it gave the last sign of life.

    keeps: it is a sweep that has finished cells, so that it is not to be deleted.
    """

    run: Run
    why: str
    silent: float
    keeps: bool = False

    @property
    def dead(self) -> bool:
        """Whether it still counts as RUNNING."""
        return bool(self.run.info.status == "RUNNING")


@dataclass(frozen=True)
class Selection:
    """What is left over, and what is not touched though one might think so.

    kept: finished cells, each with the sweeps that reuse it; registered: finished cells, each with
    the registered models that are its; unknown: RUNNING runs of other machines of which nobody can
    tell whether they are dead.
    """

    leftovers: Sequence[Leftover]
    kept: Sequence[tuple[Run, Sequence[str]]] = ()
    unknown: Sequence[Run] = ()
    registered: Sequence[tuple[Run, Sequence[str]]] = ()


def select(experiment: str, wanted: Wanted) -> Selection:
    """What is left over in an experiment, cells before the sweeps that they are of."""
    running = _ours(run_history.runs_of_status(experiment, "RUNNING"))
    alive = _alive(running, wanted)
    if wanted.finished and any(_is_sweep(run) and run.info.run_id in alive for run in running):
        raise BadInput(
            "a sweep is at work in this experiment, which may reuse what is finished; wait until "
            "it has ended, or end it where it is dead (--end with --host or --older-than)"
        )
    runs = _asked_for(experiment, running, wanted)
    kept = _reused_elsewhere(experiment, runs, wanted) if wanted.finished else []
    registered = _registered(runs) if wanted.finished else []
    spared = alive | {run.info.run_id for run, _ in (*kept, *registered)}
    found = [
        leftover
        for run in runs
        if run.info.run_id not in spared
        if (leftover := _leftover(experiment, run, wanted)) is not None
    ]
    return Selection(
        sorted(found, key=lambda one: (_is_sweep(one.run), one.run.info.start_time)),
        kept,
        [run for run in running if run.info.run_id in alive and not _is_known(run)],
        registered,
    )


def _asked_for(experiment: str, running: Sequence[Run], wanted: Wanted) -> list[Run]:
    """The runs among which to look: of a sweep, or of all those that have not finished."""
    if wanted.sweep is not None:
        sweeps = run_history.parents(experiment)
        cells = run_history.child_runs(experiment, wanted.sweep)
        return [*_ours(cells), *(run for run in sweeps if run.info.run_id == wanted.sweep)]
    statuses = () if wanted.older_than is None else ("FAILED", "KILLED")
    ended = (run_history.runs_of_status(experiment, status) for status in statuses)
    return [*running, *(run for runs in ended for run in _ours(runs))]


def seconds(text: str) -> float:
    """The seconds of an age as somebody writes it; BadInput where it is none.

    >>> seconds("7d"), seconds("12h"), seconds("30m")
    (604800.0, 43200.0, 1800.0)
    """
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isdecimal():
        raise BadInput(f"--older-than came as {text!r}; expected days, hours or minutes: 7d, 12h")
    return int(number) * UNITS[unit]


def age(seconds: float) -> str:
    """A time as it is read at a glance.

    >>> age(40), age(4000), age(100_000)
    ('1 min', '67 min', '28 h')
    """
    for unit, name in ((UNITS["d"], "d"), (UNITS["h"], "h"), (UNITS["m"], "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return "1 min"


def _ours(runs: Sequence[Run]) -> list[Run]:
    """The runs that this program has made."""
    return [run for run in runs if "host" in run.data.tags]


def _is_sweep(run: Run) -> bool:
    return "cells" in run.data.tags


def _is_known(run: Run) -> bool:
    """Whether one can tell from here if the process of a run is alive."""
    return processes.is_here(run.data.tags) or run_history.HEARTBEAT in run.data.tags


def _silent(run: Run) -> float:
    """Seconds since a run's last sign of life."""
    last = max(run.info.start_time, run.info.end_time or 0) / 1000
    return time.time() - max(last, float(run.data.tags.get(run_history.HEARTBEAT, 0)))


def _why_dead(run: Run, wanted: Wanted) -> str:
    """Why a RUNNING run is taken for dead; "" where it is not."""
    silent, host = _silent(run), run.data.tags["host"]
    if processes.is_here(run.data.tags):
        return "its process has ended" if processes.is_dead(run.data.tags) else ""
    if silent < DEAD_AFTER:
        return ""
    if run_history.HEARTBEAT in run.data.tags:
        return f"no heartbeat for {age(silent)}"
    if host == wanted.host:
        return "of the host that was named"
    return f"begun {age(silent)} ago" if wanted.older_than is not None else ""


def _alive(running: Sequence[Run], wanted: Wanted) -> set[str]:
    """The ids of the runs that may be at work, and of the sweeps of such cells."""
    alive = [run for run in running if not _why_dead(run, wanted)]
    parents = {run.data.tags.get(PARENT, "") for run in alive}
    return parents | {run.info.run_id for run in alive}


def _leftover(experiment: str, run: Run, wanted: Wanted) -> Leftover | None:
    """A run as what it is left over for; None where it is not, or not of what was asked for."""
    tags, status = run.data.tags, run.info.status
    signs, keeps = [_silent(run)], False
    if _is_sweep(run):
        cells = run_history.child_runs(experiment, run.info.run_id)
        signs += map(_silent, cells)
        finished = any(cell.info.status == "FINISHED" for cell in cells) or reused_run_ids(run)
        keeps = bool(finished) and not wanted.finished
    silent = min(signs)
    if wanted.host not in (None, tags["host"]) or silent < (wanted.older_than or 0):
        return None
    if status == "RUNNING":
        return Leftover(run, _why_dead(run, wanted), silent, keeps)
    if status == "FINISHED" and not wanted.finished:
        return None
    if keeps:
        return None
    return Leftover(run, tags.get("error", "") or status.lower(), silent)


def _reused_elsewhere(
    experiment: str, runs: Sequence[Run], wanted: Wanted
) -> list[tuple[Run, Sequence[str]]]:
    """The finished cells that sweeps which are still there reuse, and the ids of these."""
    others = [one for one in run_history.parents(experiment) if one.info.run_id != wanted.sweep]
    reused = {one.info.run_id: set(reused_run_ids(one)) for one in others}
    kept: list[tuple[Run, Sequence[str]]] = []
    for run in runs:
        listed = run.data.tags.get(view.SWEEPS, "").split(",")
        users = [one for one in reused if one in listed or run.info.run_id in reused[one]]
        if users and run.info.status == "FINISHED":
            kept.append((run, users))
    return kept


def _registered(runs: Sequence[Run]) -> list[tuple[Run, Sequence[str]]]:
    """Return the finished runs whose models are registered, and as what, see `sweep.registry`."""
    kept: list[tuple[Run, Sequence[str]]] = []
    for run in runs:
        if run.info.status == "FINISHED" and not _is_sweep(run):
            versions = MlflowClient().search_model_versions(f"run_id = '{run.info.run_id}'")
            if versions:
                kept.append((run, sorted({version.name for version in versions})))
    return kept
