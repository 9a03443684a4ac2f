"""What earlier runs in MLflow are: cells that are finished, children of a sweep, runs that died."""

from collections.abc import Collection

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from sweep import processes
from sweep.tracking import artifacts

HEARTBEAT = "heartbeat"  # tag: when the run's process last lived, seconds since 1970
CELL = "cell"  # tag: what a cell is, by content
FINISHED = "attributes.status = 'FINISHED'"
PAGE, PER_CELL = 200, 3  # runs that are read at once, and for each cell that is looked for
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
    runs = MlflowClient().search_runs([experiment_id], f"{FINISHED} and tags.{CELL} = '{cell}'")
    return next((run for run in runs if _is_whole(run, models)), None)


def find_all_finished(
    experiment_id: str, cells: Collection[str], *, models: bool = False
) -> dict[str, Run]:
    """The runs that `find_finished` finds, by cell.

    The newest runs of the experiment are looked through, a few for each cell; only what is not
    among them is asked for one by one, for that takes a query each.
    """
    wanted, found, seen, token = set(cells), dict[str, Run](), 0, None
    while wanted and seen < PER_CELL * len(cells):
        page = MlflowClient().search_runs(
            [experiment_id], f"{FINISHED} and tags.{CELL} != ''", max_results=PAGE, page_token=token
        )
        for run in page:
            cell = run.data.tags[CELL]
            if cell in wanted and _is_whole(run, models):
                found[cell] = run
                wanted.remove(cell)
        seen, token = seen + len(page), page.token
        if not token:
            return found
    for cell in wanted:
        if newest := find_finished(experiment_id, cell, models=models):
            found[cell] = newest
    return found


def _is_whole(run: Run, models: bool) -> bool:
    """Whether a finished run still has what it logged; `models`: and was to log its models."""
    if models and run.data.params.get(MODELS) == "False":
        return False
    folder = artifacts.local_path(run.info.artifact_uri)
    return folder is None or (folder / "config.yaml").is_file()


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
