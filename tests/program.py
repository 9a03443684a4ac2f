"""`python run.py` in a process of its own that need not import what run.py imports: a fork.

To import TensorFlow, Keras and MLflow costs 4 s of work, more than most commands that are tested.
So one process has it all imported, and computes nothing; each command is run in a fork of it, with
the arguments, folder, environment, signals and exit code that it would have had.
Some tests start Python itself, which shows that the program begins as it should.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
ENVIRONMENT |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
WRITTEN = os.O_WRONLY | os.O_CREAT | os.O_APPEND
#: What it comes to import while it runs.
LATER = ("mlflow.keras", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_workspace_store")
LATER += ("sweep.cli.parts", "sweep.inspection", "sweep.detectors", "sweep.strategies")
LATER += ("git", "matplotlib.backends.backend_agg", "sqlalchemy.orm")


def python(folder: Path, *arguments: str) -> subprocess.Popen:
    """Python itself, started anew."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, **pipes)


class Started:
    """A program that runs, as a `subprocess.Popen` of text whose errors go to its output.

    With a file to `print_to` it runs in a session of its own, as in a terminal.
    """

    def __init__(
        self,
        folder: Path,
        script: str,
        *arguments: str,
        environment: Mapping[str, str] = ENVIRONMENT,
        print_to: Path | None = None,
    ) -> None:
        output, theirs = os.pipe() if print_to is None else (None, os.open(print_to, WRITTEN))
        told, tell = os.pipe()
        request = {"folder": str(folder), "argv": [script, *arguments]}
        request |= {"environ": dict(environment), "session": print_to is not None}
        socket.send_fds(_server(), [json.dumps(request).encode() + b"\n"], [theirs, tell])
        os.close(theirs)
        os.close(tell)
        self.stdout = None if output is None else os.fdopen(output)
        self._told = os.fdopen(told)
        self.pid, self.returncode = int(self._told.readline()), None

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired("run.py", timeout)
        return self.returncode

    def communicate(self) -> tuple[str, None]:
        with self.stdout:
            return self.stdout.read(), self.wait() and None

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            with self._told:
                self.returncode = int(self._told.readline())
        return self.returncode


@lru_cache
def _server() -> socket.socket:
    """Where requests go; the server ends with the process that has started it."""
    ours, theirs = socket.socketpair()
    with theirs:
        number = theirs.fileno()
        command = [sys.executable, __file__, str(number)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        server = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, pass_fds=[number], **quiet)

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def serve(number: int) -> None:
    """Run what is asked for at a socket, until nobody is there."""
    runpy.run_path(str(ROOT / "run.py"), run_name="imported")
    for module in LATER:
        __import__(module)
    defaults = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    with socket.socket(fileno=number) as requests:
        while True:
            request, given, *_ = socket.recv_fds(requests, 2**20, 2)
            while request and not request.endswith(b"\n"):
                request += requests.recv(2**20)
            _reap(os.WNOHANG if request else 0)
            if not request:
                return
            if not os.fork():
                break
            for one in given:
                os.close(one)
    _run(json.loads(request), defaults, *given)


def _reap(how: int) -> None:
    """Take leave of those that have ended, so that their time counts as that of the tests."""
    with suppress(ChildProcessError):  # there is none
        while os.waitpid(-1, how)[0]:
            pass


def _run(request: Mapping[str, Any], defaults: Mapping[str, str], output: int, tell: int) -> None:
    """Be the program in one process, and in another tell its number and how it ends.

    `defaults` are what the program sets in its environment when it is imported.
    """
    program = os.fork()
    if program:
        os.close(output)
        with os.fdopen(tell, "w", buffering=1) as told:
            told.write(f"{program}\n")
            told.write(f"{os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])}\n")
        os._exit(0)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.close(tell)
    if request["session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update({**defaults, **request["environ"]})
    sys.argv = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
