"""Where runs are kept: a database beside run.py that a bare `mlflow ui` finds, or another store."""

import errno
import logging
import os
import textwrap
from contextlib import nullcontext
from pathlib import Path

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from sweep import BadInput, files, processes, terminal
from sweep.redaction import redacted
from sweep.tracking import reserve
from sweep.tracking.servers import databases, outages, patience, places
from sweep.tracking.servers.places import LOCAL
from sweep.tracking.servers.places import database_file as database_file

DESCRIPTION = "mlflow.note.content"  # the tag that MLflow shows as Markdown
EXPERIMENT = """Each sweep is a run, and its cells are the runs below it; a single run stands alone.

B is the suspect network, B' what pruning and repairs make of it, and GoodNet answers "backdoored"
where the two disagree. Attack success and detection are known where there are poisoned test images,
which no defender has."""
FIRST = 8  # seconds within which a server answers that was not asked before
USERS = 3  # processes that are named where a database is locked
GIVEN = os.environ.get("MLFLOW_TRACKING_URI")  # MLflow overwrites it with what is used
patience.install()

_connected: str | None = None  # where this process keeps runs


def default_uri(root: Path | None = None) -> str:
    """MLFLOW_TRACKING_URI where set, else a database in `root`: None, beside run.py."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _uri_in(root)


def users_uri() -> str:
    """What is used by the next command where its user names nothing."""
    return GIVEN or _uri_in(None)


def _uri_in(root: Path | None) -> str:
    root = root or Path(os.environ.get("PROJECT_ROOT") or Path(__file__).resolve().parents[2])
    return f"{LOCAL}{root / 'mlflow.db'}"


def missing(uri: str | None = None) -> Path | None:
    """The database at `uri`, if that is a file which is not there."""
    database = database_file(uri or default_uri())
    return None if database is None or database.is_file() else database


def use_existing(uri: str | None = None) -> None:
    """Point MLflow at the runs at `uri`; BadInput where it is a database that is not there."""
    uri = uri or default_uri()
    databases.require_driver(uri)
    if database := missing(uri):
        raise BadInput(f"{database} is not there; expected the database that run.py keeps runs in")
    _leave_telling_to_us()
    mlflow.set_tracking_uri(uri)


def connect(uri: str | None, experiment: str, root: Path, artifacts: str | None = None) -> str:
    """Point MLflow at `uri` and return the id of `experiment`, made where it is not there.

    Default: see `default_uri`. A lock keeps several processes from creating the same empty
    database, which would destroy it. `artifacts`: where those of a new experiment go.
    """
    global _connected
    uri = uri or default_uri(root)
    databases.require_driver(uri)
    place = places.wanted(uri, artifacts)
    _leave_telling_to_us()
    known = mlflow.get_tracking_uri() == uri
    guarded = files.lock(root / "outputs" / "mlflow") if database_file(uri) else nullcontext()
    with guarded, nullcontext() if known else patience.none(FIRST):
        try:
            _create_database(uri)
            if database := database_file(uri):
                reserve.keep(database.absolute().parent / "mlruns")
            mlflow.set_tracking_uri(uri)
            found = _found_or_made(uri, experiment, place, known=known)
        except BadInput:
            raise
        except Exception as error:  # of MLflow, and of what it stands on
            refusal = outages.refusal(error)
            if refusal:
                raise BadInput(f"the runs at {uri} cannot be reached: {refusal}") from error
            if logging_failure(error):
                raise
            message = redacted(f"{type(error).__name__}: {error}")  # before it is cut
            reason = textwrap.shorten(message, 200, placeholder=" ...")
            raise BadInput(f"tracking.uri={uri} cannot be used by MLflow ({reason})") from error
    if found.lifecycle_stage != "active":
        raise BadInput(
            f"tracking.experiment={experiment} was deleted in MLflow; restore it or name another"
        )
    places.require_same(uri, found, place)
    _connected = uri
    return str(found.experiment_id)


def _leave_telling_to_us() -> None:
    """Silence what libraries say on their own of what they raise: a sentence of ours tells it."""
    for library in ("alembic", "mlflow.store.db.utils", "urllib3.connectionpool", "psycopg"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _found_or_made(uri: str, name: str, place: str | None, *, known: bool) -> Experiment:
    """The experiment of that name; `known`: whether runs at `uri` were asked for before."""
    with nullcontext() if known else databases.made_by_one(uri):
        found = mlflow.get_experiment_by_name(name)
    if found is None:
        place = places.of_new(uri, name, place)
        found = _create_experiment(name, place)
        if place and databases.is_shared(uri):
            terminal.print_line(f"{name} is a new experiment; artifacts: {place}", wrap=False)
    return found


def is_there(uri: str | None, root: Path) -> bool:
    """Whether there may be runs at `uri`: a file that nobody has made holds none."""
    database = database_file(uri or default_uri(root))
    return database is None or database.is_file()


def is_connected(uri: str | None, root: Path) -> bool:
    """Whether this process has connected to `uri` before; default: see `default_uri`."""
    return _connected == mlflow.get_tracking_uri() == (uri or default_uri(root))


def view_command() -> str:
    """The command that shows the runs: bare where `mlflow ui` reads what is used here."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        return uri
    here = uri == f"{LOCAL}{Path.cwd() / 'mlflow.db'}"
    return "mlflow ui" if here else f"mlflow ui --backend-store-uri {uri}"


