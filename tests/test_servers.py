"""Runs on a tracking server: its password is told nowhere, and a server that goes ends a sweep."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from crashes import ENVIRONMENT, SMALL, Project

PASSWORD = "n0t-to-be-t0ld"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def server(tmp_path) -> Iterator[SimpleNamespace]:
    """A server of runs in a folder of its own, its address with a password, and how to end it."""
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    place = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    place += ["--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, *place],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def end() -> None:
        if process.poll() is None:
            os.killpg(process.pid, 9)  # it has workers
            process.wait()

    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
            break
        except OSError:
            time.sleep(0.1)
    yield SimpleNamespace(uri=f"http://me:{PASSWORD}@127.0.0.1:{port}", folder=folder, end=end)
    end()


def told_in(folder: Path) -> list[Path]:
    """The files in which the password stands."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_a_password_is_told_nowhere(server, tmp_path):
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    where = ("tracking.experiment=told", f"tracking.uri={server.uri}", "tracking.models=false")
    printed = project.run("-m", *SMALL, *where)
    assert "Compare the runs in a browser: http://me:***@" in printed
    printed += project.run(*SMALL, *where)
    printed += project.run("-m", *SMALL, *where, "prune.layer=nowhere", exits=2)
    database = (server.folder / "mlflow.db").read_bytes()
    assert b"tracking.uri=http://me:***@" in database  # of what varies, there being one cell
    assert PASSWORD not in printed
    assert list(project.folder.glob("outputs/sweeps/*/multirun.yaml"))
    assert len(list(project.folder.glob("outputs/*/**/.hydra/overrides.yaml"))) == 2
    assert told_in(tmp_path) == []
