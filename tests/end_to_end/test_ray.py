"""Cells as tasks of Ray: on a cluster of its own, and on one that is there."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from crashes import SMALL, Project, survived
from program import ENVIRONMENT
from services import Guard, MlflowServer, free_port, told_in, with_password
from started_sweeps import LONG, Sweep, end_one_at_work

pytestmark = pytest.mark.services
pytest.importorskip("ray", reason="needs the extra ray, in an environment of its own")
CELLS = "prune.frac=0.02,0.06,0.1"
RAY = ("hydra/launcher=ray",)
SESSION = Path(tempfile.gettempdir(), "ray", "session_latest")


@pytest.fixture
def project(prepared, tmp_path) -> Project:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, "-m", *SMALL, *RAY)


def test_a_cluster_of_its_own_tells_clean_lines_and_a_killed_worker_loses_its_cell_alone(project):
    sweep = Sweep(project, CELLS, "hydra.launcher.ray.init.num_cpus=2", *LONG)
    end_one_at_work(project)
    assert sweep.wait() == 1, sweep.printed
    for noise in ("Traceback", "pid=", "Warning", "INFO", "oneDNN"):
        assert noise not in sweep.printed
    assert "3 cells: 3 to run, 0 finished before" in sweep.printed
    assert "KILLED: its worker was killed" in sweep.words
    assert sorted(row["status"] for row in project.comparison()) == ["FINISHED"] * 2 + ["KILLED"]
    again = Sweep(project, CELLS, *LONG)
    assert again.wait() == 0, again.printed
    survived(project, 3)


def test_a_cluster_that_is_there_is_used_by_its_address_and_told_no_password(
    project, tmp_path, request
):
    ray, port = Path(sys.executable).with_name("ray"), free_port()
    elsewhere = tmp_path / "elsewhere"  # whose folder and environment are not the sweep's
    elsewhere.mkdir()
    open_to_all = {"RAY_AUTH_MODE": "disabled"}
    quiet = {"cwd": elsewhere, "env": ENVIRONMENT | open_to_all, "check": True}
    quiet |= {"stdout": subprocess.DEVNULL}
    request.addfinalizer(lambda: subprocess.run([ray, "stop", "--force"], **quiet))
    options = ("--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats")
    subprocess.run([ray, "start", "--head", f"--port={port}", *options], **quiet)
    address = f"hydra.launcher.ray.init.address=127.0.0.1:{port}"

    refused = project.run(address, CELLS, exits=2)
    assert "a SQLite file" in refused

    server = MlflowServer(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    request.addfinalizer(server.stop)
    guard = Guard(server.port)
    request.addfinalizer(guard.stop)
    where = f"tracking.uri={with_password(guard.uri)}"
    sweep = Sweep(project, CELLS, address, where, environment=open_to_all)
    assert sweep.wait() == 0, sweep.printed
    assert [line for line in sweep.printed.splitlines() if line.startswith("3 of 3: ")]
    assert len([run for run in project.runs() if run.info.status == "FINISHED"]) == 4
    assert SESSION.is_dir()  # what Ray writes itself, of its workers too
    assert told_in(project.folder, SESSION.resolve()) == []
