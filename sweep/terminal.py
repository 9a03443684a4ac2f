"""What a person reads in the terminal: progress while something runs long, tables at the end."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

EVERY = 5.0  # seconds between two plain lines of progress


def no_reader(stream: TextIO) -> None:
    """Let what is written to `stream` go nowhere: who read it has gone, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Piped(Console):
    """A console whose reader may go: that is an interruption, as Ctrl-C is."""

    def on_broken_pipe(self) -> None:
        no_reader(self.file)
        if not self.stderr:
            raise KeyboardInterrupt(signal.SIGPIPE)


with suppress(AttributeError):  # a stream in place of standard output has no encoding to set
    sys.stdout.reconfigure(errors="replace")
console = _Piped(highlight=False, markup=False)
errors = _Piped(highlight=False, markup=False, stderr=True)


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far `what` has come; yields a function to be told how many more are done.

    A bar with the time left where output is a terminal, else a plain line now and then.
    """
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total, unit=unit)
            yield lambda more: bar.advance(task, more)
        return
    done, told = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            say(f"  {what}: {done} of {total} {unit}")

    yield advance


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what native code writes to standard error: TensorFlow greets before it can be told."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def say(line: str, *, wrap: bool = True) -> None:
    """Print a line, wrapped between words; not at all where it is a command to copy."""
    console.print(line, soft_wrap=not wrap)


def complain(text: str) -> None:
    """Print what is wrong on standard error; wrapped between words only where a person reads it."""
    errors.print(f"prunesweep: {text}", soft_wrap=not errors.is_terminal)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    """Print a table; the first `left` columns are words, the others numbers."""
    widths = [
        max(map(len, (*cells[0].split("\n"), *cells[1:])))
        for cells in zip(columns, *rows, strict=True)
    ]
    roomy = sum(widths) + 2 * (len(widths) - 1) <= console.width
    shown = Table(box=None, pad_edge=False, padding=(0, 2 if roomy else 1, 0, 0))
    for number, column in enumerate(columns):
        shown.add_column(
            column,
            justify="left" if number < left else "right",
            no_wrap=number >= left,
            overflow="fold",  # what tells cells apart is never cut off
        )
    for row in rows:
        shown.add_row(*row)
    console.print()
    console.print(shown)
    console.print()


def percent(value: float | None) -> str:
    """A rate as a percentage in five characters, a dash where there is none.

    >>> percent(0.9576), percent(1.0), percent(None)
    ('95.76', '100.0', '-')
    """
    return "-" if value is None else f"{100 * value:.2f}"[:5]
