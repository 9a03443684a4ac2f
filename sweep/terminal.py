"""What a person reads in the terminal: progress while something runs long, tables at the end.

`print_line`, `print_table`, `progress_bar` and `progress` write to standard output, `print_error`
and `print_traceback` to standard error. Passwords are redacted in all that is printed.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import StringIO, TextIOWrapper
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sweep import BadInput, interrupts
from sweep.redaction import redacted

EVERY = 5.0  # seconds between two plain lines of progress
SPEED_WINDOW = 3600.0  # seconds over which the speed is measured that gives the time left


def discard_output(stream: IO[str]) -> None:
    """Discard what is written to `stream` from now on: its reader has gone, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Console(Console):
    """A console that takes a closed pipe for an interruption, as Ctrl-C is."""

    def on_broken_pipe(self) -> None:
        discard_output(self.file)
        if not self.stderr:
            raise KeyboardInterrupt(signal.SIGPIPE)

    def show_cursor(self, show: bool = True) -> bool:
        """Never hide the cursor: a killed process could not show it again."""
        return False


if isinstance(sys.stdout, TextIOWrapper):  # a stream in its place may have no encoding to set
    sys.stdout.reconfigure(errors="replace")
console = _Console(highlight=False, markup=False)
errors = _Console(highlight=False, markup=False, stderr=True)


class _Lines(StringIO):
    """A text file whose lines go to a function, each when it is whole."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self._take, self._rest = take, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)


def speak_to(take: Callable[[str], None], width: int, every: float) -> None:
    """Give each line that would be printed to `take`: this process has no terminal of its own.

    width: characters of a line; every: seconds between two lines of progress.
    """
    global console, EVERY
    console, EVERY = _Console(file=_Lines(take), width=width, highlight=False, markup=False), every


@contextmanager
def progress_bar(description: str, total: int, unit: str) -> Iterator[Callable[[float], None]]:
    """Show a bar with the time left, below all that is printed; nothing outside a terminal.

    Yields a function that takes how many more are done. Bars within bars stand below each other.
    """
    if not console.is_terminal:
        yield lambda more: None
        return
    with _shared_display() as bars:
        task = bars.add_task(description, total=total, unit=unit)
        try:
            yield partial(bars.advance, task)
        finally:
            bars.remove_task(task)


@contextmanager
def progress(description: str, total: int, unit: str) -> Iterator[Callable[[float], None]]:
    """Show a `progress_bar`; outside a terminal, print a plain line every `EVERY` seconds."""
    done, last_line = 0.0, time.monotonic()
    with progress_bar(description, total, unit) as advance_bar:

        def advance(more: float) -> None:
            nonlocal done, last_line
            advance_bar(more)
            done += more
            if not console.is_terminal and time.monotonic() - last_line >= EVERY:
                last_line = time.monotonic()
                print_line(f"  {description}: {done:.0f} of {total} {unit}")

        yield advance


_bars: Progress | None = None  # the display that is on the screen


@contextmanager
def _shared_display() -> Iterator[Progress]:
    """Yield the one display of all bars on the screen."""
    global _bars
    if _bars is not None:
        yield _bars
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} {task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, speed_estimate_period=SPEED_WINDOW
    ) as _bars:
        try:
            yield _bars
        finally:
            _bars = None


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what native code writes to standard error: TensorFlow greets before it can be told."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def print_line(line: str, *, wrap: bool = True) -> None:
    """Print a line, wrapped between words; not at all where it is a command to copy."""
    console.print(redacted(line), soft_wrap=not wrap)


def awaiting(what: str) -> Callable[[], None]:
    """Return a function that says what is awaited, which another process makes."""
    return partial(print_line, f"waiting for {what}, under way in another process")


def print_error(text: str) -> None:
    """Print the last word, what is wrong, on standard error, and take the bars off the screen.

    Wrapped between words only where a person reads it.
    """
    if _bars is not None:
        _bars.stop()
    errors.print(f"prunesweep: {redacted(text)}", soft_wrap=not errors.is_terminal)


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code, of None 0; 2 for bad input, told in one sentence."""
    try:
        return command() or 0
    except BadInput as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt as interrupt:
        return interrupts.exit_code(interrupt)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of `error` on standard error."""
    errors.print(redacted("".join(traceback.format_exception(error))), soft_wrap=True, end="")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    """Print a table; the first `left` columns are words, the others numbers."""
    widths = [_width(head, cells) for head, *cells in zip(columns, *rows, strict=True)]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= console.width else 1
    printed = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for number, column in enumerate(columns):
        printed.add_column(
            column,
            justify="left" if number < left else "right",
            no_wrap=number >= left,
            overflow="fold",  # what distinguishes two rows is never cut off
        )
    for row in rows:
        printed.add_row(*map(redacted, row))
    console.print()
    console.print(printed)
    console.print()


def _width(head: str, cells: Sequence[str]) -> int:
    """Return the characters that a column takes; its head may have several lines."""
    return max(map(len, [*head.split("\n"), *cells]))


def duration(seconds: float) -> str:
    """Return a time as a person reads it.

    >>> duration(8.2), duration(200), duration(9000)
    ('8 s', '3 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def percent(value: float | None) -> str:
    """Return a rate as a percentage in five characters, a dash where there is none.

    >>> percent(0.9576), percent(1.0), percent(None)
    ('95.76', '100.0', '-')
    """
    return "-" if value is None else f"{100 * value:.2f}"[:5]
