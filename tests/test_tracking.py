"""Runs end with the right status, and the door to MLflow holds."""

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from sweep import BadInput, NotApplicable, tracking

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a migrated database, which costs seconds to make."""
    folder = tmp_path_factory.mktemp("tracked")
    tracking.connect(f"sqlite:///{folder / 'mlflow.db'}", "runs", folder)
    return folder


@pytest.fixture(autouse=True)
def no_uri_from_outside(monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def ended(root: Path, error: BaseException | None) -> mlflow.entities.Run:
    """A run in which `error` was raised."""
    experiment = tracking.connect(None, "runs", root)
    passed_on = contextlib.nullcontext() if error is None else pytest.raises(type(error))
    with passed_on, tracking.run(experiment, "one", {"a": 1}, {"flag": True}):
        if error is not None:
            raise error
    return MlflowClient().search_runs([experiment], max_results=1)[0]


@pytest.mark.parametrize(
    ("error", "status", "tag", "sentence"),
    [
        (None, "FINISHED", None, None),
        (NotApplicable("not here"), "FINISHED", "SKIPPED", "not here"),
        (BadInput("no such layer"), "FAILED", None, "no such layer"),
        (ZeroDivisionError("oh"), "FAILED", None, "ZeroDivisionError: oh"),
        (KeyboardInterrupt(), "KILLED", None, None),
        (SystemExit(3), "KILLED", None, None),
    ],
)
def test_a_run_ends_as_what_happened_in_it(root, error, status, tag, sentence):
    run = ended(root, error)
    assert run.info.status == status
    assert run.data.tags.get("status") == tag
    assert run.data.tags.get("error") == sentence
    assert run.data.tags["flag"] == "true"
    assert run.data.params == {"a": "1"}


def test_the_environment_says_where_runs_go_unless_the_config_does(root, tmp_path, monkeypatch):
    elsewhere = f"sqlite:///{root / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    tracking.connect(None, "runs", tmp_path)
    assert mlflow.get_tracking_uri() == elsewhere
    assert not (tmp_path / "mlflow.db").exists()


def test_artifacts_lie_beside_the_database(root):
    experiment = mlflow.get_experiment(tracking.connect(None, "beside", root))
    assert experiment.artifact_location == (root / "mlruns" / "beside").as_uri()


def test_a_deleted_experiment_is_refused(root):
    experiment = tracking.connect(None, "gone", root)
    MlflowClient().delete_experiment(experiment)
    with pytest.raises(BadInput, match=r"tracking.experiment=gone was deleted"):
        tracking.connect(None, "gone", root)


def test_a_uri_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be used by MLflow"):
        tracking.connect("nonsense://x", "runs", tmp_path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "the disk is full (/a/b); what"),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), "/a/b is closed to this user or"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b is closed to this user"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "the disk is full ("),
        (RuntimeError("attempt to write a readonly database"), "is closed to this user or read-on"),
    ],
)
def test_what_cannot_be_written_is_told_in_a_sentence_whatever_it_caused(error, told):
    later = ValueError("something else")
    later.__cause__ = error
    for one in (error, later):
        assert told in str(tracking.unwritable(one))
    assert tracking.unwritable(ValueError("something else")) is None
    assert tracking.unwritable(BadInput("No space left on device")) is None


def test_a_run_that_cannot_end_raises_what_it_failed_of(root, monkeypatch):
    experiment = tracking.connect(None, "full", root)

    def full(*args, **kwargs):
        raise mlflow.MlflowException("database or disk is full")

    def fail():
        monkeypatch.setattr(MlflowClient, "set_terminated", full)
        monkeypatch.setattr(tracking.Log, "tags", full)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), tracking.run(experiment, "one", {}, {}):
        fail()
    assert mlflow.active_run() is None


def test_two_processes_may_touch_an_empty_database_at_once(tmp_path):
    code = "import sys, pathlib; from sweep import tracking; "
    code += "print(tracking.connect(None, 'both', pathlib.Path(sys.argv[1])))"
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert [printed.strip() for printed, _ in answers] == ["1", "1"]


def test_the_command_to_look_is_bare_where_mlflow_looks_by_itself(root, monkeypatch):
    tracking.connect(None, "runs", root)
    monkeypatch.chdir(root)
    assert tracking.how_to_look() == "mlflow ui"
    monkeypatch.chdir(root.parent)
    expected = f"mlflow ui --backend-store-uri sqlite:///{root / 'mlflow.db'}"
    assert tracking.how_to_look() == expected
