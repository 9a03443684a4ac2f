"""A server that goes away for good while a cell is at work: what there is is shown and kept."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from crashes import SMALL, Project
from mlflow.tracking import MlflowClient
from services import MlflowServer

pytestmark = pytest.mark.services
PASSWORD = "n0t-to-be-t0ld"


def models(database: Path) -> int:
    """How many models cells have begun to log, by the database behind the server; two a cell."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM logged_models").fetchone()[0]


def test_what_the_cut_cell_found_is_logged_by_the_same_command(tmp_path):
    server = MlflowServer(f"sqlite:///{tmp_path / 'runs.db'}", tmp_path)
    (tmp_path / "project").mkdir()
    uri = server.uri.replace("//", f"//me:{PASSWORD}@")
    given = ("-m", *SMALL, "prune.frac=0.02,0.1,0.2", f"tracking.uri={uri}", "tracking.patience=2")
    project = Project(tmp_path / "project", *given)
    try:
        sweep = project.start()
        while models(tmp_path / "runs.db") < 3:
            assert sweep.poll() is None
            time.sleep(0.02)
        server.stop()
        printed, _ = sweep.communicate()
        assert sweep.returncode == 1, printed
        assert "what it has found is kept in outputs/unsent" in printed
        (row,) = (line for line in printed.splitlines() if line.startswith("0.1 "))
        assert row.split()[1] == "UNSENT"
        assert row.split()[-1] != "-"  # its numbers are shown
        words = " ".join(printed.split())
        assert "Of 3 cells 1 did not run and 1 could not be logged" in words
        (kept,) = project.folder.glob("outputs/unsent/*")
        run_id = json.loads((kept / "run.json").read_text())["run"]

        server.start()
        again = project.run()
        assert "1 cell that could not be logged: logged now" in again
        assert "3 cells: 1 to run, 2 finished before" in again
        assert not kept.exists()
        _is_whole(server.uri, run_id)
        assert PASSWORD not in printed + again
    finally:
        server.stop()


def _is_whole(uri: str, run_id: str) -> None:
    """Fail unless a run that was brought in is what its sister is, which was logged at once."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        client = MlflowClient()
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert "error" not in run.data.tags
        tag = f"tags.mlflow.parentRunId = '{run.data.tags['mlflow.parentRunId']}'"
        (sister,) = client.search_runs(
            [run.info.experiment_id], f"{tag} and attributes.run_id != '{run_id}'"
        )
        for of_run in ("params", "tags", "metrics"):
            assert vars(run.data)[f"_{of_run}"].keys() == vars(sister.data)[f"_{of_run}"].keys()
        files, of_sister = ({f.path for f in client.list_artifacts(one)}
                            for one in (run_id, sister.info.run_id))  # fmt: skip
        assert files == of_sister
        assert len(run.inputs.dataset_inputs) == len(sister.inputs.dataset_inputs)
        assert len(run.outputs.model_outputs) == 2
        models = client.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{run_id}'"
        )
        assert sorted(model.name for model in models) == ["goodnet", "repaired"]
        assert all(model.metrics for model in models)
        assert mlflow.keras.load_model(f"runs:/{run_id}/repaired") is not None
    finally:
        mlflow.set_tracking_uri(before)
