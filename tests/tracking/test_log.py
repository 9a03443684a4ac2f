"""Runs end with the right status, and log what they are given."""

import contextlib
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from sweep import BadInput, NotApplicable, tracking
from sweep.tracking import store

ROOT = Path(__file__).resolve().parents[2]


def ended(root: Path, error: BaseException | None) -> mlflow.entities.Run:
    """A run in which `error` was raised."""
    experiment = store.connect(None, "runs", root)
    passed_on = contextlib.nullcontext() if error is None else pytest.raises(type(error))
    with passed_on, tracking.start_run(experiment, "one", {"a": 1}, {"flag": True}):
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


def test_a_run_that_cannot_end_raises_what_it_failed_of(root, monkeypatch):
    experiment = store.connect(None, "full", root)

    def full(*args, **kwargs):
        raise mlflow.MlflowException("database or disk is full")

    def fail():
        monkeypatch.setattr(MlflowClient, "set_terminated", full)
        monkeypatch.setattr(MlflowClient, "log_batch", full)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), tracking.start_run(experiment, "one", {}, {}):
        fail()


def test_a_run_that_fails_sends_what_it_had(root):
    experiment = store.connect(None, "cut off", root)
    with contextlib.suppress(KeyboardInterrupt), tracking.start_run(experiment, "", {}, {}) as log:
        log.metrics({"prune/channels": 3})
        log.text("config.yaml", "seed: 0")
        raise KeyboardInterrupt
    client = MlflowClient()
    assert client.get_run(log.run_id).data.metrics == {"prune/channels": 3}
    assert [file.path for file in client.list_artifacts(log.run_id)] == ["config.yaml"]


def test_it_knows_its_run_as_mlflow_gives_it_back(root):
    experiment = store.connect(None, "known", root)
    with tracking.start_run(experiment, "one", {"a": 1}, {"job": 0}) as log:
        log.curves({"curve/rate": [0.5, 0.25]}, [0, 4])
        log.rename("two")
    run, kept = log.run(), MlflowClient().get_run(log.run_id)
    assert run.info.status == kept.info.status == "FINISHED"
    assert run.info.artifact_uri == kept.info.artifact_uri
    assert kept.info.run_name == "two"
    for known in ("params", "tags", "metrics"):
        assert getattr(run.data, known) == getattr(kept.data, known)
