"""What is left over in an experiment is found, ended or deleted, and nothing else is touched."""

import os
import socket
import time

import mlflow
import psutil
import pytest
from mlflow.tracking import MlflowClient

from sweep.cleanup.command import main
from sweep.results.cells import reused_tags
from sweep.tracking import artifacts, store, view
from sweep.tracking.run_history import HEARTBEAT

HOUR = 3600
GONE = {"host": socket.gethostname(), "pid": str(10**9), "pid_started": "0"}
HERE = {
    "host": socket.gethostname(),
    "pid": str(os.getpid()),
    "pid_started": str(psutil.Process().create_time()),
}
ELSEWHERE = {"host": "elsewhere", "pid": "7", "pid_started": "0"}


class Shared:
    """An experiment, and what the command says of it."""

    def __init__(self, root, name, capsys):
        self.name, self.capsys, self.lines = name, capsys, []
        self.uri = f"sqlite:///{root / 'mlflow.db'}"
        self.id = store.connect(self.uri, name, root)
        self.client = MlflowClient()

    def run(self, status="RUNNING", hours=0.0, parent=None, **tags) -> str:
        """A run of a cell that began so many hours ago, with a file and a model."""
        began = int((time.time() - hours * HOUR) * 1000)
        tags = {"mlflow.parentRunId": parent, "job": "0", **tags}
        kept = {key: str(value) for key, value in tags.items() if value is not None}
        run_id = self.client.create_run(self.id, began, kept).info.run_id
        self.client.log_text(run_id, "seed: 0", "config.yaml")
        model = self.client.create_logged_model(self.id, source_run_id=run_id)
        self.client.finalize_logged_model(model.model_id, "READY")
        folder = artifacts.local_path(model.artifact_location)
        folder.mkdir(parents=True)
        (folder / "model.keras").write_text("a model")
        if status != "RUNNING":
            self.client.set_terminated(run_id, status, began)
        return run_id

    def sweep(self, status="FINISHED", hours=0.0, **tags) -> str:
        return self.run(status, hours, **{"cells": 2, "job": None, **tags})

    def command(self, *options: str, exits: int = 0) -> str:
        assert main([self.name, "--uri", self.uri, *options]) == exits
        captured = self.capsys.readouterr()
        self.lines = (captured.out + captured.err).splitlines()
        return " ".join(" ".join(self.lines).split())

    def status(self, run_id: str) -> str:
        run = mlflow.get_run(run_id)
        return run.info.status if run.info.lifecycle_stage == "active" else "deleted"

    def listed(self, *options: str) -> set[str]:
        """The runs that are listed, the status of all runs being what it was before."""
        runs = [run.info.run_id for run in self.client.search_runs([self.id])]
        before = [self.status(run) for run in runs]
        self.command(*options)
        assert [self.status(run) for run in runs] == before
        first = {line[:8] for line in self.lines}
        return {run for run in runs if run[:8] in first}


@pytest.fixture
def shared(root, request, capsys) -> Shared:
    return Shared(root, request.node.name, capsys)


def test_dead_runs_are_listed_by_process_heartbeat_host_and_age(shared):
    now = time.time()
    dead = {shared.run(hours=1, **GONE), shared.run(hours=1, **{**ELSEWHERE, HEARTBEAT: now - 301})}
    alive = shared.run(hours=99, **HERE), shared.run(hours=1, **{**ELSEWHERE, HEARTBEAT: now - 200})
    old = shared.run(hours=49, **ELSEWHERE)
    shared.run(**ELSEWHERE)  # too young for a heartbeat
    failed = shared.run("FAILED", hours=49, **HERE)
    shared.run("FINISHED", hours=99, **HERE)
    shared.client.create_run(shared.id)  # somebody else's
    assert shared.listed() == dead
    told = "2 runs are RUNNING without a heartbeat on elsewhere: left alone"
    assert told in shared.command()
    assert shared.listed("--older-than", "2d") == {old, failed}
    assert shared.listed("--older-than", "4m") == {*dead, old, failed}
    with_host = shared.listed("--host", "elsewhere")
    assert old in with_host
    assert len(with_host) == 2
    assert not with_host & {*alive, failed}
    assert shared.listed("--host", "nowhere") == set()
    assert shared.listed("--older-than", "9d") == set()


def test_dead_runs_are_ended_and_others_are_not(shared):
    parent = shared.sweep("RUNNING", 2, **GONE)
    dead = shared.run(hours=2, parent=parent, **GONE)
    done = shared.run("FINISHED", hours=2, parent=parent, **GONE)
    at_work = shared.sweep("RUNNING", 2, **GONE)  # its cells run elsewhere
    cell = shared.run(hours=2, parent=at_work, **{**ELSEWHERE, HEARTBEAT: time.time()})
    printed = shared.command("--end")
    assert "2 runs are KILLED now." in printed
    assert [shared.status(run) for run in (parent, dead, done)] == ["KILLED", "KILLED", "FINISHED"]
    assert [shared.status(run) for run in (at_work, cell)] == ["RUNNING", "RUNNING"]
    assert mlflow.get_run(dead).data.tags["error"] == "its process ended without a word"
    assert "Nothing is left over" in shared.command("--end")


