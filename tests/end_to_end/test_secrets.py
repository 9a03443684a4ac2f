"""No password or token is told, by whichever launcher cells are run and whatever goes wrong."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import fake_slurm
import pytest
from crashes import SMALL, Project
from program import ENVIRONMENT
from services import PASSWORD, USER, Guard, MlflowServer, certificate, told_in, with_password
from started_sweeps import Sweep

pytestmark = pytest.mark.services
BY_NAME = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
BY_TOKEN = {"MLFLOW_TRACKING_TOKEN": PASSWORD}


@pytest.fixture(scope="module")
def guard(server: MlflowServer) -> Iterator[Guard]:
    started = Guard(server.port)
    yield started
    started.stop()


@pytest.fixture
def project(tmp_path: Path, prepared: Path) -> Project:
    """With an order that fails, and tells in its error where runs are kept."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    project = Project(tmp_path, "-m", *SMALL, "tracking.models=false")
    (tmp_path / "loud.py").write_text("def order(*given, uri):\n    raise OSError(uri)\n")
    yaml = "_target_: loud.order\n_partial_: true\nuri: ${tracking.uri}\n"
    (tmp_path / "conf" / "prune" / "order" / "loud.yaml").write_text(yaml)
    return project


@pytest.mark.parametrize(
    ("launcher", "environment"),
    [
        pytest.param("basic", {}, id="basic, in the address"),
        pytest.param("joblib", {}, id="joblib, in the address", marks=pytest.mark.slow),
        pytest.param("joblib", BY_TOKEN, id="joblib, a token"),
        pytest.param("submitit_local", BY_NAME, id="submitit_local", marks=pytest.mark.slow),
        pytest.param("submitit_slurm", BY_NAME, id="submitit_slurm, by name"),
    ],
)
def test_a_sweep_tells_no_password(launcher, environment, project, server, guard):
    """Of two cells one fails; lines, files, runs and their database are searched."""
    name = f"{launcher}-{len(environment)}"
    uri = guard.uri if environment else with_password(guard.uri)
    fake_slurm.write(project.folder / "slurm")
    environment = environment | {"PATH": f"{project.folder / 'slurm'}:{ENVIRONMENT['PATH']}"}
    where = (
        f"hydra/launcher={launcher}",
        f"tracking.uri={uri}",
        f"tracking.experiment={name}",
    )
    sweep = Sweep(project, *where, "prune/order=loud,l1_norm", environment=environment)
    assert sweep.wait() == 1, sweep.printed
    assert f"OSError: http://{USER}:***@" in sweep.printed or environment
    assert "Of 2 cells 1 failed" in sweep.words
    assert list(project.folder.glob("outputs/sweeps/*/multirun.yaml"))
    assert told_in(project.folder, server.folder) == []
    assert name.encode() in (server.folder / "mlflow.db").read_bytes()


def test_a_single_run_tells_no_password(project, server, guard):
    project = Project(project.folder, *project.overrides[1:])
    where = (f"tracking.uri={with_password(guard.uri)}", "tracking.experiment=single")
    assert Sweep(project, *where).wait() == 0
    failed = Sweep(project, *where, "prune/order=loud", environment={"HYDRA_FULL_ERROR": "1"})
    assert failed.wait() == 1
    assert "Traceback" in failed.printed
    assert f"OSError: http://{USER}:***@" in failed.printed
    assert list(project.folder.glob("outputs/*/**/.hydra/overrides.yaml"))
    assert told_in(project.folder, server.folder) == []


def test_whoever_is_not_let_in_is_told_why_at_once(project, server, guard, tmp_path):
    """And is told before anything starts: in seconds, not when patience ends."""
    sealed = Guard(server.port, certificate(tmp_path))
    sentences = {
        guard.uri: "user, password or token is not accepted",
        with_password(guard.uri, f"not-{PASSWORD}"): "user, password or token is not accepted",
        with_password(guard.uri.replace("http:", "https:")): "it does not speak https",
        with_password(sealed.uri): "its certificate is not trusted",
        with_password(sealed.uri.replace("https:", "http:")): "",
        with_password("http://127.0.0.1:1"): "Connection refused",
    }
    try:
        for uri, sentence in sentences.items():
            began, sweep = time.monotonic(), Sweep(project, f"tracking.uri={uri}")
            assert sweep.wait() == 2, sweep.printed
            assert sweep.printed.startswith("prunesweep: ")
            assert sentence in sweep.words
            assert "Traceback" not in sweep.printed
            assert time.monotonic() - began < 30  # of which most is the start of the program
    finally:
        sealed.stop()
    assert told_in(project.folder) == []
