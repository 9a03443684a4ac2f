"""Where runs are kept: a database beside run.py that a bare `mlflow ui` finds, or another store."""

import errno
import logging
import os
import textwrap
from pathlib import Path
from urllib.parse import quote

import mlflow

from sweep import BadInput, files

LOCAL = "sqlite:///"


def default_uri(root: Path | None = None) -> str:
    """MLFLOW_TRACKING_URI where set, else a database in `root`: None, beside run.py."""
    root = root or Path(os.environ.get("PROJECT_ROOT") or Path(__file__).resolve().parent.parent)
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{LOCAL}{root / 'mlflow.db'}"


def reopen(uri: str | None = None) -> None:
    """Point MLflow at the runs at `uri`; BadInput where it is a database that is not there."""
    uri = uri or default_uri()
    database = _file(uri)
    if database is not None and not database.is_file():
        raise BadInput(f"{database} is not there; expected the database that run.py keeps runs in")
    mlflow.set_tracking_uri(uri)


def connect(uri: str | None, experiment: str, root: Path) -> str:
    """Point MLflow at `uri` and return the id of `experiment`, made where it is not there.

    Default: see `default_uri`. A lock keeps several processes from creating the same empty
    database, which would destroy it.
    """
    uri = uri or default_uri(root)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what is raised is told
    with files.lock(root / "outputs" / "mlflow"):
        try:
            _create(uri)
            mlflow.set_tracking_uri(uri)
            found = mlflow.get_experiment_by_name(experiment)
            if found is None:
                return mlflow.create_experiment(experiment, _artifacts(uri, experiment))
        except BadInput:
            raise
        except Exception as error:  # of MLflow, and of what it stands on
            if unwritable(error):
                raise
            reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            raise BadInput(f"tracking.uri={uri} cannot be used by MLflow ({reason})") from error
    if found.lifecycle_stage != "active":
        raise BadInput(
            f"tracking.experiment={experiment} was deleted in MLflow; restore it or name another"
        )
    return found.experiment_id


def how_to_look() -> str:
    """The command that shows the runs: bare where `mlflow ui` reads what is used here."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        return uri
    here = uri == f"{LOCAL}{Path.cwd() / 'mlflow.db'}"
    return "mlflow ui" if here else f"mlflow ui --backend-store-uri {uri}"


def unwritable(error: BaseException | None) -> BadInput | None:
    """A sentence for an error that comes from a full disk or a folder that can't be written."""
    while error is not None and not isinstance(error, BadInput):
        told = str(error)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "database or disk is full" in told or "No space left on device" in told:
            return BadInput(
                f"the disk is full ({_where(error)}); what was logged is kept: make room, and give "
                f"the same command again"
            )
        closed = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES)
        if closed or "attempt to write a readonly database" in told:
            return BadInput(
                f"{_where(error)} is closed to this user or read-only; expected a place of your "
                f"own, see tracking.uri, cache.folder, data.folder and badnet.folder"
            )
        error = error.__cause__ or error.__context__
    return None


def _file(uri: str) -> Path | None:
    """The file of a SQLite database; None: another store."""
    return Path(uri.removeprefix(LOCAL)) if uri.startswith(LOCAL) else None


def _create(uri: str) -> None:
    """Create a SQLite database that is not there, whole: MLflow can't go on with half of one."""
    database = _file(uri)
    if database is not None and not database.exists():
        with files.whole(database) as unfinished:
            mlflow.MlflowClient(f"{LOCAL}{unfinished}")


def _artifacts(uri: str, experiment: str) -> str | None:
    """Where artifacts go: beside a SQLite file; a server has a place of its own."""
    database = _file(uri)
    if database is None:
        return None
    folder = quote(experiment, safe=" ")  # a name, not a path that leads elsewhere
    if not folder.strip(". "):
        raise BadInput(f"tracking.experiment is {experiment!r}; expected a name")
    return (database.absolute().parent / "mlruns" / folder).as_uri()


def _where(error: BaseException) -> str:
    return str(getattr(error, "filename", None) or mlflow.get_tracking_uri())
