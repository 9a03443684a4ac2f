"""A sweep in a browser: links to its view in MLflow, and the command that starts MLflow for it.

python -m sweep.view                   the latest sweep, with `mlflow ui` as long as it is looked at
python -m sweep.view RUN_ID            a sweep, or that of a cell
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import mlflow
from mlflow import MlflowException
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from sweep import BadInput, interrupts, terminal
from sweep.redaction import redacted
from sweep.results import cells
from sweep.results.cells import Cell
from sweep.tracking import run_history, store, view
from sweep.tracking.servers import places

HOST, PORT = "127.0.0.1", 5000  # where a bare `mlflow ui` answers
LONGEST_START = 120  # seconds that `mlflow ui` may take
COMMAND = "python -m sweep.view"


def save_view(parent: Run, table: Sequence[Cell], runs: Sequence[Run]) -> str:
    """Save the view of a sweep that ends, and return its path on a server.

    "" where that failed: a view is nothing that a sweep may fail for.
    """
    params = [key.replace("/", ".") for key in cells.distinguishing_keys(table)]
    with suppress(Exception):
        return view.save(parent, runs, params)
    return ""


def print_links(path: str) -> None:
    """Print how the runs are looked at, and the link to a view where it has a path."""
    uri = mlflow.get_tracking_uri()
    terminal.print_line(f"Compare the runs in a browser: {store.view_command()}", wrap=False)
    if not path:
        return
    server = uri.rstrip("/") if uri.startswith("http") else f"http://{HOST}:{PORT}"
    terminal.print_line("There this link opens the cells side by side, best first, with charts:")
    terminal.print_line(server + path, wrap=False)
    if not uri.startswith("http"):
        option = "" if uri == store.users_uri() else f" --uri {uri}"
        terminal.print_line(f"Or in one step: {COMMAND}{option}", wrap=False)


def open_view(run_id: str | None, uri: str | None, *, open_browser: bool) -> None:
    """Show a sweep in a browser, the latest one for None, until Ctrl-C where no server runs yet.

    Raises BadInput where there is no such sweep.
    """
    store.use_existing(uri)
    uri = mlflow.get_tracking_uri()
    try:
        parent = _latest_sweep() if run_id is None else _sweep_of(run_id)
        path = _saved_path(parent)
    except BadInput:
        raise
    except Exception as error:  # of MLflow, and of what it stands on
        raise BadInput(f"{uri} cannot be read by MLflow ({_reason(error)})") from error
    terminal.print_line(f"{parent.info.run_name}:")
    if uri.startswith("http"):
        _show(uri.rstrip("/") + path, open_browser)
        return
    terminal.print_line("MLflow starts, which takes some seconds ...")
    interrupts.raise_on_signals()
    with _mlflow_ui(uri) as (server, process):
        _show(server + path, open_browser)
        terminal.print_line("Ctrl-C ends MLflow.")
        process.wait()
    raise BadInput("mlflow ui has ended by itself; give the command again")


def _latest_sweep() -> Run:
    """The parent run of the sweep that was started last."""
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    newest = client.search_runs(
        experiments, "tags.cells LIKE '%'", max_results=1, order_by=["attributes.start_time DESC"]
    )
    if not newest:
        raise BadInput(
            f"there is no sweep at {mlflow.get_tracking_uri()}; make one by python run.py -m, with "
            f"values separated by commas"
        )
    return newest[0]


def _sweep_of(run_id: str) -> Run:
    """The parent run of the sweep that a run is, or is a cell of."""
    try:
        run = mlflow.get_run(run_id)
        if "cells" in run.data.tags:
            return run
        parent = run.data.tags.get("mlflow.parentRunId")
        if parent:
            return mlflow.get_run(parent)
    except MlflowException as error:
        raise BadInput(
            f"run {run_id} cannot be read from {mlflow.get_tracking_uri()} ({_reason(error)}); "
            f"expected the id of a sweep or of one of its cells"
        ) from error
    raise BadInput(
        f"run {run_id} is a single run; expected the id of a sweep or of one of its cells"
    )


def _saved_path(parent: Run) -> str:
    """The path of a sweep's view, which is saved anew where it is not there (any more)."""
    client, sweep = MlflowClient(), parent.info.run_id
    experiment = parent.info.experiment_id
    if view.TAG + sweep in client.get_experiment(experiment).tags:
        return view.path(experiment, sweep)
    runs = run_history.child_runs(experiment, sweep)
    runs += [mlflow.get_run(run_id) for run_id in cells.reused_run_ids(parent)]
    if not runs:
        raise BadInput(f"the sweep {sweep} has no cells yet")
    return view.save(parent, runs, view.swept_params(runs))


def _show(link: str, open_browser: bool) -> None:
    terminal.print_line(link, wrap=False)
    screen = sys.platform != "linux" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if open_browser and screen:  # else it would be one of text, in this terminal
        webbrowser.open(link)


@contextmanager
def _mlflow_ui(uri: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run `mlflow ui` on a free port, and yield its address when it answers, and its process."""
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}  # where no list shows a password
    database = places.database_file(uri)
    with TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=database.absolute().parent if database else None,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its workers end with it, by one signal to all
        )
        try:
            server = f"http://{HOST}:{port}"
            _await(server, process, output)
            yield server, process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _await(server: str, process: "subprocess.Popen[bytes]", output: IO[bytes]) -> None:
    """Return when the server answers; raise BadInput where it ends before, or takes too long."""
    started = time.monotonic()
    while process.poll() is None and time.monotonic() < started + LONGEST_START:
        with suppress(URLError, OSError), urlopen(f"{server}/health", timeout=5):
            return
        time.sleep(0.2)
    output.seek(0)
    lines = output.read().decode(errors="replace").strip().splitlines() or ["it says nothing"]
    raise BadInput(f"mlflow ui does not answer at {server} ({redacted(lines[-1])[:200]})")


def _free_port() -> int:
    """The port that `mlflow ui` has by default, or any where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as tried, suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((HOST, port))
            return int(tried.getsockname()[1])
    raise BadInput(f"no port of {HOST} is free")


def _reason(error: BaseException) -> str:
    return textwrap.shorten(redacted(str(error)), 200, placeholder=" ...")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Show a sweep in MLflow: its cells side by side, and charts. Ctrl-C ends it.",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN_ID", help="a sweep or one of its cells (default: the latest)"
    )
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    parser.add_argument("--no-browser", action="store_true", help="only print the link")
    options = parser.parse_args(arguments)

    def run() -> None:
        try:
            open_view(options.run, options.uri, open_browser=not options.no_browser)
        except KeyboardInterrupt as interrupt:
            if interrupt.args != (signal.SIGINT,):  # Ctrl-C is how it ends
                raise

    return terminal.exit_code(run)
