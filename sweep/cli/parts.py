"""What a cell's config builds: `Parts`, built once and handed on.

`build` is Hydra's instantiate; what a config names wrongly becomes a sentence.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput
from sweep.attacks import Attack
from sweep.badnets import FromFile, Trained
from sweep.cache import Cache
from sweep.cli import hydra_errors
from sweep.cli.choices import choice_name, chosen_names
from sweep.data import Faces, Files
from sweep.evaluation import ValidCurve
from sweep.pruning.evidence import Order
from sweep.pruning.requirements import is_oracle
from sweep.repairs.applicability import Repair
from sweep.stops import Stop

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Parts:
    """All that a cell is made of, as its config says.

    source: where images come from; suspect: where the network B comes from; repairs: those that
    are chosen, by name, in turn.
    """

    cache: Cache
    source: Files | Faces
    attack: Attack
    suspect: FromFile | Trained
    order: Order
    stop: Callable[[ValidCurve], Stop]
    repairs: Mapping[str, Repair]

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Parts":
        """The parts of a config whose values are checked; nothing long starts."""
        cache = build(cfg.cache)
        return cls(
            cache=cache,
            source=build(cfg.data, cache=cache),
            attack=build(cfg.attack),
            suspect=build(cfg.badnet),
            order=build(cfg.prune.order),
            stop=build(cfg.prune.stop),
            repairs={name: build(cfg.repair[key]) for name, key in chosen_repairs(cfg).items()},
        )


def build(node: DictConfig, **more: Any) -> Any:
    """Return what Hydra builds of `node`; BadInput of the target comes through as it is.

    Raises BadInput also where a function does not take what is set for it.
    """
    try:
        built = instantiate(node, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from None
        reason = hydra_errors.reason_not_built(error)
        if reason:
            raise BadInput(reason) from error
        raise
    if isinstance(built, partial):
        _require_settings(built)
    return built


def _require_settings(function: partial) -> None:
    """Raise BadInput where `function`, which is called later, does not take its settings."""
    signature = inspect.signature(function.func)
    try:
        signature.bind_partial(*function.args, **function.keywords)
    except TypeError as error:
        parameters = signature.parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is KEYWORD_ONLY]
        known = f"; it takes {', '.join(names)}" if names else ""
        raise BadInput(f"{function.func.__name__} {error}{known}") from None


def chosen_repairs(cfg: DictConfig) -> dict[str, str]:
    """The keys in `cfg.repair` of the repairs that are chosen, in turn, by their names.

    What is set of others does not matter, as in a grid.
    """
    keys = [str(key) for key in cfg.repair if _is_built(cfg.repair[key])]
    return {choice_name("repair", key, cfg.repair[key]): key for key in keys}


def _is_built(node: object) -> bool:
    """Whether a node of a config names a function."""
    return isinstance(node, DictConfig) and "_target_" in node


def defenders_orders(cfg: DictConfig) -> dict[str, Order]:
    """All orders of conf/prune/order that look at clean images alone, by name.

    The one of `cfg` is as it is set there.
    """
    folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / "prune" / "order"
    nodes = {
        path.stem: cast(DictConfig, OmegaConf.load(path)) for path in sorted(folder.glob("*.yaml"))
    }
    nodes[chosen_names(cfg)["prune/order"]] = cfg.prune.order
    orders = {name: build(node) for name, node in nodes.items()}
    return {name: order for name, order in orders.items() if not is_oracle(order)}
