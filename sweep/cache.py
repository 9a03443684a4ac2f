"""What was costly to make, kept by name: in memory while it fits, and on disk across processes.

An entry is a dict of arrays in one .npz file, named by a key of all that determines it, so an entry
never has to be invalidated. It is written whole or not at all; a file that is damaged, or holds
another entry, is made anew. The files least recently used go first when there are too many.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from sweep import files

Arrays = dict[str, NDArray]
GB = 10**9
NAME = "entry"  # the array that holds an entry's own key


@lru_cache(maxsize=1)
def opened(folder: str | None, max_gb: float, memory_gb: float) -> "Cache":
    """The one cache of a process, so that its cells share what is in memory."""
    return Cache(folder, max_gb, memory_gb)


class Cache:
    """Arrays by key: at most `max_gb` of files under `folder`, and `memory_gb` of them in memory.

    Without a folder nothing is written. An entry above a limit is not kept there.
    """

    def __init__(self, folder: str | None = None, max_gb: float = 0, memory_gb: float = 0) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self._most = max_gb * GB if folder else 0
        self._most_in_memory = memory_gb * GB
        self._memory: OrderedDict[str, Arrays] = OrderedDict()
        self._in_memory = 0
        self._on_disk = self._uncounted = float("inf")  # bytes: in all, and since they were counted
        self._lock = Lock()  # of what is in memory

    def get_or_compute(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """The entry of that key; made by `make`, and kept, where it is not there whole.

        `key` is a path: names joined by "/". Arrays are read-only.
        """
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        arrays = self._read(key)
        if arrays is None:
            arrays = make()
            self._write(key, arrays)
        for array in arrays.values():
            array.setflags(write=False)
        self._hold(key, arrays)
        return arrays

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _read(self, key: str) -> Arrays | None:
        """The entry from disk; None where it is absent, damaged, or another one's."""
        if not self._most:
            return None
        if self._on_disk == float("inf"):  # the first time: perhaps the limit was another one
            self._on_disk, self._uncounted = self._trim(), 0
        path = self._path(key)
        try:
            arrays = _arrays(path)
            if arrays.pop(NAME) != key:
                return None
        except Exception:  # numpy and zipfile raise whatever a damaged file makes them stumble on
            return None
        with suppress(OSError):  # a folder that can only be read serves too
            os.utime(path)
        return arrays

    def _write(self, key: str, arrays: Arrays) -> None:
        if _size(arrays) > self._most:
            return
        try:
            with files.atomic_write(self._path(key)) as unfinished:
                np.savez(unfinished, **arrays, **{NAME: np.array(key)})
                size = unfinished.stat().st_size
        except OSError:  # a full disk, a folder that cannot be written: the run goes on without
            return
        self._on_disk += size
        self._uncounted += size
        # other processes write too, so what is there is counted anew now and then
        if self._on_disk > self._most or self._uncounted > self._most / 16:
            self._on_disk, self._uncounted = self._trim(), 0

    def _trim(self) -> float:
        """Delete the entries least recently used until the rest fits; the bytes that are left."""
        found = []
        for folder, _, names in os.walk(self.folder):  # which passes over folders that vanish
            for path in (Path(folder, name) for name in names if name.endswith(".npz")):
                with suppress(OSError):  # another process was faster
                    status = path.stat()
                    found.append((status.st_mtime_ns, status.st_size, path))
        left = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if left <= self._most:
                break
            with suppress(OSError):  # not ours to delete
                path.unlink(missing_ok=True)
                left -= size
        return left

    def _hold(self, key: str, arrays: Arrays) -> None:
        with self._lock:
            if key in self._memory or _size(arrays) > self._most_in_memory:
                return
            self._memory[key] = arrays
            self._in_memory += _size(arrays)
            while self._in_memory > self._most_in_memory:
                _, oldest = self._memory.popitem(last=False)
                self._in_memory -= _size(oldest)


def _arrays(path: Path) -> Arrays:
    """The arrays of a .npz file, each read to its very end, where its CRC is checked.

    numpy.load stops where the array's header says, and takes a header that says less than there is.
    """
    arrays = {}
    with ZipFile(path) as file:
        if sum(member.file_size for member in file.infolist()) > path.stat().st_size:
            raise BadZipFile("more than is written here: entries are not compressed")
        for name in file.namelist():
            with file.open(name) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):
                    raise BadZipFile("more than the array's header says")
            arrays[name.removesuffix(".npy")] = array
    return arrays


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
