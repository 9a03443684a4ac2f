"""Runs in a PostgreSQL, used directly or behind an MLflow server, are what they are in SQLite."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from crashes import SMALL, Project
from program import ENVIRONMENT
from services import PASSWORD, MlflowServer, Postgres, needs_postgres, postgres

from sweep.results import paired, sources
from sweep.tracking import store

pytestmark = [pytest.mark.services, needs_postgres]
GRID = ("-m", *SMALL, "prune.frac=0.02,0.1", "tracking.experiment=shared")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgres]:
    with postgres() as started:
        started.make_tables()
        yield started


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(prepared / "outputs", folder / "outputs")
    return Project(folder, *GRID)


@pytest.fixture(autouse=True)
def _uri_as_before() -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def test_a_sweep_in_a_database_used_directly(postgresql, project, tmp_path):
    place, uri = tmp_path / "artifacts", postgresql.create("direct")
    where = f"tracking.uri={uri}"
    refused = project.run(where, exits=2)
    assert "the experiment shared is new, and the database at postgresql://" in refused
    printed = project.run(where, f"tracking.artifacts={place}")
    printed += (again := project.run(where.replace("postgresql:", "postgresql+psycopg:")))
    told = f"shared is a new experiment; artifacts: {(place / 'shared').as_uri()}"
    assert told in printed.splitlines()
    assert f"Or in one step: python -m sweep.view --uri {uri.replace(PASSWORD, '***')}" in printed
    assert again.startswith("2 cells: 0 to run, 2 finished before\n")
    moved = project.run(where, "tracking.artifacts=/elsewhere", exits=2)
    assert "has its artifacts at file:///" in moved
    assert PASSWORD not in refused + printed + moved + postgresql.dump("direct")
    _looks_as_ever(uri, tmp_path)
    shutil.move(place / "shared", tmp_path / "away")
    assert "is not there on this machine" in project.run(where, exits=2)


def test_a_sweep_on_a_server_with_that_database_behind(postgresql, project, tmp_path):
    server = MlflowServer(postgresql.create("behind", tables=True), tmp_path)
    try:
        where = f"tracking.uri={server.uri}"
        project.run(where)
        assert project.run(where).startswith("2 cells: 0 to run, 2 finished before\n")
        refused = project.run(where, "tracking.artifacts=/elsewhere", exits=2)
        assert "on a server, which has its own place for artifacts" in refused
        _looks_as_ever(server.uri, tmp_path)
    finally:
        server.stop()


def _looks_as_ever(uri: str, folder: Path) -> None:
    """Fail unless what reads runs reads those at `uri`: report, paired, models, view, pages."""
    mlflow.set_tracking_uri(uri)
    store.use_existing(uri)
    (sweep,) = (run for run in _runs() if run.data.tags.get("cells") and "reused.0" not in
                run.data.tags)  # fmt: skip
    entries = sources.find([sweep.info.run_id], uri)
    assert [entry.cell.status for entry in entries] == ["FINISHED"] * 2
    first, second = (entry.run.info.run_id for entry in entries)
    paired.print_comparison([first, second], uri)
    assert mlflow.keras.load_model(f"runs:/{first}/repaired") is not None
    written = ("sweep.report", sweep.info.run_id, "--format", "csv", "--output", "out.csv")
    assert "Written: out.csv" in _command(folder, *written, "--uri", uri)
    pages = ("sweep.results", "--experiment", "shared", "--uri", uri)  # this sweep is none of them
    assert "holds no finished cell of a page of results" in _command(folder, *pages)


def _command(folder: Path, module: str, *words: str) -> str:
    command = [sys.executable, "-m", module, *words]
    ended = subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True)
    return ended.stdout + ended.stderr


def _runs() -> list[mlflow.entities.Run]:
    return mlflow.search_runs(experiment_names=["shared"], output_format="list")


def test_two_that_come_first_at_once_make_its_tables_once(postgresql, tmp_path):
    uri = postgresql.create("new")
    code = "import sys, pathlib; from sweep.tracking import store as stores; "
    code += "print(stores.connect(sys.argv[1], 'both', pathlib.Path(sys.argv[2]), sys.argv[3]))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, uri, str(tmp_path / name), str(tmp_path / "place")],
            env=ENVIRONMENT | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in "ab"
    ]
    answers = [process.communicate(timeout=120)[0] for process in both]
    assert [answer.splitlines()[-1] for answer in answers] == ["1", "1"], answers


def test_the_latest_sweep_is_shown(postgresql, tmp_path):
    command = [
        sys.executable,
        "-m",
        "sweep.view",
        "--no-browser",
        "--uri",
        postgresql.uri("direct"),
    ]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    ended, printed = time.monotonic() + 120, ""
    while "viewStateShareKey" not in printed and time.monotonic() < ended:
        printed += process.stdout.readline()
    process.send_signal(2)
    assert process.wait(30) == 0, printed


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("postgresql+psycopg2://me@host/runs", "expected postgresql://, which means psycopg 3"),
        ("postgres://me@host/runs", "expected postgresql://, which means psycopg 3"),
    ],
)
def test_another_driver_is_refused(uri, told, project):
    assert told in project.run(f"tracking.uri={uri}", exits=2)
