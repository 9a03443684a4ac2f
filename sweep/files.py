"""Files as runs leave them: complete or absent, one writer at a time, named by what made them.

`atomic_write` and `lock` are for whoever writes; `key` names a file after the settings and the
sources that determine it.
"""

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

from filelock import FileLock, Timeout

from sweep import processes

#: Of the libraries that numbers come from: what is kept is made anew where one has changed.
VERSIONS = [version(name) for name in ("keras", "tensorflow", "numpy")]
PACKAGE = Path(__file__).parent
OURS = __name__.partition(".")[0]
SEPARATOR = "~"  # between a name and the process that writes it


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes its place at the end.

    `path` may become a file or a folder. On an error nothing is left; what a process that died has
    left is deleted by the next that writes to the same folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_unfinished(path.parent)
    writer = SEPARATOR.join(map(str, processes.current_process().values()))
    prefix = f".{path.name}{SEPARATOR}{writer}{SEPARATOR}"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if unfinished.is_dir() and path.is_dir():
            os.replace(path, Path(folder) / "old")
        os.replace(unfinished, path)


def _delete_unfinished(folder: Path) -> None:
    """Delete what processes that are dead had not finished writing to `folder`."""
    names = ("host", "pid", "pid_started")
    for unfinished in folder.glob(f".*{SEPARATOR}*"):
        writer = unfinished.name.split(SEPARATOR)[1:-1]
        if len(writer) == len(names) and processes.is_dead(dict(zip(names, writer, strict=True))):
            shutil.rmtree(unfinished, ignore_errors=True)


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def delete_lock(path: Path) -> None:
    """Delete the file of a lock that is held; who waits for it has to look at `path` anew."""
    _lock_file(path).unlink(missing_ok=True)


@contextmanager
def lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the one lock of `path`, across processes; `on_wait` is called where another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(_lock_file(path))
    try:
        held.acquire(timeout=0)
    except Timeout:
        on_wait()
        held.acquire()
    try:
        yield
    finally:
        held.release()


def key(settings: object, *made_by: ModuleType | str) -> str:
    """Return 12 hexadecimal digits that name what `settings` and the sources `made_by` determine.

    Settings are JSON, dataclasses, functions with their settings (partial) and paths. Sources are
    modules or packages, those of this project also by their path in it: "networks" is the whole
    package, "data/hdf5.py" one module.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_to_json).encode())
    for source in dict.fromkeys(path for module in made_by for path in _sources(module)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _sources(module: ModuleType | str) -> list[Path]:
    """Return the source files of a module or a package; what is built into Python has none.

    Of somebody else's module all of its package count: they may call each other.
    """
    if isinstance(module, str):
        path = PACKAGE / module
    elif not module.__dict__.get("__file__"):
        return []
    else:
        path = Path(module.__dict__["__file__"])
        path = path.parent if path.name == "__init__.py" else path
    paths = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if isinstance(module, str) or module.__name__.partition(".")[0] == OURS:
        return paths
    return paths + sources(module.__name__)


def sources(name: str) -> list[Path]:
    """Return the source files of the package, or else of the module, that a dotted name is in."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):  # ValueError: made by hand
        spec = None
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        places = map(Path, spec.submodule_search_locations)
        return sorted(path for place in places for path in place.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


def module_of(function: Callable[..., object]) -> ModuleType:
    """Return the module in which `function`, perhaps a partial as Hydra makes it, is written."""
    while isinstance(function, partial):
        function = function.func
    return sys.modules[function.__module__]


def code_of_others(functions: Iterable[Callable[..., object]]) -> list[ModuleType]:
    """Return the modules of those functions that are not of this package, each once."""
    modules = {module.__name__: module for module in map(module_of, functions)}
    return [module for name, module in sorted(modules.items()) if name.partition(".")[0] != OURS]


def _to_json(value: object) -> object:
    """Return a dataclass, a function with its settings, or a path as what JSON knows."""
    if is_dataclass(value):
        settings = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"_target_": type(value).__qualname__, **settings}
    if isinstance(value, partial):
        name = f"{value.func.__module__}.{value.func.__qualname__}"
        return {"_target_": name, "_args_": value.args, **value.keywords}
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no stable name to make a key of")


#: What reading a damaged HDF5 file raises, whatever the library stumbles on.
DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError, ArithmeticError, MemoryError)


def size_and_times(path: Path) -> tuple[int, ...]:
    """Return the size (bytes) and times (ns) of a file, which change with its content."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
