"""What earlier runs in MLflow are: cells that are finished, children of a sweep, runs that died."""

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from sweep import processes
from sweep.tracking import artifacts

HEARTBEAT = "heartbeat"  # tag: when the run's process last lived, seconds since 1970
CELL = "cell"  # tag: what a cell is, by content
MODELS = "tracking.models"  # parameter: whether models are logged
DEAD = "its process ended without a word"


def child_runs(experiment_id: str, parent: str) -> list[Run]:
    """The child runs of `parent`."""
    return _search(experiment_id, f"tags.mlflow.parentRunId = '{parent}'")


def cell_runs(experiment_id: str) -> list[Run]:
    """The runs of all cells of an experiment, of any sweep or none, however they ended."""
    return _search(experiment_id, "tags.job != ''")


def parents(experiment_id: str) -> list[Run]:
    """The runs of all sweeps of an experiment, each the parent of its cells."""
    return _search(experiment_id, "tags.cells != ''")


def runs_of_status(experiment_id: str, status: str) -> list[Run]:
    """The runs of an experiment that have a status: "RUNNING"."""
    return _search(experiment_id, f"attributes.status = '{status}'")


def find_finished(experiment_id: str, cell: str, *, models: bool = False) -> Run | None:
    """The newest run of the experiment that finished this cell, and still has what it logged.

    models: only one that was to log its models.
    """
    filter_string = f"attributes.status = 'FINISHED' and tags.{CELL} = '{cell}'"
    for run in MlflowClient().search_runs([experiment_id], filter_string):
        if models and run.data.params.get(MODELS) == "False":
            continue
        folder = artifacts.local_path(run.info.artifact_uri)
        if folder is None or (folder / "config.yaml").is_file():
            return run
    return None


def mark_dead_runs(experiment_id: str) -> list[Run]:
    """Mark the runs KILLED whose process died on this machine before it could; return them.

    What they had not finished logging is deleted.
    """
    running = runs_of_status(experiment_id, "RUNNING")
    dead = [run for run in running if processes.is_dead(run.data.tags)]
    for run in dead:
        kill(run)
    return dead


def kill(run: Run, error: str = DEAD) -> None:
    """Mark a run KILLED, and delete what it had not finished logging."""
    client = MlflowClient()
    client.set_tag(run.info.run_id, "error", error)
    client.set_terminated(run.info.run_id, "KILLED")
    artifacts.delete_unfinished(run)


def _search(experiment_id: str, filter_string: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = MlflowClient().search_runs([experiment_id], filter_string, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
