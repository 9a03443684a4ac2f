"""All that can be wrong with a cell, looked at before anything long starts."""

import os
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from sweep import BadInput
from sweep.cli import functions, schema
from sweep.cli.configs import build, chosen, plain
from sweep.data import pairs
from sweep.evaluation import ValidCurve
from sweep.networks import shape_and_classes
from sweep.pruning import joint_cut, scoring
from sweep.pruning.requirements import is_oracle
from sweep.repairs import applicability


def within(key: str, path: str) -> None:
    """Raise BadInput where a folder that is written in leads out of the project by `..`.

    One that is given in full is meant.
    """
    root = os.environ["PROJECT_ROOT"]
    if ".." in Path(path).parts and not Path(os.path.abspath(path)).is_relative_to(root):
        raise BadInput(
            f"{key} is {path}, which leads out of {root}; expected a folder there, or the whole "
            f"path of another, without .."
        )


def check(cfg: DictConfig) -> None:
    """Look at all that can be wrong with a cell before anything long starts.

    Raises BadInput, or NotApplicable where the order does not apply to the network.
    """
    schema.check(plain(cfg))
    for part in ("data", "badnet", "cache"):
        within(f"{part}.folder", cfg[part].get("folder") or "")
    within("tracking.uri", (cfg.tracking.uri or "").removeprefix("sqlite:///"))
    source = build(cfg.data, cache=build(cfg.cache))
    attack, suspect = build(cfg.attack), build(cfg.badnet)
    order, stop, mended = build(cfg.prune.order), build(cfg.prune.stop), chosen(cfg)
    functions.require_one_argument(attack.triggers, order, stop, mended)
    suspect.check(source, attack)
    network = suspect.blueprint(source.shape, source.classes)
    shape, classes = shape_and_classes(network)
    source.check(shape, classes)
    cut = joint_cut.cut_at(network, cfg.prune.layer, cfg.prune.semantics)
    nothing = np.zeros((cut.channels + 1, 1), dtype=int)
    stop(ValidCurve.of(nothing, nothing[0], np.zeros(cut.channels)))
    scoring.require(order, cut, recompute=cfg.prune.recompute)
    for repair in mended.values():
        applicability.require(repair, network)
    if is_oracle(order) and not suspect.trains:
        pairs(source)
