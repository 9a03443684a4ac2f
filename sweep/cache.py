"""A cache of arrays that are costly to compute: in memory while they fit, and on disk.

An entry is a dict of arrays in one .npz file, named by a key of all that determines it, so an entry
never has to be invalidated. It is written atomically; a file that is damaged, or holds another
entry, is computed anew. The least recently used files are deleted when there are too many.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from sweep import files, terminal

Arrays = dict[str, NDArray]
GB = 10**9
NAME = "entry"  # the array that holds an entry's own key


@lru_cache(maxsize=1)
def opened(folder: str | None, max_gb: float, memory_gb: float) -> "Cache":
    """Return the one cache of a process, so that its cells share what is in memory."""
    return Cache(folder, max_gb, memory_gb)


class Cache:
    """Arrays by key: at most `max_gb` of files under `folder`, and `memory_gb` of them in memory.

    Without a folder nothing is written. An entry above a limit is not kept there.
    """

    def __init__(self, folder: str | None = None, max_gb: float = 0, memory_gb: float = 0) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self._max_bytes = max_gb * GB if folder else 0
        self._max_memory_bytes = memory_gb * GB
        self._memory: OrderedDict[str, Arrays] = OrderedDict()
        self._memory_bytes = 0
        self._disk_bytes = float("inf")  # not counted yet
        self._uncounted_bytes = float("inf")  # written since they were counted
        self._said = False  # that another process is awaited
        self._lock = Lock()  # of what is in memory

    def get_or_compute(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return the entry of that key; computed and kept where it is absent or damaged.

        `key` is a path: names joined by "/". Arrays are read-only.
        """
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        arrays = self._read(key)
        if arrays is None:
            with self._one_writer(key):
                arrays = self._read(key)  # perhaps another process was at it, and has done it
                if arrays is None:
                    arrays = compute()
                    self._write(key, arrays)
        for array in arrays.values():
            array.setflags(write=False)
        self._keep_in_memory(key, arrays)
        return arrays

    def holds(self, key: str) -> bool:
        """Return whether there is an entry of that key; if it is whole, only reading it tells."""
        with self._lock:
            in_memory = key in self._memory
        return in_memory or bool(self._max_bytes and self._path(key).is_file())

    @contextmanager
    def _one_writer(self, key: str) -> Iterator[None]:
        """Hold the lock of an entry, so that processes beside each other compute it once."""
        with ExitStack() as stack:
            if self._max_bytes:
                path = self._path(key)
                with suppress(OSError):  # a folder that cannot be written: there is nothing to lock
                    stack.enter_context(files.lock(path, self._say_awaited))
                    stack.callback(files.delete_lock, path)
            yield

    def _say_awaited(self) -> None:
        """Say, once, that another process is computing what is wanted here too."""
        if not self._said:
            terminal.awaiting("feature maps or predictions")()
        self._said = True

    def _path(self, key: str) -> Path:
        assert self.folder is not None  # without one nothing is read or written
        return self.folder / f"{key}.npz"

    def _read(self, key: str) -> Arrays | None:
        """Return the entry from disk; None where it is absent, damaged, or another one's."""
        if not self._max_bytes:
            return None
        if self._disk_bytes == float("inf"):  # the first time: perhaps the limit was another one
            self._disk_bytes, self._uncounted_bytes = self._trim(), 0
        path = self._path(key)
        try:
            arrays = _read_npz(path)
            if arrays.pop(NAME) != key:
                return None
        except Exception:  # numpy and zipfile raise whatever a damaged file makes them stumble on
            return None
        with suppress(OSError):  # a folder that can only be read serves too
            os.utime(path)
        return arrays

    def _write(self, key: str, arrays: Arrays) -> None:
        if _byte_count(arrays) > self._max_bytes:
            return
        try:
            with files.atomic_write(self._path(key)) as unfinished:
                np.savez(unfinished, allow_pickle=True, **arrays, **{NAME: np.array(key)})
                size = unfinished.stat().st_size
        except OSError:  # a full disk, a folder that cannot be written: the run goes on without
            return
        self._disk_bytes += size
        self._uncounted_bytes += size
        # other processes write too, so what is there is counted anew now and then
        if self._disk_bytes > self._max_bytes or self._uncounted_bytes > self._max_bytes / 16:
            self._disk_bytes, self._uncounted_bytes = self._trim(), 0

    def _trim(self) -> float:
        """Delete the least recently used entries until the rest fits; return the bytes left."""
        assert self.folder is not None
        entries = []
        for folder, _, names in os.walk(self.folder):  # which passes over folders that vanish
            for path in (Path(folder, name) for name in names if name.endswith(".npz")):
                with suppress(OSError):  # another process was faster
                    status = path.stat()
                    entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._max_bytes:
                break
            with suppress(OSError):  # not ours to delete
                path.unlink(missing_ok=True)
                total -= size
        return total

    def _keep_in_memory(self, key: str, arrays: Arrays) -> None:
        with self._lock:
            if key in self._memory or _byte_count(arrays) > self._max_memory_bytes:
                return
            self._memory[key] = arrays
            self._memory_bytes += _byte_count(arrays)
            while self._memory_bytes > self._max_memory_bytes:
                _, oldest = self._memory.popitem(last=False)
                self._memory_bytes -= _byte_count(oldest)


def _read_npz(path: Path) -> Arrays:
    """Return the arrays of a .npz file, each read to its very end, where its CRC is checked.

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


def _byte_count(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
