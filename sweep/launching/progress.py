"""How far a sweep is: told by its cells in whatever process, printed by the one that was started.

Cells append lines to a file in the sweep's folder, each a JSON object in one write, so that those
of several processes don't mix. The sweep's own process reads them as they come.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sweep import terminal
from sweep.redaction import redacted

PROGRESS = "progress.jsonl"
EVERY = 0.2  # seconds between two looks at the file


def tell(
    folder: Path, text: str, *, done: bool = False, cell: Mapping[str, Any] | None = None
) -> None:
    """Have a line printed by the sweep's process.

    `done`: it says how a cell went; `cell`: what is known of that one, for `Reporter.cells`; "": no
    line, but that.
    """
    line = json.dumps({"text": redacted(text), "done": done, "cell": cell}) + "\n"
    file = os.open(folder / PROGRESS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Reporter:
    """Prints what the cells of a sweep tell, and moves the bar on by each that is done.

    total: how many cells are to run; advance: the bar, see `terminal.progress_bar`. `cells` is what
    was told of those that have ended, by their numbers, where nobody else can be asked.
    """

    def __init__(self, folder: Path, total: int, advance: Callable[[int], None]) -> None:
        self.cells: dict[int, Mapping[str, Any]] = {}
        self._file, self._read = folder / PROGRESS, 0
        self._total, self._done, self._advance = total, 0, advance
        self._started = time.time()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._file.unlink(missing_ok=True)  # of a sweep before, where the folder is given

    def print_new(self) -> None:
        """Print what was told since the last time."""
        with self._lock:
            for line in self._new_lines():
                told = json.loads(line)
                if told.get("cell"):
                    self.cells[told["cell"]["job"]] = told["cell"]
                if told["text"]:
                    position = self._position() if told["done"] else ""
                    terminal.print_line(position + told["text"])

    def skip(self, count: int) -> None:
        """Move the bar on by cells that need not be run."""
        self._total -= count
        self._advance(count)

    def _new_lines(self) -> list[bytes]:
        """The whole lines that were written since the last time."""
        if not self._file.is_file():
            return []
        with self._file.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.splitlines()

    def _position(self) -> str:
        """Where the sweep stands after one more cell, and how long the rest may take."""
        self._done += 1
        self._advance(1)
        self._total = max(self._total, self._done)
        left = self._total - self._done
        position = f"{self._done} of {self._total}"
        if left:
            seconds = (time.time() - self._started) / self._done * left
            position += f", {terminal.duration(seconds)} left"
        return f"{position}: "

    def watch(self) -> None:
        """Print from now on what other processes tell, as it comes."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_printing, daemon=True)
            self._thread.start()

    def _keep_printing(self) -> None:
        while not self._ended.wait(EVERY):
            self.print_new()

    def close(self) -> None:
        """Print what is left, and nothing more."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self.print_new()