def test_what_failed_long_ago_is_deleted_with_its_files_and_models(shared, root):
    bare, half = shared.sweep("FAILED", 50, **GONE), shared.sweep("FAILED", 50, **GONE)
    runs = [shared.run("FAILED", 50, bare, **GONE), shared.run("KILLED", 50, **GONE)]
    runs.append(shared.run("RUNNING", 50, half, **GONE))
    done = shared.run("FINISHED", 50, half, **GONE)
    new = shared.run("FAILED", 1, **GONE)
    shared.client.set_experiment_tag(shared.id, view.TAG + bare, "{}")
    printed = shared.command("--delete", "--older-than", "2d")
    assert "4 runs are deleted, with models and files." in printed
    assert f"mlflow gc --backend-store-uri {shared.uri} --tracking-uri {shared.uri}" in printed
    assert {shared.status(run) for run in [bare, *runs]} == {"deleted"}
    statuses = [shared.status(run) for run in (half, done, new)]
    assert statuses == ["FAILED", "FINISHED", "FAILED"]
    place = root / "mlruns" / shared.name
    assert {path.name for path in place.iterdir()} == {half, done, new, "models"}
    models = shared.client.search_logged_models([shared.id])
    assert {model.source_run_id for model in models} == {half, done, new}
    assert {path.name for path in (place / "models").iterdir()} == {one.model_id for one in models}
    assert view.TAG + bare not in shared.client.get_experiment(shared.id).tags


def test_a_whole_sweep_is_deleted_but_for_cells_that_others_reuse(shared):
    sweep, other = shared.sweep(hours=9, **GONE), shared.sweep(hours=9, **GONE)
    lone = shared.run("FINISHED", 9, sweep, **GONE, sweeps=f"{sweep},{'0' * 32}")
    failed = shared.run("FAILED", 9, sweep, **GONE, sweeps=sweep)
    tagged = shared.run("FINISHED", 9, sweep, **GONE, sweeps=f"{sweep},{other}")
    listed = shared.run("FINISHED", 9, sweep, **GONE, sweeps=sweep)
    for tag, ids in reused_tags({0: mlflow.get_run(listed)}).items():
        shared.client.set_tag(other, tag, ids)
    theirs = shared.run("FINISHED", 9, other, **GONE, sweeps=f"{other},{sweep}")
    assert shared.listed("--sweep", sweep[:12]) == {failed}
    at_work = shared.sweep("RUNNING", **HERE)
    refused = shared.command("--sweep", sweep, "--finished", "--delete", exits=2)
    assert "a sweep is at work in this experiment" in refused
    shared.client.set_terminated(at_work, "FINISHED")
    told = f"2 runs are kept, as other sweeps reuse them: {other[:8]}."
    assert told in shared.command("--sweep", sweep, "--finished")
    assert told in shared.command("--sweep", sweep, "--finished", "--delete")
    assert {shared.status(run) for run in (sweep, lone, failed)} == {"deleted"}
    left = (other, tagged, listed, theirs)
    assert {shared.status(run) for run in left} == {"FINISHED"}


def test_a_whole_sweep_is_deleted_but_for_cells_whose_models_are_registered(shared):
    sweep = shared.sweep(hours=9, **GONE)
    lone, kept = (shared.run("FINISHED", 9, sweep, **GONE, sweeps=sweep) for _ in range(2))
    shared.client.create_registered_model("cleanup-door")
    shared.client.create_model_version("cleanup-door", "s3://bucket/model", kept)
    told = "1 run is kept, as registered: cleanup-door."
    assert told in shared.command("--sweep", sweep, "--finished")
    assert told in shared.command("--sweep", sweep, "--finished", "--delete")
    assert [shared.status(run) for run in (sweep, lone, kept)] == ["deleted"] * 2 + ["FINISHED"]
    folder = artifacts.local_path(mlflow.get_run(kept).info.artifact_uri)
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--older-than", "soon"], "--older-than came as 'soon'; expected days, hours or minutes"),
        (["--finished"], "--finished goes with --sweep ID"),
        (["--sweep", "ffff"], "with which 0 of the 0 sweeps of this experiment begin"),
    ],
)
def test_what_cannot_be_asked_for_is_told(shared, options, told):
    assert told in shared.command(*options, exits=2)


def test_an_experiment_or_a_database_that_is_not_there_is_told(shared, tmp_path):
    shared.name = "nothing"
    assert "there is no experiment 'nothing' at sqlite:///" in shared.command(exits=2)
    shared.uri = f"sqlite:///{tmp_path}/none.db"
    assert "none.db is not there" in shared.command(exits=2)
