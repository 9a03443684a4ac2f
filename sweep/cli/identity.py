"""What makes a cell the same as an earlier one: settings, network, images and code, all by content.

Where files lie, where runs are logged, and how a sweep is gone about does not count.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sweep import files
from sweep.cache import Cache
from sweep.cli.configs import to_dict
from sweep.cli.hydra_errors import build
from sweep.data import Faces, Files, hdf5
from sweep.data.sources import LAYOUT
from sweep.files import VERSIONS

if TYPE_CHECKING:
    from sweep.cli.parts import Parts

#: Keys that don't change a cell's numbers.
UNCOUNTED_KEYS = {
    "cache",
    "dry_run",
    "fail_fast",
    "published",
    "register",
    "rerun",
    "search",
    "tracking",
}
#: Keys below `data` and `badnet` that hold paths: what lies there counts.
PATHS = ("root", "folder", "path", "custom_objects", *LAYOUT)
#: Sources that don't change a cell's numbers: they show cells, or go about them.
UNCOUNTED_SOURCES = {
    "classify.py",
    "cleanup",
    "cli",
    "deployment",
    "estimation.py",
    "export.py",
    "gtsrb.py",
    "launching",
    "paired.py",
    "redaction.py",
    "register.py",
    "registry",
    "report",
    "results",
    "search",
    "strategies.py",
    "terminal.py",
}


@dataclass(frozen=True)
class Origin:
    """Where a cell's images come from, and what was found in them: all that its digest reads."""

    cache: Cache
    source: Files | Faces

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Origin":
        """That of a config whose values are checked."""
        cache = build(cfg.cache)
        return cls(cache, build(cfg.data, cache=cache))


def digest(cfg: DictConfig, parts: "Origin | Parts") -> str:
    """The digest of a cell of checked values; equal cells give equal numbers on one machine."""
    settings = {key: value for key, value in to_dict(cfg).items() if key not in UNCOUNTED_KEYS}
    paths = _as_list(settings["badnet"].get("path"))
    custom = _as_list(settings["badnet"].get("custom_objects"))
    for part in ("data", "badnet"):
        settings[part] = {k: v for k, v in settings[part].items() if k not in PATHS}
    images = parts.source.digest() if isinstance(parts.source, Files) else None
    networks = [hdf5.digest(path, parts.cache) for path in _existing_files([*paths, *custom])]
    dotted = {name.rpartition(".")[0] for name in custom if not name.endswith(".py")}
    modules = sorted(_modules_of_targets(settings) | dotted)
    code = [_code(files.PACKAGE), *map(_code_elsewhere, modules)]
    return files.key([settings, images, networks, code, VERSIONS])


def _as_list(names: str | Sequence[str] | None) -> list[str]:
    """What may be one name, several, or none."""
    return [names] if isinstance(names, str) else list(names or [])


def _existing_files(names: list[str]) -> Iterator[Path]:
    """The files among names: those that are there."""
    paths = [Path(os.path.expanduser(name)).absolute() for name in names]
    return (path for path in paths if path.is_file())


@lru_cache
def _code(package: Path) -> str:
    """Digest of all sources that a cell's numbers come from."""
    sources = hashlib.sha256((package.parent / "run.py").read_bytes())
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] not in UNCOUNTED_SOURCES:
            sources.update(path.read_bytes())
    return sources.hexdigest()


def _modules_of_targets(node: Any) -> set[str]:
    """The modules of all that the settings build."""
    if isinstance(node, Mapping):
        modules = {str(node["_target_"]).rpartition(".")[0]} if "_target_" in node else set()
        return modules.union(*map(_modules_of_targets, node.values()))
    return set().union(*map(_modules_of_targets, node)) if isinstance(node, list) else set()


@lru_cache
def _code_elsewhere(module: str) -> str:
    """Digest of the package or module that somebody else wrote; the name of one of ours.

    Those `_code` knows.
    """
    if module.partition(".")[0] == files.OURS:
        return module
    texts = [path.read_text(errors="replace") for path in files.sources(module)]
    return files.key([module, *texts])
