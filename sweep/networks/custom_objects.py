"""Code that comes with a stranger's network: its own layers and what else it is made of.

The one exception to "no code of theirs runs": what badnet.custom_objects names is imported, and
importing it runs it.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from sweep import BadInput, files
from sweep.files import size_and_times
from sweep.networks.keras_internals import layers_at_all_depths


def load_custom_objects(names: str | Sequence[str] | None) -> dict[str, Any]:
    """What `names` bring, by the names that Keras knows it by. This RUNS THEIR CODE.

    A name is dotted ("my_package.layers.MyLayer"), or a Python file's, of which all public classes
    and functions that are defined in it count. Raises BadInput for a name that brings nothing.
    """
    objects: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names or []:
        imported = _from_file(name) if name.endswith(".py") else _from_module(name)
        objects |= imported
        # a decorated one is known as "package>name", and Keras might know another one by it
        objects |= {keras.saving.get_registered_name(code): code for code in imported.values()}
    return objects


def _from_file(name: str) -> dict[str, Any]:
    path = Path(os.path.expanduser(name)).absolute()
    if not path.is_file():
        raise BadInput(f"badnet.custom_objects: there is no file {os.path.normpath(path)}")
    module = _execute(path, size_and_times(path))
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and _is_code(value) and value.__module__ == module.__name__
    }


@lru_cache
def _execute(path: Path, stamp: tuple[int, ...]) -> ModuleType:
    """The module of a file; run once in a process, unless the file and so its stamp changes."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    name = f"badnet_{path.stem}_{content}"  # there may be another file of that name
    loader = SourceFileLoader(name, str(path))
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    _import(str(path), partial(loader.exec_module, module))
    return module


def _from_module(name: str) -> dict[str, Any]:
    module, _, attribute = name.rpartition(".")
    if not all(part.isidentifier() for part in name.split(".")) or not module:
        raise BadInput(
            f"badnet.custom_objects names {name!r}; expected a dotted name "
            f"(my_package.layers.MyLayer) or a Python file (layers.py)"
        )
    imported = _import(module, partial(importlib.import_module, module))
    code = getattr(imported, attribute, None)
    if not _is_code(code):
        raise BadInput(
            f"badnet.custom_objects names {name!r}, but {module} has no class or function "
            f"{attribute!r}"
        )
    return {attribute: code}


def _is_code(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _import(name: str, run: Callable[[], Any]) -> Any:
    """What `run` gives; whatever their code raises, in one line."""
    try:
        return run()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(f"badnet.custom_objects: {name} cannot be imported ({reason})") from error


def custom_modules(network: keras.Model) -> list[ModuleType]:
    """Where `network` has code beyond Keras: all that is loaded and neither installed nor ours.

    A digest of the network knows the names of such layers alone, and their code may stand in any of
    these.
    """
    layers = layers_at_all_depths(network)
    parts = [*map(type, layers), *(getattr(layer, "activation", None) for layer in layers)]
    packages = {(getattr(part, "__module__", None) or "").partition(".")[0] for part in parts}
    if packages <= {"", "keras"}:
        return []
    installed = {*map(Path, sysconfig.get_paths().values()), files.PACKAGE}
    loaded = {
        Path(file): module
        for name, module in list(sys.modules.items())
        if name != "__main__" and (file := getattr(module, "__file__", None))
    }
    return [loaded[path] for path in sorted(loaded) if not installed & set(path.parents)]
