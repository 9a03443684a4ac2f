"""The door to MLflow holds: a database is whole or not there, and what can't be used is told."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient

from sweep import BadInput
from sweep.tracking import artifacts, store

ROOT = Path(__file__).resolve().parents[2]


def connecting(folder: Path) -> subprocess.Popen:
    """A process that connects to the database of a folder, and prints the experiment's id."""
    code = "import sys, pathlib; from sweep.tracking import store as stores; "
    code += "print(stores.connect(None, 'both', pathlib.Path(sys.argv[1])))"
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_environment_says_where_runs_go_unless_the_config_does(root, tmp_path, monkeypatch):
    elsewhere = f"sqlite:///{root / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    store.connect(None, "runs", tmp_path)
    assert mlflow.get_tracking_uri() == elsewhere
    assert not (tmp_path / "mlflow.db").exists()


def test_artifacts_lie_beside_the_database(root):
    experiment = mlflow.get_experiment(store.connect(None, "beside", root))
    assert experiment.artifact_location == (root / "mlruns" / "beside").as_uri()


def test_a_deleted_experiment_is_refused(root):
    experiment = store.connect(None, "gone", root)
    MlflowClient().delete_experiment(experiment)
    with pytest.raises(BadInput, match=r"tracking.experiment=gone was deleted"):
        store.connect(None, "gone", root)


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:////proc/nothing.db"])
def test_a_uri_that_is_none_is_refused(uri, tmp_path):
    with pytest.raises(BadInput, match="cannot be used by MLflow"):
        store.connect(uri, "runs", tmp_path)


HOLDER = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], isolation_level=None) as database:
    database.execute("BEGIN EXCLUSIVE")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_holds_a_locked_database_is_told_at_the_start(database, tmp_path):
    path = Path(shutil.copy(database, tmp_path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Exception, match="database is locked") as raised:
            store.connect(f"sqlite:///{path}", "runs", tmp_path)
        told = str(store.logging_failure(raised.value))
        holder.stdin.close()
    assert f"{path} stays locked by another process" in told
    assert f"(pid {holder.pid})" in told
    assert store.connect(f"sqlite:///{path}", "runs", tmp_path) == "1"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "the disk is full (/a/b); what"),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), "/a/b is closed to this user or"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b is closed to this user"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "the disk is full ("),
        (RuntimeError("(sqlite3.OperationalError) database is locked"), "/mlflow.db stays locked"),
        (RuntimeError("attempt to write a readonly database"), "is closed to this user or read-on"),
    ],
)
def test_what_cannot_be_written_is_told_in_a_sentence_whatever_it_caused(error, told, root):
    store.connect(None, "runs", root)
    later = ValueError("something else")
    later.__cause__ = error
    for one in (error, later):
        assert told in str(store.logging_failure(one))
    assert store.logging_failure(ValueError("something else")) is None
    assert store.logging_failure(BadInput("No space left on device")) is None


def asked(uri: str) -> BaseException:
    """What MLflow raises where runs at `uri` are asked for once."""
    with pytest.raises(mlflow.MlflowException) as raised:
        MlflowClient(uri).get_run("1")
    return raised.value


def test_a_server_that_does_not_answer_is_told_in_a_sentence_at_once(tmp_path, monkeypatch):
    assert store.logging_failure(requests.ConnectionError("somebody else's")) is None
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"http://me:PASSWORD@127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
            monkeypatch.setenv(name, "100")
        store.stop_retrying()
        told = "the runs at {} cannot be reached ({}): see to the server"
        assert str(store.logging_failure(asked(uri))).startswith(
            told.format(uri, "Connection refused")
        )
        silent.listen()
        began = time.monotonic()
        assert str(store.logging_failure(asked(uri))).startswith(told.format(uri, "timed out"))
    assert time.monotonic() - began < 10


def test_files_of_runs_are_not_asked_for_one_by_one_of_a_server_that_is_gone(monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://127.0.0.1:1")
    places = ["http://127.0.0.1:1/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts"] * 100
    began = time.monotonic()
    with pytest.raises(mlflow.MlflowException) as error:
        artifacts.read_all(places, "curve.csv")
    mlflow.set_tracking_uri(before)
    assert "(Connection refused)" in str(store.logging_failure(error.value))
    assert time.monotonic() - began < 30
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"


def test_a_database_server_that_is_not_there_is_told(root, monkeypatch):
    error = mlflow.MlflowException("server closed the connection", TEMPORARILY_UNAVAILABLE)
    store.connect(None, "runs", root)
    assert store.logging_failure(error) is None
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "postgresql://host/runs")
    assert "(server closed the connection): see to the" in str(store.logging_failure(error))


def test_a_wrong_address_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "10")
    before, began = mlflow.get_tracking_uri(), time.monotonic()
    with pytest.raises(mlflow.MlflowException) as error:
        store.connect("http://127.0.0.1:1", "runs", tmp_path)
    mlflow.set_tracking_uri(before)
    assert "(Connection refused)" in str(store.logging_failure(error.value))
    assert time.monotonic() - began < 10
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "10"


def test_two_processes_may_touch_an_empty_database_at_once(tmp_path):
    processes = [connecting(tmp_path) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert [printed.strip() for printed, _ in answers] == ["1", "1"]


def test_who_is_killed_while_the_database_is_made_leaves_none(tmp_path, root):
    killed = connecting(tmp_path)
    while not [path for path in tmp_path.glob(".mlflow*/mlflow.db") if path.stat().st_size]:
        assert killed.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (half,) = tmp_path.glob(".mlflow*/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
    assert store.connect(None, "both", tmp_path) == "1"
    assert not half.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlruns", "outputs"}


def test_the_command_to_look_is_bare_where_mlflow_looks_by_itself(root, monkeypatch):
    store.connect(None, "runs", root)
    monkeypatch.chdir(root)
    assert store.view_command() == "mlflow ui"
    monkeypatch.chdir(root.parent)
    expected = f"mlflow ui --backend-store-uri sqlite:///{root / 'mlflow.db'}"
    assert store.view_command() == expected
