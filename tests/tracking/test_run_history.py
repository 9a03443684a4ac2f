"""Which runs of earlier sweeps count: finished ones are found, dead ones are marked."""

import os
import socket
import zipfile

import mlflow
import psutil
import pytest
from mlflow.tracking import MlflowClient

from sweep import tracking
from sweep.tracking import artifacts, run_history, store


def test_the_children_of_a_parent_are_found_beyond_one_page(root, monkeypatch):
    experiment = store.connect(None, "family", root)
    client = MlflowClient()
    parent = client.create_run(experiment).info.run_id
    mine = {
        client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
        for _ in range(5)
    }
    client.create_run(experiment, tags={"mlflow.parentRunId": "somebody else"})
    search = MlflowClient.search_runs

    def few(self, *args, **kwargs):
        return search(self, *args, max_results=2, **kwargs)

    monkeypatch.setattr(MlflowClient, "search_runs", few)
    assert {run.info.run_id for run in run_history.child_runs(experiment, parent)} == mine


def test_the_newest_finished_run_of_a_cell_is_found_if_what_it_logged_is_there(root):
    experiment = store.connect(None, "all cells, 100 %", root)  # not a URI as it is

    def made(cell: str, *, artifacts: bool = True) -> str:
        with tracking.start_run(experiment, "one", {}, {run_history.CELL: cell}) as log:
            if artifacts:
                log.text("config.yaml", "seed: 0")
        return log.run_id

    made("a")
    newest = made("a")
    made("a", artifacts=False)
    made("b")
    with (
        pytest.raises(ZeroDivisionError),
        tracking.start_run(experiment, "", {}, {run_history.CELL: "a"}),
    ):
        raise ZeroDivisionError
    assert run_history.find_finished(experiment, "a").info.run_id == newest
    assert run_history.find_finished(experiment, "c") is None
    with tracking.start_run(
        experiment, "", {run_history.MODELS: False}, {run_history.CELL: "a"}
    ) as bare:
        bare.text("config.yaml", "seed: 0")
    assert run_history.find_finished(experiment, "a").info.run_id == bare.run_id
    assert run_history.find_finished(experiment, "a", models=True).info.run_id == newest
    MlflowClient().delete_run(bare.run_id)
    MlflowClient().delete_run(newest)
    assert run_history.find_finished(experiment, "a").info.run_id != newest


@pytest.mark.parametrize("per_cell", [0, 1, 100])
def test_the_finished_runs_of_many_cells_are_those_that_are_found_one_by_one(
    root, per_cell, monkeypatch
):
    monkeypatch.setattr(run_history, "PER_CELL", per_cell)
    monkeypatch.setattr(run_history, "PAGE", 2)
    experiment = store.connect(None, f"many cells, {per_cell}", root)
    for cell in ("a", "b", "c", "a", "d"):
        models = {run_history.MODELS: cell != "b"}
        with tracking.start_run(experiment, "", models, {run_history.CELL: cell}) as log:
            log.text("config.yaml", "seed: 0")
    with tracking.start_run(experiment, "", {}, {run_history.CELL: "e"}):
        pass  # what it logged is gone
    for models, known in ((False, set("abcd")), (True, set("acd"))):
        found = run_history.find_all_finished(experiment, set("abcdef"), models=models)
        assert set(found) == known
        for cell, run in found.items():
            one = run_history.find_finished(experiment, cell, models=models)
            assert one.info.run_id == run.info.run_id


def test_runs_whose_process_is_gone_are_killed_and_no_others(root):
    experiment = store.connect(None, "dead", root)
    here = {"host": socket.gethostname()}
    mine = psutil.Process().create_time()
    gone = max(psutil.pids()) + 10**6
    runs = {
        "alive": here | {"pid": os.getpid(), "pid_started": mine},
        "gone": here | {"pid": gone, "pid_started": mine},
        "number given anew": here | {"pid": os.getpid(), "pid_started": mine - 3600},
        "another machine's": {"host": "elsewhere", "pid": gone, "pid_started": mine},
        "of an older version": here | {"pid": gone},
    }
    client = MlflowClient()
    ids = {
        name: client.create_run(experiment, tags={k: str(v) for k, v in tags.items()}).info.run_id
        for name, tags in runs.items()
    }
    marked = {run.info.run_id for run in run_history.mark_dead_runs(experiment)}
    assert marked == {ids["gone"], ids["number given anew"]}
    statuses = {name: mlflow.get_run(run_id).info.status for name, run_id in ids.items()}
    assert {name for name, status in statuses.items() if status == "KILLED"} == {
        "gone",
        "number given anew",
    }
    assert mlflow.get_run(ids["gone"]).data.tags["error"] == run_history.DEAD
    assert run_history.mark_dead_runs(experiment) == []


def test_models_that_a_dead_run_had_not_finished_are_deleted(root, tmp_path):
    # a folder whose name is another in a URI
    place = tmp_path / "a b%c"
    client = MlflowClient()
    experiment = client.create_experiment("half", place.as_uri())
    gone = {"host": socket.gethostname(), "pid": str(10**9), "pid_started": "0"}
    run = client.create_run(experiment, tags=gone)
    whole, half = (
        client.create_logged_model(experiment, source_run_id=run.info.run_id) for _ in range(2)
    )
    client.finalize_logged_model(whole.model_id, "READY")
    for model in (whole, half):
        path = artifacts.local_path(model.artifact_location)
        assert path.is_relative_to(place)
        path.mkdir(parents=True)
        (path / "model.keras").write_text("half of")
    files = artifacts.local_path(run.info.artifact_uri)
    files.mkdir(parents=True)
    (files / "goodnet.keras").write_text("half of")
    with zipfile.ZipFile(files / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (dead,) = run_history.mark_dead_runs(experiment)
    assert dead.info.run_id == run.info.run_id
    (left,) = client.search_logged_models([experiment])
    assert left.model_id == whole.model_id
    assert {path.name for path in place.rglob("*.keras")} == {"model.keras", "other.keras"}
    assert not artifacts.local_path(half.artifact_location).parent.exists()
