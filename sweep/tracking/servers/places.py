"""Where the artifacts of an experiment lie."""

import os
from pathlib import Path
from urllib.parse import quote, unquote

from mlflow.entities import Experiment

from sweep import BadInput
from sweep.redaction import redacted
from sweep.tracking.servers import databases

LOCAL = "sqlite:///"


def database_file(uri: str) -> Path | None:
    """The file of a SQLite database; None: another store."""
    return Path(uri.removeprefix(LOCAL)) if uri.startswith(LOCAL) else None


def local_path(uri: str) -> Path | None:
    """The folder that an artifact URI names; None where it is a server's."""
    name = uri.removeprefix("file://")
    path = Path(name if name == uri else unquote(name))
    return path if path.is_absolute() else None


def wanted(uri: str, place: str | None) -> str | None:
    """The URI of the folder that the user names for artifacts; None where none is named.

    Raises BadInput where it cannot be one, or where runs at `uri` have their own.
    """
    if place is None:
        return None
    if not (database_file(uri) or databases.is_shared(uri)):
        raise BadInput(
            f"tracking.artifacts is {place}, and the runs at {uri} are on a server, which has its "
            f"own place for artifacts: leave tracking.artifacts out"
        )
    if redacted(place) != place:
        raise BadInput(
            f"tracking.artifacts is {place}; expected an address without a password, since it is "
            f"kept with every run: give it where the storage's own tools look for it"
        )
    if "://" in place:
        return place
    folder = Path(os.path.expanduser(place))
    if not folder.is_absolute():
        raise BadInput(
            f"tracking.artifacts is {place}; expected the whole path of a folder, or an address "
            f"such as s3://bucket/folder"
        )
    return folder.as_uri()


def of_new(uri: str, experiment: str, place: str | None) -> str | None:
    """The place of a new experiment, whose folder is made; None where a server has its own.

    `place` is what `wanted` returns; beside a SQLite file there is one by default.
    """
    folder = quote(experiment, safe=" ")  # a name, not a path that leads elsewhere
    if not folder.strip(". "):
        raise BadInput(f"tracking.experiment is {experiment!r}; expected a name")
    database = database_file(uri)
    if place is not None:
        place = f"{place.rstrip('/')}/{quote(folder)}"
    elif database is not None:
        place = (database.absolute().parent / "mlruns" / folder).as_uri()
    elif databases.is_shared(uri):
        raise BadInput(
            f"the experiment {experiment} is new, and the database at {uri} holds no artifacts; "
            f"expected their place as tracking.artifacts: a folder that every machine sees under "
            f"the same path, or an address such as s3://bucket/folder"
        )
    path = local_path(place) if place and databases.is_shared(uri) else None
    if path is not None:
        _make(path)
    return place


def require_same(uri: str, experiment: Experiment, place: str | None) -> None:
    """Raise BadInput where an experiment keeps its artifacts elsewhere, or out of reach."""
    kept = experiment.artifact_location
    if place is not None and place.rstrip("/") not in (kept, kept.rpartition("/")[0]):
        raise BadInput(
            f"tracking.artifacts is {place}, and the experiment {experiment.name} has its "
            f"artifacts at {kept}, which stays so: leave tracking.artifacts out, or name "
            f"another experiment"
        )
    if not databases.is_shared(uri):
        return
    path = local_path(kept)
    if path is None and "://" not in kept:
        raise BadInput(
            f"the artifacts of the experiment {experiment.name} are at {kept}, kept by a server: "
            f"give its address as tracking.uri, or name another experiment"
        )
    if path is not None and not os.access(path, os.W_OK | os.X_OK):
        raise BadInput(
            f"the artifacts of the experiment {experiment.name} are in {path}, which is not there "
            f"on this machine, or closed to this user; expected a folder that every machine sees"
        )


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"tracking.artifacts: {path} cannot be made ({error.strerror}); expected a folder of "
            f"your own"
        ) from error
