"""Cells whose worker was killed: told as such, though the system needs a moment to see it dead."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from sweep import processes
from sweep.launching import lost, progress
from sweep.tracking import store

CELL = {"sweep": "this", "job": "0", "host": "here", "pid": "7", "pid_started": "1.0"}


@pytest.fixture
def plan(root, tmp_path):
    uri = f"sqlite:///{root / 'mlflow.db'}"
    experiment = store.connect(uri, f"lost {time.time_ns()}", root)
    return SimpleNamespace(experiment=experiment, parent="this", folder=str(tmp_path))


@pytest.fixture
def dead(monkeypatch) -> set[str]:
    """The pids of processes that have died."""
    pids: set[str] = set()
    monkeypatch.setattr(processes, "is_dead", lambda tags: tags.get("pid") in pids)
    monkeypatch.setattr(lost, "EVERY", 0.02)
    return pids


def begin(plan, **more: str) -> str:
    return MlflowClient().create_run(plan.experiment, tags=CELL | more).info.run_id


def state(run_id: str) -> tuple[str, str | None]:
    run = MlflowClient().get_run(run_id)
    return run.info.status, run.data.tags.get("error")


def told(tmp_path) -> list[str]:
    path = tmp_path / progress.PROGRESS
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_a_worker_that_is_dying_when_its_pool_tells_is_waited_for(plan, dead, tmp_path):
    killed, at_work = begin(plan), begin(plan, job="1", pid="8")
    later = threading.Timer(0.2, dead.add, ["7"])
    later.start()
    assert lost.mark_killed_workers(plan, ["x=1", "x=2"], set()) == set()
    assert state(killed) == ("KILLED", lost.WORKER_KILLED)
    assert state(at_work) == ("RUNNING", None)
    assert told(tmp_path) == [f"x=1: KILLED: {lost.WORKER_KILLED}"]


def test_who_was_ended_by_the_pool_is_not_to_blame(plan, dead, tmp_path):
    killed, ended = begin(plan), begin(plan, job="1", pid="8")
    dead |= {"7", "8"}
    assert lost.mark_killed_workers(plan, ["x=1", "x=2"], {8}) == {ended}
    assert state(killed) == ("KILLED", lost.WORKER_KILLED)
    assert state(ended) == ("KILLED", lost.ENDED_WITH_POOL)
    assert told(tmp_path) == [f"x=1: KILLED: {lost.WORKER_KILLED}"]


def test_a_worker_that_was_at_no_cell_and_the_dead_of_another_sweep_are_told_of_nobody(
    plan, dead, tmp_path
):
    other = begin(plan, sweep="another")
    dead.add("7")
    assert lost.mark_killed_workers(plan, ["x=1"], set()) == set()
    assert state(other)[0] == "KILLED"  # as that of any dead process
    assert not (tmp_path / progress.PROGRESS).exists()
