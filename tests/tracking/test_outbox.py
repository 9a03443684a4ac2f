"""What a run has found goes to MLflow in few calls, all of it and once."""

from pathlib import Path

import pytest
import runs
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Run, RunInfo

from sweep.tracking import outbox, store
from sweep.tracking.outbox import Outbox


@pytest.fixture
def calls(monkeypatch) -> list[tuple[int, int, int]]:
    """How many metrics, params and tags each call sent."""
    made, log_batch = [], MlflowClient.log_batch

    def counted(self, run_id, metrics=(), params=(), tags=()):
        made.append((len(metrics), len(params), len(tags)))
        return log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    return made


@pytest.fixture
def run(root) -> Run:
    """A run that has begun."""
    experiment = store.connect(None, "outbox", root)  # before the client, which keeps its address
    return MlflowClient().create_run(experiment)


def test_all_goes_in_as_few_calls_as_the_limits_allow(run, calls):
    sent = Outbox(run)
    sent.params |= {f"p{number}": "1" for number in range(150)}
    sent.tags |= {f"t{number}": "2" for number in range(20)}
    sent.metrics += [Metric("curve/rate", step / 2, 1, step) for step in range(1100)]
    sent.send()
    assert calls == [(880, 100, 20), (220, 50, 0)]
    client = MlflowClient()
    data = client.get_run(run.info.run_id).data
    assert data.params == {f"p{number}": "1" for number in range(150)}
    assert {name: data.tags[name] for name in data.tags if name[0] == "t"} == {
        f"t{number}": "2" for number in range(20)
    }
    history = client.get_metric_history(run.info.run_id, "curve/rate")
    assert sorted((point.step, point.value) for point in history) == [
        (step, step / 2) for step in range(1100)
    ]
    sent.send()
    assert len(calls) == 2


def test_what_could_not_be_sent_goes_with_the_next_attempt(run, calls, monkeypatch):
    sent, tries = Outbox(run), []
    sent.metrics += [Metric("rate", 1.0, 1, 0)]
    log_batch = MlflowClient.log_batch

    def away(*args):
        tries.append(args)
        if len(tries) == 1:
            raise MlflowException("gone")
        return log_batch(*args)

    monkeypatch.setattr(MlflowClient, "log_batch", away)
    with pytest.raises(MlflowException, match="gone"):
        sent.send()
    sent.tags["later"] = "yes"
    sent.send()
    data = MlflowClient().get_run(run.info.run_id).data
    assert data.metrics == {"rate": 1.0}
    assert data.tags["later"] == "yes"


def test_a_run_that_goes_on_sends_what_it_has_now_and_then(run, calls, monkeypatch):
    sent = Outbox(run)
    sent.tags["layer"] = "conv_3"
    sent.send_if_due()
    assert calls == []
    monkeypatch.setattr(outbox, "SECONDS", 0.0)
    sent.send_if_due()
    assert calls == [(0, 0, 1)]


def test_files_are_seen_when_they_are_sent(run):
    sent, client = Outbox(run), MlflowClient()
    sent.path("figures/a.txt").write_text("a")
    assert client.list_artifacts(run.info.run_id) == []
    sent.send()
    sent.path("figures/b.txt").write_text("b")
    sent.send()
    listed = client.list_artifacts(run.info.run_id, "figures")
    assert [file.path for file in listed] == ["figures/a.txt", "figures/b.txt"]


def test_files_for_a_server_are_uploaded_together(monkeypatch):
    info = RunInfo("0" * 32, "1", "me", "RUNNING", 0, None, "active", "mlflow-artifacts:/1/a")
    sent, uploaded = Outbox(Run(info, runs.run("a").data)), []

    def upload(self, run_id, folder):
        uploaded.append(sorted(path.name for path in Path(folder).rglob("*.txt")))

    monkeypatch.setattr(MlflowClient, "log_artifacts", upload)
    sent.path("figures/a.txt").write_text("a")
    sent.path("b.txt").write_text("b")
    sent.send()
    sent.send()
    assert uploaded == [["a.txt", "b.txt"]]


def test_two_processes_that_log_the_same_images_at_once_both_log_them(run, monkeypatch):
    """MLflow looks for a dataset and then adds it, so the second of two adds what is there."""
    sent, tries = Outbox(run), []

    def log_inputs(self, run_id, inputs):
        tries.append(inputs)
        if len(tries) == 1:
            raise MlflowException("UNIQUE constraint failed: datasets.experiment_id")

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    sent.datasets += ["an image"]
    sent.send()
    sent.send()
    assert tries == [["an image"], ["an image"]]
