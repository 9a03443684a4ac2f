"""What each launcher does with a machine, and what it cannot do."""

import pytest

from sweep import BadInput
from sweep.launching import workers
from sweep.launching.launchers import BASIC, JOBLIB, RAY, SUBMITIT, Launcher

SLURM = {
    "_target_": f"{SUBMITIT}SlurmLauncher",
    "cpus_per_task": None,
    "submitit_folder": "/sweep/.submitit/%j",
}
LOCAL = SLURM | {"_target_": f"{SUBMITIT}LocalLauncher"}


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 8)


def joblib(count: int, cells: int = 100) -> Launcher:
    return Launcher.of("joblib", {"_target_": JOBLIB, "n_jobs": count}, cells)


def ray(address: str | None = None, **remote: object) -> Launcher:
    settings = {"init": {"address": address}, "remote": remote}
    return Launcher.of("ray", {"_target_": RAY, "ray": settings}, 5)


def test_hydras_own_launcher_runs_cells_in_the_sweeps_process():
    launcher = Launcher.of("basic", {"_target_": BASIC}, 5)
    assert launcher.in_process
    assert launcher.settings("folder", 80).threads is None


@pytest.mark.parametrize(
    ("n_jobs", "cells", "count", "threads"),
    [(2, 9, 2, 4), (-1, 9, 8, 1), (-2, 9, 7, 1), (4, 2, 2, 4), (16, 99, 16, 1), (4, 0, 1, 8)],
)
def test_cores_are_divided_among_joblibs_workers(n_jobs, cells, count, threads):
    launcher = joblib(n_jobs, cells)
    assert (launcher.count, launcher.threads) == (count, threads)


def test_joblib_needs_a_worker():
    with pytest.raises(BadInput, match=r"n_jobs is 0; expected 1 or more, or -1"):
        joblib(0)


def test_gpus_are_shared_out_by_joblib_alone_where_there_are_several_workers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert joblib(2).settings("folder", 80).devices == ("0", "3")
    assert joblib(1).settings("folder", 80).devices == ()
    assert ray().settings("folder", 80).devices == ()


def test_jobs_of_this_machine_are_as_many_as_their_cores_allow():
    launcher = Launcher.of("submitit_local", LOCAL, 99)
    assert (launcher.at_once, launcher.threads, launcher.logs) == (8, 1, "/sweep/.submitit")
    launcher = Launcher.of("submitit_local", LOCAL | {"cpus_per_task": 4}, 99)
    assert (launcher.at_once, launcher.threads) == (2, 4)


def test_how_many_cells_may_run_at_once_is_known_of_each():
    parallel = SLURM | {"cpus_per_task": 4, "array_parallelism": 64}
    assert Launcher.of("basic", {"_target_": BASIC}, 5).width == 1
    assert (joblib(3).width, joblib(-1, 5).width) == (3, 5)
    assert Launcher.of("submitit_local", LOCAL | {"cpus_per_task": 4}, 99).width == 2
    assert Launcher.of("submitit_slurm", parallel, 99).width == 64
    assert (ray(num_cpus=2).width, ray().width) == (4, 8)
    assert Launcher.of("own", {"_target_": "my.Launcher"}, 99).width == 1


def test_what_runs_elsewhere_takes_no_sqlite_file():
    slurm = Launcher.of("submitit_slurm", SLURM | {"cpus_per_task": 4}, 99)
    assert (slurm.at_once, slurm.threads) == (None, 4)
    assert slurm.elsewhere
    assert ray("auto").elsewhere
    with pytest.raises(BadInput, match=r"submitit_slurm runs cells on other machines, and a SQL"):
        slurm.require("sqlite:////shared/mlflow.db")
    slurm.require("http://host:5000")


def test_what_is_written_into_files_takes_no_password():
    for settings in (SLURM, LOCAL):
        launcher = Launcher.of("submitit_x", settings, 5)
        with pytest.raises(BadInput, match="with its password") as error:
            launcher.require("postgresql://me:s3cret@host/runs")
        assert "s3cret" not in str(error.value)
    joblib(2).require("postgresql://me:s3cret@host/runs")


def test_ray_divides_its_cores_itself(monkeypatch):
    assert (ray().threads, ray(num_cpus=4).threads, ray().elsewhere) == (1, 4, False)
    monkeypatch.setattr("sweep.launching.launchers.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"needs the extra ray.*-c constraints-ray.txt"):
        ray().require("sqlite:///x")
