"""What a person reads in the terminal: progress while something runs long, tables at the end."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sweep.redaction import redacted

EVERY = 5.0  # seconds between two plain lines of progress
HOUR = 3600.0  # seconds of which the speed is taken that tells the time left


def no_reader(stream: TextIO) -> None:
    """Let what is written to `stream` go nowhere: who read it has gone, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Piped(Console):
    """A console whose reader may go: that is an interruption, as Ctrl-C is."""

    def on_broken_pipe(self) -> None:
        no_reader(self.file)
        if not self.stderr:
            raise KeyboardInterrupt(signal.SIGPIPE)

    def show_cursor(self, show: bool = True) -> bool:
        """Never hide it: who is killed could not show it again."""
        return False


with suppress(AttributeError):  # a stream in place of standard output has no encoding to set
    sys.stdout.reconfigure(errors="replace")
console = _Piped(highlight=False, markup=False)
errors = _Piped(highlight=False, markup=False, stderr=True)


@contextmanager
def bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar with the time left, below all that is printed; nothing where output is no terminal.

    Yields a function to be told how many more are done. Bars within bars stand below each other.
    """
    if not console.is_terminal:
        yield lambda more: None
        return
    with _shared() as bars:
        task = bars.add_task(what, total=total, unit=unit)
        try:
            yield partial(bars.advance, task)
        finally:
            bars.remove_task(task)


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """As `bar`; where output is no terminal, a plain line now and then."""
    done, told = 0, time.monotonic()
    with bar(what, total, unit) as advanced:

        def advance(more: int) -> None:
            nonlocal done, told
            advanced(more)
            done += more
            if not console.is_terminal and time.monotonic() - told >= EVERY:
                told = time.monotonic()
                say(f"  {what}: {done} of {total} {unit}")

        yield advance


_bars: Progress | None = None  # that are on the screen


@contextmanager
def _shared() -> Iterator[Progress]:
    """The bars on the screen, one display for all of them."""
    global _bars
    if _bars is not None:
        yield _bars
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    how = {"console": console, "transient": True, "speed_estimate_period": HOUR}
    with Progress(*columns, **how) as _bars:
        try:
            yield _bars
        finally:
            _bars = None


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
    console.print(redacted(line), soft_wrap=not wrap)


def complain(text: str) -> None:
    """Print what is wrong on standard error, and take the bars off the screen: it is the last word.

    Wrapped between words only where a person reads it.
    """
    if _bars is not None:
        _bars.stop()
    errors.print(f"prunesweep: {redacted(text)}", soft_wrap=not errors.is_terminal)


def trace(error: BaseException) -> None:
    """Print the traceback of `error` on standard error."""
    errors.print(redacted("".join(traceback.format_exception(error))), soft_wrap=True, end="")


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
        shown.add_row(*map(redacted, row))
    console.print()
    console.print(shown)
    console.print()


def percent(value: float | None) -> str:
    """A rate as a percentage in five characters, a dash where there is none.

    >>> percent(0.9576), percent(1.0), percent(None)
    ('95.76', '100.0', '-')
    """
    return "-" if value is None else f"{100 * value:.2f}"[:5]
