"""What runs left behind: of finished ones read back, of dead ones deleted where it is half.

A folder is read at once, a server side by side.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote
from zipfile import is_zipfile

import mlflow
from mlflow import MlflowException
from mlflow.entities import LoggedModelStatus, Run

from sweep.tracking import store

AT_ONCE = 8  # files asked of a server at the same time


def local(place: str) -> Path | None:
    """The folder that a place of artifacts is; None: a server's."""
    name = place.removeprefix("file://")
    path = Path(name if name == place else unquote(name))
    return path if path.is_absolute() else None


def read(places: Sequence[str], name: str) -> list[bytes | None]:
    """The file `name` of each run, whose artifacts lie at one of `places`; None: it has none.

    A place is what MLflow calls a run's artifact URI.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(partial(_read, name), places))


def discard(run: Run) -> None:
    """Delete the models that a run had not finished logging when it ended."""
    client, experiment = mlflow.MlflowClient(), run.info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'"):
        if model.status != LoggedModelStatus.READY:
            client.delete_logged_model(model.model_id)
            place = local(model.artifact_location)
            if place is not None and place.parent.name == model.model_id:
                shutil.rmtree(place.parent, ignore_errors=True)
    place = local(run.info.artifact_uri)
    for path in place.glob("*.keras") if place else ():
        if not is_zipfile(path):  # its directory is written last
            path.unlink()


def _read(name: str, place: str) -> bytes | None:
    with TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{place}/{name}", dst_path=folder if local(place) is None else None
            )
            return Path(path).read_bytes()
        except (MlflowException, OSError) as error:
            if store.gone(error):
                store.give_up()  # nor will the others be there
                raise
            return None