def logging_failure(failure: BaseException | None) -> BadInput | None:
    """A sentence for an error after which nothing more can be logged; None for all others.

    These are a full disk, a folder that can't be written, a locked database, a server that does not
    answer.
    """
    for error in outages.chain(failure):
        message = str(error)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "database or disk is full" in message or "No space left on device" in message:
            return BadInput(
                f"the disk is full ({_place(error)}); what was logged is kept: make room, and give "
                f"the same command again"
            )
        closed = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES)
        if closed or "attempt to write a readonly database" in message:
            return BadInput(
                f"{_place(error)} is closed to this user or read-only; expected a place of your "
                f"own, see tracking.uri, cache.folder, data.folder and badnet.folder"
            )
        if "database is locked" in message:
            return BadInput(
                f"the database {_place(error)} stays locked by another process{_users()}; what was "
                f"logged is kept: end what holds it, and give the same command again"
            )
        if outages.says_unreachable(error):
            return BadInput(
                f"the runs at {mlflow.get_tracking_uri()} cannot be reached "
                f"({outages.reason(error)}): see to the server or to tracking.uri, and give the "
                f"same command again"
            )
    return None


def stop_retrying() -> None:
    """Ask a server that does not answer once more at most, and soon, for whatever is left to do."""
    patience.give_up()


def _create_database(uri: str) -> None:
    """Create a SQLite database that is not there, whole: MLflow can't go on with half of one."""
    database = database_file(uri)
    if database is not None and not database.exists():
        with files.atomic_write(database) as unfinished:
            mlflow.MlflowClient(f"{LOCAL}{unfinished}")


def _create_experiment(name: str, place: str | None) -> Experiment:
    """A new experiment, or the one that another process has made of that name meanwhile."""
    tags = {DESCRIPTION: EXPERIMENT}
    try:
        return mlflow.get_experiment(mlflow.create_experiment(name, place, tags))
    except MlflowException as error:
        made = error.error_code == "RESOURCE_ALREADY_EXISTS" and mlflow.get_experiment_by_name(name)
        if not made:
            raise
        return made


def _users() -> str:
    """Who else on this machine has the database open, as far as this user may see."""
    database = database_file(mlflow.get_tracking_uri())
    others = processes.others_with_open(database) if database else []
    return f" (open here in: {', '.join(others[:USERS])})" if others else ""


def _place(error: BaseException) -> str:
    return str(getattr(error, "filename", None) or mlflow.get_tracking_uri())
