"""Servers that go away while a cell is at work, for a while or for good."""

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from subprocess import CalledProcessError

import mlflow
import pytest
from crashes import SMALL, Project
from mlflow.tracking import MlflowClient
from services import (
    PASSWORD,
    MlflowServer,
    Postgres,
    needs_postgres,
    postgres,
    told_in,
    with_password,
)
from started_sweeps import Sweep

pytestmark = pytest.mark.services
WORKERS = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
MODELS = "SELECT count(*) FROM logged_models"  # that cells have begun to log, two a cell


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgres]:
    with postgres() as started:
        started.make_tables()
        yield started


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared / "outputs", tmp_path / "project" / "outputs")
    return tmp_path / "project"


def models_in(database: Postgres, name: str) -> int:
    with suppress(CalledProcessError):  # there are no tables yet
        return int(database.query(MODELS, name))
    return 0


def when(sweep: Sweep, models: Callable[[], int], count: int) -> None:
    """Wait until so many models are begun."""
    while models() < count:
        assert sweep.process.poll() is None, sweep.printed
        time.sleep(0.02)


@needs_postgres
@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(False, id="used directly", marks=pytest.mark.slow),
        pytest.param(True, id="behind a server"),
    ],
)
def test_a_database_that_is_back_in_time_is_waited_for_and_nothing_is_doubled(
    behind, postgresql, folder, tmp_path
):
    name = "behind" if behind else "direct"
    uri = postgresql.create(name, tables=True)
    server = MlflowServer(uri, tmp_path) if behind else None
    project = Project(folder, "-m", *SMALL, "prune.frac=0.02,0.1,0.2")
    where = f"tracking.uri={server.uri if server else uri}"
    place = () if server else (f"tracking.artifacts={tmp_path / 'place'}",)
    try:
        sweep = Sweep(project, where, *place)
        when(sweep, lambda: models_in(postgresql, name), 3)
        postgresql.stop()
        threading.Timer(12, postgresql.start).start()
        assert sweep.wait() == 0, sweep.printed
        assert sum(line.startswith("waiting for ") for line in sweep.printed.splitlines()) == 1
        assert "up to 60 s" in sweep.printed
        again = Sweep(project, where)
        assert again.wait() == 0
        assert "3 cells: 0 to run, 3 finished before" in again.printed
        count = "SELECT status, count(*) FROM runs GROUP BY status"
        assert postgresql.query(count, name) == "FINISHED|5"
        assert postgresql.query(f"{MODELS} WHERE lifecycle_stage = 'active'", name) == "6"
        doubled = "SELECT count(*) FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        assert postgresql.query(doubled, name) == ""
        assert told_in(project.folder) == []
    finally:
        if server:
            server.stop()


@needs_postgres
@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), WORKERS], ids=["one process", "two workers"])
def test_a_database_that_is_gone_ends_a_sweep_and_what_cells_found_is_logged_later(
    workers, postgresql, folder, tmp_path
):
    name = f"gone-{len(workers)}"
    uri, place = postgresql.create(name, tables=True), f"tracking.artifacts={tmp_path / 'place'}"
    given = (f"tracking.uri={uri}", "tracking.patience=3", *workers)
    project = Project(folder, "-m", *SMALL, *given, "prune.frac=0.02,0.06,0.1,0.2,0.3,0.4")
    sweep = Sweep(project, place)
    when(sweep, lambda: models_in(postgresql, name), 3)
    try:
        postgresql.stop()
        assert sweep.wait() == 1, sweep.printed
    finally:
        postgresql.start()
    assert "Traceback" not in sweep.printed
    assert "cannot be reached" in sweep.words
    assert "the same command again runs these alone" in sweep.words
    kept = len(list(project.folder.glob("outputs/unsent/*/run.json")))
    assert kept >= 1, sweep.printed
    assert f"{kept} could not be logged" in sweep.words
    assert told_in(project.folder) == []
    again = Sweep(project)
    assert again.wait() == 0, again.printed
    cells = "1 cell" if kept == 1 else f"{kept} cells"
    assert f"{cells} that could not be logged: logged now" in again.printed
    assert not list(project.folder.glob("outputs/unsent/*/run.json"))
    finished = "SELECT count(*), count(DISTINCT value) FROM tags JOIN runs USING (run_uuid) "
    finished += "WHERE key = 'cell' AND status = 'FINISHED'"
    assert postgresql.query(finished, name) == "6|6"
    assert "RUNNING" not in postgresql.query("SELECT status FROM runs", name)


def models(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(MODELS).fetchone()[0]


def test_what_the_cut_cell_found_is_logged_by_the_same_command(folder, prepared, tmp_path):
    shutil.copy(prepared / "mlflow.db", tmp_path / "runs.db")
    server = MlflowServer(f"sqlite:///{tmp_path / 'runs.db'}", tmp_path)
    where = (f"tracking.uri={with_password(server.uri)}", "tracking.patience=2")
    given = ("-m", *SMALL, "prune.frac=0.02,0.1,0.2", *where)
    project = Project(folder, *given)
    try:
        sweep = Sweep(project)
        when(sweep, lambda: models(tmp_path / "runs.db"), 3)
        server.stop()
        assert sweep.wait() == 1, sweep.printed
        printed = sweep.printed
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
        assert told_in(project.folder) == []
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
