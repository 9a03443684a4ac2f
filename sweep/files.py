"""Files as runs leave them: whole or not at all, one writer at a time, named by what made them."""

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
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
OURS = __name__.partition(".")[0]
APART = "~"  # between a name and the process that writes it


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes its place at the end.

    On an error nothing is left, and of a process that died only until the next is here to write.
    `path` may become a file or a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path.parent)
    writer = APART.join(map(str, processes.current_process().values()))
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
        if len(told) == len(names) and processes.is_dead(dict(zip(names, told, strict=True))):
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
    for source in dict.fromkeys(path for module in made_by for path in _sources(module)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _sources(module: ModuleType | str) -> list[Path]:
    """The source files of a module, or of all modules of a package; what is in Python has none.

    Of somebody else's module all of its package count: they may call each other.
    """
    if isinstance(module, str):
        path = PACKAGE / module
    elif not getattr(module, "__file__", None):
        return []
    else:
        path = Path(module.__file__)
        path = path.parent if path.name == "__init__.py" else path
    own = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if isinstance(module, str) or module.__name__.partition(".")[0] == OURS:
        return own
    return own + sources(module.__name__)


def sources(name: str) -> list[Path]:
    """The source files of the whole package, or else of the module, that a dotted name is in."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):  # ValueError: made by hand
        spec = None
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        places = map(Path, spec.submodule_search_locations)
        return sorted(path for place in places for path in place.rglob("*.py"))
    return [Path(spec.origin)] if str(spec.origin).endswith(".py") else []


def module_of(function: Callable[..., Any]) -> ModuleType:
    """The module that `function` is written in; also of a `functools.partial` as Hydra makes it."""
    while isinstance(function, partial):
        function = function.func
    return sys.modules[function.__module__]


def code_of_others(functions: Iterable[Callable[..., Any]]) -> list[ModuleType]:
    """The modules of those functions that are not of this package, each once."""
    modules = {module.__name__: module for module in map(module_of, functions)}
    return [module for name, module in sorted(modules.items()) if name.partition(".")[0] != OURS]


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


def size_and_times(path: Path) -> tuple[int, ...]:
    """What tells one content of a file from another without reading it: its size and times."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
