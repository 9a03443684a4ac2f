"""The program around Hydra: how it begins, and how it ends, whatever happens in between."""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sweep import interrupts, terminal
from sweep.cli.jobs import TRACEBACKS, Stopped, exit_with_error
from sweep.cli.sweeps import Sweep


def launch(main: Callable[[], None]) -> None:
    """Run Hydra's `main`; of a sweep that is interrupted the cells are compared all the same."""
    interrupts.raise_on_signals()
    os.environ["PROJECT_ROOT"] = str(Path(inspect.getfile(inspect.unwrap(main))).resolve().parent)
    sys.path.append(os.getcwd())  # what is one's own is found beside the command, ours before it
    os.environ["SWEEP_TRACEBACKS"] = "1" if TRACEBACKS else ""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # what Hydra refuses is told here
    try:
        _run_hydra(main)
    except KeyboardInterrupt as interrupt:
        terminal.print_error("interrupted")
        _end("KILLED", interrupts.exit_code(interrupt))
    except Stopped as stopped:
        terminal.print_error(str(stopped))
        _end("FAILED", 1)
    except SystemExit as ended:
        _end("FAILED", ended.code)


def _end(status: str, code: str | int | None) -> NoReturn:
    """End the program, and before it a sweep that is still at work."""
    interrupts.ignore_signals()
    if Sweep.current is not None:
        with suppress(BaseException):  # who is in a hurry goes without the table, so a full disk
            Sweep.current.end(status)
    raise SystemExit(code)


def _run_hydra(main: Callable[[], None]) -> None:
    """Run Hydra's `main`; what it refuses is told in a sentence."""
    try:
        main()
    except BrokenPipeError:  # of what Hydra prints itself
        terminal.discard_output(sys.stdout)
        raise SystemExit(128 + signal.SIGPIPE) from None
    except Exception as error:
        exit_with_error(error)
