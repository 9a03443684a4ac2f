"""What earlier runs in MLflow are: cells that are finished, children of a sweep, runs that died."""

import socket
from pathlib import Path

import psutil
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

CELL = "cell"  # tag: what a cell is, by content
CLOCK = 2.0  # seconds by which a machine's clock may have been set meanwhile
DEAD = "its process ended without a word"


def children(experiment_id: str, parent: str) -> list[Run]:
    """The child runs of `parent`."""
    return _search(experiment_id, f"tags.mlflow.parentRunId = '{parent}'")


def finished(experiment_id: str, cell: str) -> Run | None:
    """The newest run of the experiment that finished this cell, and still has what it logged."""
    wanted = f"attributes.status = 'FINISHED' and tags.{CELL} = '{cell}'"
    for run in MlflowClient().search_runs([experiment_id], wanted):
        place = run.info.artifact_uri.removeprefix("file://")
        if not place.startswith("/") or (Path(place) / "config.yaml").is_file():
            return run
    return None


def bury(experiment_id: str) -> int:
    """Mark the runs KILLED whose process died on this machine before it could; how many.

    A process is known by host, number and start, so that neither one of another machine nor one
    that has got the number since is mistaken for it.
    """
    dead = [run for run in _search(experiment_id, "attributes.status = 'RUNNING'") if _dead(run)]
    client = MlflowClient()
    for run in dead:
        client.set_tag(run.info.run_id, "error", DEAD)
        client.set_terminated(run.info.run_id, "KILLED")
    return len(dead)


def _dead(run: Run) -> bool:
    tags = run.data.tags
    if tags.get("host") != socket.gethostname() or "pid_started" not in tags:
        return False
    try:
        started = psutil.Process(int(tags["pid"])).create_time()
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return abs(started - float(tags["pid_started"])) > CLOCK


def _search(experiment_id: str, wanted: str) -> list[Run]:
    found, token = [], None
    while True:
        page = MlflowClient().search_runs([experiment_id], wanted, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
