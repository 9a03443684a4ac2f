"""What a cell's config builds: `Parts`, built once and handed on."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from sweep.attacks import Attack
from sweep.badnets import FromFile, Trained
from sweep.cache import Cache
from sweep.cli.choices import chosen_names, chosen_repairs
from sweep.cli.hydra_errors import build
from sweep.cli.identity import Origin
from sweep.data import Faces, Files
from sweep.detectors.reference import Detector
from sweep.detectors.rules import MakeRule
from sweep.evaluation import ValidCurve
from sweep.pruning.evidence import Order
from sweep.pruning.requirements import is_oracle, threat_model
from sweep.repairs.applicability import Repair
from sweep.stops import Stop


@dataclass(frozen=True)
class Parts:
    """All that a cell is made of, as its config says.

    source: where images come from; suspect: where the network B comes from; repairs: those that
    are chosen, by name, in turn; goodnet: what makes its rule of scores of clean images; detector:
    what else tells poisoned images from clean ones.
    """

    cache: Cache
    source: Files | Faces
    attack: Attack
    suspect: FromFile | Trained
    order: Order
    stop: Callable[[ValidCurve], Stop]
    repairs: Mapping[str, Repair]
    goodnet: MakeRule
    detector: Detector | None

    @property
    def threat_model(self) -> str:
        """Who could do this: "defender", or "oracle" where the order looks at poisoned images."""
        return threat_model(self.order)

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Parts":
        """The parts of a config whose values are checked; nothing long starts."""
        origin = Origin.from_config(cfg)
        return cls(
            cache=origin.cache,
            source=origin.source,
            attack=build(cfg.attack),
            suspect=build(cfg.badnet),
            order=build(cfg.prune.order),
            stop=build(cfg.prune.stop),
            repairs={name: build(cfg.repair[key]) for name, key in chosen_repairs(cfg).items()},
            goodnet=build(cfg.goodnet),
            detector=build(cfg.detector) if "detector" in cfg else None,
        )


def inspected_orders(cfg: DictConfig) -> dict[str, Order]:
    """With `inspect` all orders of conf/prune/order that look at clean images alone, by name.

    The one of `cfg` is as it is set there.
    """
    if not cfg.inspect:
        return {}
    folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / "prune" / "order"
    nodes = {
        path.stem: cast(DictConfig, OmegaConf.load(path)) for path in sorted(folder.glob("*.yaml"))
    }
    nodes[chosen_names(cfg)["prune/order"]] = cfg.prune.order
    orders = {name: build(node) for name, node in nodes.items()}
    return {name: order for name, order in orders.items() if not is_oracle(order)}
