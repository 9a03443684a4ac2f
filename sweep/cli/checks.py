"""All that can be wrong with a cell, looked at before anything long starts.

TensorFlow is imported where networks are looked at, not before: a sweep whose cells were all
finished before goes without.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from sweep import BadInput, terminal
from sweep.cli import schema
from sweep.cli.configs import to_dict
from sweep.data import Files, pairs
from sweep.evaluation import ValidCurve
from sweep.evaluation.curve import steps_of
from sweep.registry import names

if TYPE_CHECKING:
    import keras

    from sweep.cli.parts import Parts


def require_inside_project(key: str, path: str) -> None:
    """Raise BadInput where a folder that is written in leads out of the project by `..`.

    One that is given in full is meant.
    """
    root = os.environ["PROJECT_ROOT"]
    if ".." in Path(path).parts and not Path(os.path.abspath(path)).is_relative_to(root):
        raise BadInput(
            f"{key} is {path}, which leads out of {root}; expected a folder there, or the whole "
            f"path of another, without .."
        )


def require_folders_inside_project(hydra: DictConfig, mode: str) -> None:
    """Raise BadInput where a folder of Hydra's own leads out of the project."""
    require_inside_project(f"hydra.{mode}.dir", hydra[mode].dir)
    subfolders = {"hydra.output_subdir": hydra.output_subdir}
    subfolders["hydra.sweep.subdir"] = to_dict(hydra.sweep, resolve=False)["subdir"]
    for key, folder in subfolders.items():
        if ".." in Path(folder or "").parts:
            raise BadInput(f"{key} is {folder}, which leads out of hydra.{mode}.dir")


def checked_parts(cfg: DictConfig) -> Parts:
    """The parts of a cell, built of values that were checked.

    Raises BadInput with a sentence for each value that cannot be, and where one cannot be built.
    """
    check_values(cfg)
    load_parts()
    from sweep.cli.parts import Parts

    return Parts.from_config(cfg)


def load_parts() -> None:
    """Import what cells are made of, and with it TensorFlow, which greets: it takes seconds."""
    with terminal.quiet():
        import sweep.cli.parts  # noqa: F401


def check_values(cfg: DictConfig) -> None:
    """Raise BadInput with a sentence for each value of a cell that cannot be."""
    schema.check(to_dict(cfg))
    for part in ("data", "badnet", "cache"):
        require_inside_project(f"{part}.folder", cfg[part].get("folder") or "")
    require_inside_project("tracking.uri", (cfg.tracking.uri or "").removeprefix("sqlite:///"))
    require_inside_project("tracking.artifacts", cfg.tracking.get("artifacts") or "")
    if cfg.register is not None:
        _check_registering(cfg)


def _check_registering(cfg: DictConfig) -> None:
    """Raise BadInput where a cell could never be registered as it says."""
    names.require(cfg.register, "register")
    if cfg.inspect:
        raise BadInput(
            f"register={cfg.register} came with inspect=true, which makes no GoodNet; leave one out"
        )
    if not cfg.tracking.models:
        raise BadInput(
            f"register={cfg.register} came with tracking.models=false, and what is registered are "
            f"the models that a run logs; leave one out"
        )


def check(cfg: DictConfig, parts: Parts) -> None:
    """Raise BadInput where a cell cannot be run; nothing long is started.

    Raises NotApplicable where its order does not apply to the network.
    """
    from sweep import implants
    from sweep.networks import shape_and_classes
    from sweep.probes import requirements
    from sweep.pruning.requirements import is_oracle
    from sweep.repairs import applicability

    _check_functions(parts)
    if cfg.twin:
        implants.require(parts.suspect)
    parts.suspect.check(parts.source, parts.attack)
    network = parts.suspect.blueprint(parts.source.shape, parts.source.classes)
    parts.source.check(*shape_and_classes(network))
    _check_pruning(cfg, parts, network)
    for repair in parts.repairs.values():
        applicability.require(repair, network)
    supply = requirements.Supply(parts.source, parts.attack, parts.suspect.trains)
    for probe in parts.probes.values():
        requirements.require(probe, supply)
    if is_oracle(parts.order) and isinstance(parts.source, Files) and not parts.suspect.trains:
        pairs(parts.source)


def print_estimates(configs: Mapping[int, DictConfig]) -> None:
    """Print what the curves of cells will take, by their numbers; `inspect` is another matter."""
    walked = {job: cfg for job, cfg in configs.items() if not cfg.inspect}
    if walked:
        from sweep.cli.parts import estimates
        from sweep.results import printed

        printed.print_estimates(*estimates(walked))


def announce(configs: Mapping[int, DictConfig]) -> None:
    """Print what the cells of a sweep will take in all, where that is long and not kept yet."""
    walked = {job: cfg for job, cfg in configs.items() if not cfg.inspect}
    if len(walked) > 1:
        from sweep.cli.parts import estimates
        from sweep.results import printed

        with suppress(BadInput):  # which the cells will say
            found, _ = estimates(walked, passed=False)
            printed.print_total(found.values())


def _check_pruning(cfg: DictConfig, parts: Parts, network: keras.Model) -> None:
    """Raise BadInput, or NotApplicable, where the network cannot be pruned as is asked."""
    from sweep.pruning import cut_at, scoring
    from sweep.pruning.predictions import place_of

    cut = cut_at(network, cfg.prune.layer, cfg.prune.semantics, cfg.prune.unit)
    steps = steps_of(cut.channels, cfg.prune.step)
    nothing = np.zeros((len(steps), 1), dtype=int)
    stop = parts.stop(ValidCurve.of(nothing, nothing[0], np.zeros(cut.channels), steps))
    place_of(stop.step, steps)
    scoring.require(parts.order, cut, recompute=cfg.prune.recompute)


def _check_functions(parts: Parts) -> None:
    """Raise BadInput where a function of the cell does not take what it will be given."""
    given: dict[str, object] = {} if parts.attack.learn is None else {"learned": {}}
    for trigger in parts.attack.triggers:
        _require_signature(trigger, "images", white=1.0, **given)
    if callable(parts.attack.target):
        _require_signature(parts.attack.target, "labels", classes=2)
    _require_signature(parts.order, "an Evidence")
    _require_signature(parts.stop, "a ValidCurve")
    _require_signature(parts.goodnet, "scores of clean images")
    if parts.detector is not None:
        _require_signature(parts.detector, "a Reference")
    for repair in parts.repairs.values():
        _require_signature(repair, "a Defender")
    for probe in parts.probes.values():
        _require_signature(probe, "an Attacker")


def _require_signature(function: Callable[..., object], given: str, **more: object) -> None:
    if not callable(function):
        raise BadInput(f"{function!r} came where {given} is to be given to a function; name one")
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some that are not written in Python
        return
    try:
        signature.bind(given, **more)
    except TypeError as error:
        inner = function.func if isinstance(function, partial) else function
        also = f" and {', '.join(more)}" if more else ""
        raise BadInput(
            f"{inner.__module__}.{inner.__qualname__} {error}; it is given {given}{also}, and its "
            f"settings by their names"
        ) from None
