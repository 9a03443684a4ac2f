"""The workers of joblib and of Ray, where one is killed: whose cell is lost, and whose is not.

joblib's pool (loky) is not to be used after a worker died, so it kills the others too. Their cells
are nobody's fault, and are launched again; the first one's is not, since it may be what killed it.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from sweep import BadInput


class WorkerKilled(Exception):
    """A worker was killed; `ended_by_pool` are the processes (pids) that were ended after it."""

    def __init__(self, ended_by_pool: set[int]) -> None:
        super().__init__("a worker was killed")
        self.ended_by_pool = ended_by_pool


@contextmanager
def watch() -> Iterator[None]:
    """Raise WorkerKilled where a worker of joblib's or Ray's is killed meanwhile."""
    with _watch_ray(), _watch_joblib():
        yield


@contextmanager
def _watch_ray() -> Iterator[None]:
    """Raise WorkerKilled where a worker of Ray's is killed; the others go on.

    Raises BadInput where Ray does not begin.
    """
    try:
        yield
    except Exception as error:
        ray: Any = sys.modules.get("ray")
        if ray is None:
            raise
        if not ray.is_initialized():
            raise BadInput(f"Ray did not begin: {_last_sentence(error)}") from error
        if isinstance(error, ray.exceptions.RayTaskError):  # that the cell itself has raised
            raise
        if isinstance(error, ray.exceptions.RayError):
            raise WorkerKilled(set()) from error
        raise


def _last_sentence(error: BaseException) -> str:
    """What a long error says in the end, without the traceback that it may hold."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _watch_joblib() -> Iterator[None]:
    """Raise WorkerKilled where a worker of joblib's pool is killed, which then ends the others."""
    try:
        from joblib.externals.loky import process_executor as loky
    except ImportError:  # no such launcher is there
        yield
        return
    ended: set[int] = set()
    kill = loky.kill_process_tree
    loky.kill_process_tree = _recording(kill, ended)
    try:
        yield
    except BrokenProcessPool as error:
        if not isinstance(error, loky.TerminatedWorkerError):  # it could not begin
            raise
        raise WorkerKilled(ended) from error
    finally:
        loky.kill_process_tree = kill


def _recording(kill: Callable[..., Any], ended: set[int]) -> Callable[..., Any]:
    """`kill`, a function of a process, which notes those that it ends."""

    def kill_and_note(process: Any, *args: Any, **kwargs: Any) -> Any:
        if process.is_alive():
            ended.add(process.pid)
        return kill(process, *args, **kwargs)

    return kill_and_note
