"""What runs left behind: of finished ones read back, of dead ones deleted where it is half.

A folder is read at once, a server side by side.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import is_zipfile

import mlflow
from mlflow import MlflowException
from mlflow.entities import LoggedModelStatus, Run

from sweep.tracking import store
from sweep.tracking.servers import outages
from sweep.tracking.servers.places import local_path as local_path

AT_ONCE = 8  # files asked of a server at the same time


def read_all(uris: Sequence[str], name: str) -> list[bytes | None]:
    """The file `name` below each of the runs' artifact URIs; None where it has none."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(partial(_read, name), uris))


def delete_unfinished(run: Run) -> None:
    """Delete the models that a run had not finished logging when it ended."""
    client, experiment = mlflow.MlflowClient(), run.info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'"):
        if model.status != LoggedModelStatus.READY:
            client.delete_logged_model(model.model_id)
            folder = local_path(model.artifact_location)
            if folder is not None and folder.parent.name == model.model_id:
                shutil.rmtree(folder.parent, ignore_errors=True)
    folder = local_path(run.info.artifact_uri)
    for path in folder.glob("*.keras") if folder else ():
        if not is_zipfile(path):  # its directory is written last
            path.unlink()


def delete_models(run: Run) -> None:
    """Delete the models of a run, which it logs once more."""
    client = mlflow.MlflowClient()
    of_run = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], of_run):
        client.delete_logged_model(model.model_id)
        folder = local_path(model.artifact_location)
        if folder is not None and folder.parent.name == model.model_id:
            shutil.rmtree(folder.parent, ignore_errors=True)


def _read(name: str, uri: str) -> bytes | None:
    with TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{uri}/{name}", dst_path=folder if local_path(uri) is None else None
            )
            return Path(path).read_bytes()
        except (MlflowException, OSError) as error:
            if outages.is_unreachable(error):
                store.stop_retrying()  # nor will the others be there
                raise
            return None
