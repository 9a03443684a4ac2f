"""A cell under way belongs to the run that began first, as long as its process lives."""

import threading
import time

import mlflow
import psutil
import pytest
from mlflow import MlflowClient

from sweep import processes
from sweep.launching import claims
from sweep.tracking import store

HERE = processes.current_process()
OTHER = HERE | {"pid": 1, "pid_started": 0.0}  # the first process of any machine lives
DEAD = HERE | {"pid": 1, "pid_started": 12.0}


@pytest.fixture
def experiment(root) -> str:
    experiment = store.connect(f"sqlite:///{root / 'mlflow.db'}", f"claims {time.time_ns()}", root)
    return experiment


@pytest.fixture
def begin(experiment, monkeypatch):
    """Begin a run of cell `x` in a process, so many seconds ago."""
    OTHER["pid_started"] = psutil.Process(1).create_time()

    def begin(process, ago: float = 0, **tags: object) -> str:
        tags = {"cell": "x", **process, **tags}
        started = int((time.time() - ago) * 1000)
        return (
            MlflowClient()
            .create_run(experiment, started, {key: str(value) for key, value in tags.items()})
            .info.run_id
        )

    return begin


def held(experiment: str) -> list[str]:
    return [run.info.run_id for run in claims.claims(experiment, "x")]


def test_a_claim_is_a_running_run_of_another_process_that_lives(experiment, begin):
    begin(HERE)
    begin(DEAD)
    ended = begin(OTHER)
    MlflowClient().set_terminated(ended, "FINISHED")
    later, first = begin(OTHER, ago=1), begin(OTHER, ago=2)
    assert held(experiment) == [first, later]
    assert claims.claims(experiment, "y") == []


def test_a_claim_of_another_machine_dies_with_its_heartbeat(experiment, begin):
    there = {"host": "elsewhere", "pid": 7, "pid_started": 1.0}
    begin(there, ago=claims.DEAD_AFTER + 5)
    begin(there, ago=900, heartbeat=time.time() - claims.DEAD_AFTER - 5)
    young = begin(there, ago=claims.DEAD_AFTER - 60)
    beating = begin(there, ago=900, heartbeat=time.time() - 60)
    assert held(experiment) == [beating, young]


def is_withdrawn(run_id: str) -> bool:
    return mlflow.get_run(run_id).info.lifecycle_stage == "deleted"


def test_of_two_that_begin_at_once_the_later_withdraws(experiment, begin):
    mine = begin(HERE, ago=2)
    begin(OTHER, ago=3)
    with pytest.raises(claims.Claimed, match="process 1 on "):
        claims.withdraw_if_later(mine, experiment, "x")
    assert is_withdrawn(mine)


def test_of_two_that_begin_at_once_the_earlier_waits_for_the_other_to_withdraw(experiment, begin):
    mine, theirs = begin(HERE, ago=2), begin(OTHER, ago=1)
    other = threading.Timer(0.3, MlflowClient().delete_run, [theirs])
    other.start()
    claims.withdraw_if_later(mine, experiment, "x")
    assert is_withdrawn(theirs)
    assert not is_withdrawn(mine)
    other.join()


def test_of_two_the_earlier_withdraws_where_the_other_did_not_see_it(
    experiment, begin, monkeypatch
):
    monkeypatch.setattr(claims, "PATIENCE", 0.3)
    mine, theirs = begin(HERE, ago=2), begin(OTHER, ago=1)
    with pytest.raises(claims.Claimed, match="process 1 on "):
        claims.withdraw_if_later(mine, experiment, "x")
    assert is_withdrawn(mine)
    assert not is_withdrawn(theirs)


def test_a_heartbeat_is_renewed_until_the_run_is_over(begin, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.02)
    run = begin(HERE)
    with claims.heartbeat(run):
        for _ in range(200):
            if "heartbeat" in mlflow.get_run(run).data.tags:
                break
            time.sleep(0.02)
    beaten = float(mlflow.get_run(run).data.tags["heartbeat"])
    assert abs(beaten - time.time()) < 60
