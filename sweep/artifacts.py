"""What finished runs left behind, read back: from a folder at once, from a server side by side."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowException

AT_ONCE = 8  # files asked of a server at the same time


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
