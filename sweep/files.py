"""Files as runs leave them: whole or not at all, one writer at a time, named by what made them."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from sweep import processes

#: Of the libraries that numbers come from: what is kept is made anew where one has changed.
VERSIONS = [version(name) for name in ("keras", "tensorflow", "numpy")]
PACKAGE = Path(__file__).parent
APART = "~"  # between a name and the process that writes it


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes its place at the end.

    On an error nothing is left, and of a process that died only until the next is here to write.
    `path` may become a file or a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path.parent)
    writer = APART.join(map(str, processes.this().values()))
    prefix = f".{path.name}{APART}{writer}{APART}"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if unfinished.is_dir() and path.is_dir():
            os.replace(path, Path(folder) / "old")
        os.replace(unfinished, path)


def _tidy(folder: Path) -> None:
    """Delete what processes that are dead had not finished writing there."""
    for left in folder.glob(f".*{APART}*"):
        told = left.name.split(APART)[1:-1]
        names = ("host", "pid", "pid_started")
        if len(told) == len(names) and processes.dead(dict(zip(names, told, strict=True))):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the one lock of `path`, across processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def key(settings: Any, *made_by: ModuleType | str) -> str:
    """Name for what `settings` (JSON) and the sources `made_by` determine, 12 hexadecimal digits.

    Sources are modules or packages, those of this project also by their path in it: "networks" is
    the whole package, "data/hdf5.py" one module.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_plain).encode())
    for module in made_by:
        for source in _sources(module):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _sources(module: ModuleType | str) -> list[Path]:
    """The source files of a module, or of all modules of a package; what is in Python has none."""
    if isinstance(module, str):
        path = PACKAGE / module
    elif not hasattr(module, "__file__"):
        return []
    else:
        path = Path(module.__file__)
        path = path.parent if path.name == "__init__.py" else path
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _plain(value: Any) -> Any:
    """What JSON does not know: dataclasses, functions with their settings, paths."""
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"_target_": type(value).__qualname__, **named}
    if isinstance(value, partial):
        name = f"{value.func.__module__}.{value.func.__qualname__}"
        return {"_target_": name, "_args_": value.args, **value.keywords}
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no stable name to make a key of")


#: What reading a damaged HDF5 file raises, whatever the library stumbles on.
DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError, ArithmeticError, MemoryError)


def stamp(path: Path) -> tuple[int, ...]:
    """What tells one content of a file from another without reading it: its size and times."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
