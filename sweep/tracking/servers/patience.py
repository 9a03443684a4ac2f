"""Patience with a server of runs that goes away: each call of MLflow waits until it is back.

MLflow keeps a list of what answers for `http`, `postgresql` and the artifacts of a server, which
others may add to. There stands what is here: MLflow's own, asked again for `seconds` at most.
"""

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.store.db import utils as mlflow_databases
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

from sweep import terminal
from sweep.tracking.servers import outages

SCHEMES = ("http", "https", "postgresql", "mysql", "mssql")
FIRST, PAUSE = 0.2, 1.0  # seconds before a call is repeated, the first time and later
BRIEFLY = 8  # seconds in which a server answers that is asked once
QUIET = 2.0  # seconds of an outage without a word
TIMEOUT, RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

_seconds = 0.0
_given_up = False
_asking = threading.local()
_telling = threading.Lock()
_told_until = 0.0  # the time of the clock up to which the outage that was told last is known


def allow(seconds: float) -> None:
    """Let calls wait so long for a server that does not answer."""
    global _seconds
    _seconds = seconds
    os.environ[RETRIES] = "0"  # MLflow's own, which nobody is told of


@contextmanager
def none(seconds: int) -> Iterator[None]:
    """Ask a server once meanwhile, for so many seconds at most: its address may be wrong."""
    global _seconds
    before, _seconds = _seconds, 0.0
    kept = {name: os.environ.pop(name, None) for name in (TIMEOUT, RETRIES)}
    os.environ.update({TIMEOUT: str(seconds), RETRIES: "0"})
    try:
        yield
    finally:
        _seconds = before
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def tried(call: Callable[[], Any], otherwise: Any = None) -> Any:
    """What `call` returns; `otherwise` where the server does not answer now: it is done later."""
    try:
        with none(BRIEFLY):
            return call()
    except Exception as error:
        if not outages.is_unreachable(error):
            raise
        return otherwise


def give_up() -> None:
    """Wait for no server any more: it is asked once for whatever is left to do, and briefly."""
    global _given_up
    _given_up = True
    os.environ.update({TIMEOUT: "2", RETRIES: "0"})


def install() -> None:
    """Put patience around MLflow's own stores of runs and artifacts; once for a process."""
    mlflow_databases.MAX_RETRY_COUNT = 1
    for scheme in SCHEMES:
        build = _tracking_store_registry._registry[scheme]
        if not hasattr(build, "__wrapped__"):
            _tracking_store_registry.register(scheme, _patient_builder(build))
    artifacts = _artifact_repository_registry._registry["mlflow-artifacts"]
    if not hasattr(artifacts, "__wrapped__"):
        _artifact_repository_registry.register("mlflow-artifacts", _patient_builder(artifacts))


def asked(call: Callable[[], Any], repeated: Callable[[], Any] = lambda: None) -> Any:
    """What `call` returns, as soon as the server answers; its last error where patience ends.

    `repeated` is asked before it is called again: what it returns, but for None, is what an earlier
    call has done although its answer was lost. A call within a call does not wait by itself.
    """
    if getattr(_asking, "now", False):
        return call()
    began, attempts = time.monotonic(), 0
    _asking.now = True
    try:
        while True:
            try:
                found = repeated() if attempts else None
                return call() if found is None else found
            except Exception as error:
                waited = time.monotonic() - began
                hopeless = _given_up or outages.refusal(error) or waited >= _seconds
                if hopeless or not outages.is_unreachable(error):
                    raise
                _tell(waited)
            time.sleep(PAUSE if attempts else FIRST)
            attempts += 1
    finally:
        _asking.now = False


def _tell(waited: float) -> None:
    """Print one line for an outage, whichever calls it meets."""
    global _told_until
    with _telling:
        now = time.monotonic()
        if waited >= QUIET:
            if now > _told_until:
                terminal.print_line(
                    f"waiting for the runs at {mlflow.get_tracking_uri()}: no answer for "
                    f"{waited:.0f} s, up to {_seconds:.0f} s"
                )
            _told_until = now + 5 * PAUSE


def _patient_builder(build: Callable[..., Any]) -> Callable[..., Any]:
    """A builder of stores whose public methods wait for the server."""

    @wraps(build)
    def built(*arguments: Any, **named: Any) -> Any:
        store = asked(lambda: build(*arguments, **named))
        store.__class__ = _patient(type(store))
        return store

    return built


def _patient(kind: type) -> type:
    """A subclass of a store, all public methods of which are `asked`."""
    methods = {
        name: _patient_method(method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    return type(kind.__name__, (kind,), methods)


def _patient_method(method: Callable[..., Any]) -> Callable[..., Any]:
    look = DONE_BEFORE.get(method.__name__, lambda *_: None)

    @wraps(method)
    def call(store: Any, *arguments: Any, **named: Any) -> Any:
        def repeated() -> Any:
            given = inspect.signature(method).bind(store, *arguments, **named).arguments
            return look(store, given)

        return asked(lambda: method(store, *arguments, **named), repeated)

    return call


def _made_run(store: Any, given: dict[str, Any]) -> Any:
    """The run that was made although the answer was lost: of this process and this moment."""
    tags = {tag.key: tag.value for tag in given.get("tags") or []}
    wanted = [f"attributes.start_time = {given['start_time']}"]
    wanted += [f"tags.`{key}` = '{tags[key]}'" for key in ("host", "pid") if key in tags]
    runs = store.search_runs(
        [given["experiment_id"]], " and ".join(wanted), mlflow.entities.ViewType.ACTIVE_ONLY, 2
    )
    return runs[0] if len(runs) == 1 and "pid" in tags else None


def _made_model(store: Any, given: dict[str, Any]) -> Any:
    """The model that was made although the answer was lost: none else of that run and name is."""
    wanted = f"source_run_id = '{given.get('source_run_id')}' and name = '{given.get('name')}'"
    models = store.search_logged_models([given["experiment_id"]], wanted)
    pending = [model for model in models if model.status == LoggedModelStatus.PENDING]
    return pending[0] if pending else None


def _logged_outputs(store: Any, given: dict[str, Any]) -> Any:
    """True where the models are outputs of the run already."""
    outputs = store.get_run(given["run_id"]).outputs
    known = {model.model_id for model in (outputs.model_outputs if outputs else [])}
    return True if {model.model_id for model in given["models"]} <= known else None


#: What would be there twice where it is asked for twice. (Tags and params are then as they were,
#: of equal metric values MLflow keeps one, and files take each other's place.)
DONE_BEFORE: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "create_run": _made_run,
    "create_logged_model": _made_model,
    "log_outputs": _logged_outputs,
}
