"""What finished runs left behind, read back: from a folder at once, from a server side by side."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowException

from sweep import BadInput

AT_ONCE = 8  # files asked of a server at the same time


def default_uri() -> str:
    """Where runs are kept: MLFLOW_TRACKING_URI where set, else a database beside run.py."""
    root = Path(os.environ.get("PROJECT_ROOT") or Path(__file__).resolve().parent.parent)
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def connect(uri: str | None = None) -> None:
    """Point MLflow at the runs at `uri`; BadInput where it is a database that is not there."""
    uri = uri or default_uri()
    database = uri.removeprefix("sqlite:///")
    if database != uri and not Path(database).is_file():
        raise BadInput(f"{database} is not there; expected the database that run.py keeps runs in")
    mlflow.set_tracking_uri(uri)


def read(places: Sequence[str], name: str) -> list[bytes | None]:
    """The file `name` of each run, whose artifacts lie at one of `places`; None: it has none.

    A place is what MLflow calls a run's artifact URI.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(partial(_read, name), places))


def _read(name: str, place: str) -> bytes | None:
    local = place.startswith(("file:", "/"))
    with TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{place}/{name}", dst_path=None if local else folder
            )
            return Path(path).read_bytes()
        except (MlflowException, OSError):
            return None
