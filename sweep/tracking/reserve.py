"""Room beside a SQLite database that is kept for the last words of a run on a disk that is full."""

import os
from contextlib import suppress
from pathlib import Path

SIZE = 2**18  # bytes: the database's journal, for the status of some runs
NAME = ".reserve"

_places: set[Path] = set()


def keep(folder: Path) -> None:
    """Keep a reserve in `folder`, where there is room for one."""
    place = folder / NAME
    _places.add(place)
    with suppress(OSError):
        if place.exists() and place.stat().st_size == SIZE:
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            place.write_bytes(os.urandom(SIZE))  # what some disks could not make smaller
        except OSError:
            place.unlink()


def release() -> None:
    """Give the room of what is kept to whoever writes next."""
    for place in _places:
        with suppress(OSError):
            place.unlink()
