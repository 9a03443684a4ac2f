"""A cell under way is claimed by its run: RUNNING, with the cell's digest and a sign of life.

A claim dies with its process. On this machine the process is looked up; of another machine the
run's heartbeat tells, a tag that is renewed every `BEAT` seconds. Each process first writes its run
and then looks for others, so of two that begin the same cell at the same moment one sees the
other, and the one that began later withdraws. One that looked before the earlier run was written
does not: the earlier sees it stay, and withdraws itself. Where both do, the cell is tried again.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from sweep import processes
from sweep.tracking import run_history

BEAT = 30.0  # seconds
DEAD_AFTER = 300.0  # seconds without a heartbeat
LOOK = 0.1  # seconds between two looks at whether another process withdraws
PATIENCE = 5.0  # seconds that it is given for that


class Claimed(Exception):
    """Another process is at work on the cell, or has finished it."""


def is_alive(run: Run) -> bool:
    """Whether the process of a RUNNING run may still be at work on it."""
    tags = run.data.tags
    if processes.is_here(tags):
        return not processes.is_dead(tags)
    beaten = max(float(tags.get(run_history.HEARTBEAT, 0)), run.info.start_time / 1000)
    return time.time() - beaten < DEAD_AFTER


def claims(experiment: str, cell: str) -> list[Run]:
    """The runs by which other processes claim a cell, the one that began first in front."""
    filter_string = f"attributes.status = 'RUNNING' and tags.{run_history.CELL} = '{cell}'"
    running = MlflowClient().search_runs([experiment], filter_string, ViewType.ACTIVE_ONLY)
    others = [run for run in running if not processes.is_current(run.data.tags) and is_alive(run)]
    return sorted(others, key=_rank)


def withdraw_if_later(run_id: str, experiment: str, cell: str) -> None:
    """Raise Claimed, and delete the run, where another process began the same cell before.

    Also where one that began later does not withdraw, since it began before it could see this one.
    """
    own, until = _rank(MlflowClient().get_run(run_id)), time.monotonic() + PATIENCE
    while others := claims(experiment, cell):
        if _rank(others[0]) < own or time.monotonic() > until:
            withdraw(run_id, where(others))
        time.sleep(LOOK)


def withdraw(run_id: str, reason: str) -> NoReturn:
    """Delete the run, and raise Claimed."""
    MlflowClient().delete_run(run_id)
    raise Claimed(reason)


def _rank(run: Run) -> tuple[int, str]:
    return run.info.start_time, run.info.run_id


@contextmanager
def heartbeat(run_id: str) -> Iterator[None]:
    """Renew the heartbeat of a run meanwhile; one that is over sooner than `BEAT` has none."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(run_id, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _beat(run_id: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(Exception):  # the run itself sees when nothing can be logged
            MlflowClient().set_tag(run_id, run_history.HEARTBEAT, f"{time.time():.0f}")


def where(runs: Sequence[Run]) -> str:
    """Where runs are at work: hosts and processes, each once."""
    return ", ".join(dict.fromkeys(map(_process, (run.data.tags for run in runs))))


def _process(tags: Mapping[str, str]) -> str:
    return f"process {tags.get('pid', '?')} on {tags.get('host', '?')}"
