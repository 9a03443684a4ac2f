"""Cells as jobs of submitit's: on this machine, and of a Slurm made of scripts, `fake_slurm`."""

import os
import shutil
import signal

import fake_slurm
import pytest
from crashes import SMALL, Project, survived
from program import ENVIRONMENT
from services import MlflowServer
from started_sweeps import LONG, Sweep, end_one_at_work, running

pytestmark = pytest.mark.services
pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
CELLS = "prune.frac=0.02,0.06,0.1"


@pytest.fixture
def project(prepared, tmp_path) -> Project:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, "-m", *SMALL, "hydra/launcher=submitit_local")


def test_jobs_of_this_machine_tell_how_they_go_and_a_killed_one_is_lost_alone(project):
    sweep = Sweep(project, CELLS, *LONG)
    end_one_at_work(project)
    assert sweep.wait() == 1, sweep.printed
    assert "Traceback" not in sweep.printed
    assert "its job ended without a result" in sweep.words
    assert [line for line in sweep.printed.splitlines() if line.startswith("3 of 3: ")]
    assert sorted(row["status"] for row in project.comparison()) == ["FINISHED"] * 2 + ["KILLED"]
    again = Sweep(project, CELLS, *LONG)
    assert again.wait() == 0, again.printed
    survived(project, 3)


@pytest.mark.slow
def test_jobs_of_an_interrupted_sweep_begin_no_further_cell_and_are_told(project):
    sweep = Sweep(project, CELLS, *LONG)
    at_work = running(project, 2)
    os.kill(sweep.process.pid, signal.SIGINT)
    assert sweep.wait() == 130, sweep.printed
    assert "Traceback" not in sweep.printed
    assert "still at work: process" in sweep.words
    assert "holds their output; no further cell will begin" in sweep.words
    again = Sweep(project, CELLS, *LONG)
    assert again.wait() == 0, again.printed
    runs = {run.info.run_id: run.info.status for run in project.runs()}
    assert {runs[run.info.run_id] for run in at_work} == {"FINISHED"}
    cells = [run for run in project.runs() if "job" in run.data.tags]
    assert len(cells) == 3


def test_slurm_is_given_an_array_with_its_limit_and_its_own_options(prepared, tmp_path, request):
    slurm, folder = tmp_path / "slurm", tmp_path / "project"
    shutil.copytree(prepared, folder)
    server = MlflowServer(f"sqlite:///{folder / 'mlflow.db'}", folder)
    request.addfinalizer(server.stop)
    fake_slurm.write(slurm)
    project = Project(
        folder, "-m", *SMALL, "hydra/launcher=submitit_slurm", f"tracking.uri={server.uri}"
    )
    options = ["hydra.launcher.array_parallelism=2", "hydra.launcher.partition=gpu"]
    options += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=30"]
    environment = {"PATH": f"{slurm}{os.pathsep}{ENVIRONMENT['PATH']}"}
    sweep = Sweep(project, CELLS, *options, environment=environment)
    assert sweep.wait() == 0, sweep.printed
    assert [line for line in sweep.printed.splitlines() if line.startswith("3 of 3: ")]
    (script,) = (path.read_text() for path in slurm.glob("sbatch.*"))
    for option in ("--array=0-2%2", "--partition=gpu", "--cpus-per-task=1", "--time=30"):
        assert f"#SBATCH {option}" in script
    assert set(fake_slurm.states(slurm).values()) == {"COMPLETED"}
    again = Sweep(project, CELLS, *options, environment=environment)
    assert again.wait() == 0
    assert "3 cells: 0 to run, 3 finished before" in again.printed


@pytest.mark.parametrize(
    ("launcher", "uri", "sentence"),
    [
        ("submitit_slurm", "sqlite:///{}/mlflow.db", "a SQLite file"),
        ("submitit_local", "postgresql://me:s3cret@127.0.0.1:1/runs", "with its password"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(launcher, uri, sentence, project):
    printed = project.run(
        f"hydra/launcher={launcher}", f"tracking.uri={uri.format(project.folder)}", CELLS, exits=2
    )
    assert sentence in " ".join(printed.split())
    assert "s3cret" not in printed
    assert not [run for run in project.runs() if "cells" in run.data.tags]
