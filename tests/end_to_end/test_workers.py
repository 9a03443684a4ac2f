"""Cells in workers of joblib's: started, killed, interrupted, and the same command again."""

import os
import shutil
import signal

import mlflow
import psutil
import pytest
from crashes import SMALL, Project, survived
from started_sweeps import LONG, Sweep, end_one_at_work, running

pytestmark = pytest.mark.services
pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra joblib")

WORKERS = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
CELLS = "prune.frac=0.02,0.06,0.1,0.2"


@pytest.fixture
def project(prepared, tmp_path) -> Project:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, "-m", *SMALL, *WORKERS)


def test_two_workers_share_what_is_kept_and_say_how_far_they_are(project):
    shutil.rmtree(project.folder / "outputs")
    sweep = Sweep(project, CELLS)
    assert sweep.wait() == 0, sweep.printed
    lines = sweep.printed.splitlines()
    assert "4 cells: 4 to run, 0 finished before" in lines
    places = [line.split(" ")[0] for line in lines if " of 4" in line]
    assert places == ["1", "2", "3", "4"]
    assert lines.count("rendering photographs of 8 people") == 1
    assert len(list((project.folder / "outputs" / "badnets").iterdir())) == 1
    assert not [line for line in lines if "TensorFlow" in line or "oneDNN" in line]
    cells = [run for run in project.runs() if "job" in run.data.tags]
    assert len({run.data.tags["pid"] for run in cells}) == 2
    survived(project, 4)

    again = Sweep(project, CELLS)
    assert again.wait() == 0
    assert "4 cells: 0 to run, 4 finished before" in again.printed


def test_a_killed_worker_loses_its_cell_alone_and_the_same_command_finishes(project):
    sweep = Sweep(project, CELLS, *LONG)
    end_one_at_work(project)
    assert sweep.wait() == 1, sweep.printed
    assert "Traceback" not in sweep.printed
    assert "KILLED: its worker was killed" in sweep.words
    assert "Of 4 cells 1 was cut off; the same command again runs these alone." in sweep.words
    statuses = [row["status"] for row in project.comparison()]
    assert sorted(statuses) == ["FINISHED"] * 3 + ["KILLED"]
    assert "RUNNING" not in {run.info.status for run in project.runs()}

    again = Sweep(project, CELLS, *LONG)
    assert again.wait() == 0, again.printed
    assert "4 cells: 1 to run, 3 finished before" in again.printed


@pytest.mark.parametrize(
    ("number", "everybody", "code"),
    [
        (signal.SIGINT, True, 130),
        pytest.param(signal.SIGINT, False, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, 143, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_to_the_sweep_or_to_all_ends_workers_and_runs(
    number, everybody, code, project
):
    sweep = Sweep(project, CELLS, *LONG)
    running(project, 2)
    workers = sweep.workers()
    (os.killpg if everybody else os.kill)(sweep.process.pid, number)
    assert sweep.wait() == code, sweep.printed
    assert "Traceback" not in sweep.printed
    assert "prunesweep: interrupted" in sweep.printed
    assert "the same command again runs these alone." in sweep.words
    assert {row["status"] for row in project.comparison()} <= {"KILLED", "MISSING"}
    assert "RUNNING" not in {run.info.status for run in project.runs()}
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


@pytest.mark.slow
def test_a_signal_to_a_worker_ends_its_cell_alone(project):
    sweep = Sweep(project, CELLS, *LONG)
    end_one_at_work(project, signal.SIGTERM)
    assert sweep.wait() == 1, sweep.printed
    assert sorted(row["status"] for row in project.comparison()) == ["FINISHED"] * 3 + ["KILLED"]


def test_cells_of_a_sweep_that_was_killed_are_awaited_and_not_run_twice(project):
    sweep = Sweep(project, CELLS, *LONG)
    running(project, 2)
    sweep.process.kill()
    sweep.wait()
    again = Sweep(project, CELLS, *LONG)
    assert again.wait() == 0, again.printed
    finished = [run for run in project.runs() if run.info.status == "FINISHED"]
    cells = [run.data.tags["cell"] for run in finished if "job" in run.data.tags]
    assert len(cells) == len(set(cells)) == 4


def test_two_sweeps_at_once_run_each_cell_once(prepared, tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        shutil.copytree(prepared, folder)
    uri = f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"
    shutil.copy(prepared / "mlflow.db", tmp_path)
    projects = [Project(folder, "-m", *SMALL, uri, CELLS) for folder in folders]
    sweeps = [Sweep(project) for project in projects]
    assert [sweep.wait() for sweep in sweeps] == [0, 0], "\n".join(s.printed for s in sweeps)
    mlflow.set_tracking_uri(uri.removeprefix("tracking.uri="))
    runs = mlflow.search_runs(experiment_names=["prunesweep"], output_format="list")
    cells = [run.data.tags["cell"] for run in runs if "job" in run.data.tags]
    assert len(cells) == len(set(cells)) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
