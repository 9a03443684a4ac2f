"""What a cell's config builds: `Parts`, built once and handed on."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import keras
from omegaconf import DictConfig, OmegaConf

from sweep import NotApplicable, terminal
from sweep.attacks import Attack
from sweep.badnets import FromFile, Trained
from sweep.cache import Cache
from sweep.cli.choices import chosen_names, chosen_probes, chosen_repairs
from sweep.cli.configs import to_dict
from sweep.cli.hydra_errors import build
from sweep.cli.identity import Origin
from sweep.data import Faces, Files, Images
from sweep.detectors.reference import Detector
from sweep.detectors.rules import MakeRule
from sweep.estimation import Estimate, estimate
from sweep.evaluation import ValidCurve
from sweep.networks import shape_and_classes
from sweep.probes import Attacker, Probe, requirements
from sweep.pruning import Activations, Cut, activations_of, cut_at, scoring
from sweep.pruning.evidence import Order
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.requirements import is_oracle, threat_model
from sweep.repairs.applicability import Repair
from sweep.stops import Stop


@dataclass(frozen=True)
class Parts:
    """All that a cell is made of, as its config says.

    source: where images come from; suspect: where the network B comes from; repairs: those that
    are chosen, by name, in turn; goodnet: what makes its rule of scores of clean images; detector:
    what else tells poisoned images from clean ones; probes: what is measured of B' with the means
    of an attacker, by name.
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
    probes: Mapping[str, Probe]

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
            probes={name: build(cfg.probe[key]) for name, key in chosen_probes(cfg).items()},
        )

    @property
    def missing(self) -> str:
        """What must be made before the network can look at its images, in words; "": nothing."""
        source = self.source
        if isinstance(source, Faces):
            if not source.root.is_dir():
                return "the photographs are not rendered yet"
            source = source.rendered()
        is_there = self.suspect.is_there(source, self.attack, self.source.classes)
        return "" if is_there else "the network is not trained yet"

    @property
    def poisoned(self) -> bool:
        """Whether there will be poisoned test images."""
        supply = requirements.Supply(self.source, self.attack, self.suspect.trains)
        return supply.files is None or supply.files.poisoned_test is not None

    def attacker(
        self,
        badnet: keras.Model,
        repaired: keras.Model,
        source: Files,
        images: Mapping[str, Images],
        seed: int,
    ) -> Attacker:
        """Who probes B': with the files that a cell reads, and B's clean twin where it has one."""
        make_twin = None
        if isinstance(self.suspect, Trained):
            make_twin = partial(self.suspect.twin, source, self.attack)
        return Attacker(badnet, repaired, source, images, seed, make_twin)

    def at_cut(self, cfg: DictConfig) -> dict[str, Activations]:
        """The images at the cut of a cell of that config; nothing must be `missing`."""
        files = self.suspect.files(self.source.files(self.attack), self.attack)
        shape, classes = self.source.shape, self.source.classes
        network = self.suspect.network(files, self.attack, shape, classes)
        images = files.images(*shape_and_classes(network), cfg.seed)
        cut = cut_at(network, cfg.prune.layer, cfg.prune.semantics, cfg.prune.unit)
        return activations_of(cut, images, self.cache)


def estimates(
    configs: Mapping[int, DictConfig], *, passed: bool = True
) -> tuple[dict[int, Estimate], set[str]]:
    """What the curves of cells will take, cut by cut, and why it isn't known of others, in words.

    The cells, whose values are checked, and the estimates go by numbers; an estimate by that of the
    first cell there. Cells of equal network, images and layer share the pass to the cut, and those
    of them that rank alike a curve. Without `passed`, cuts to which all images have been passed in
    earlier runs are left out.
    """
    found: dict[int, Estimate] = {}
    missing = set()
    cuts = _curves_by_cut(configs)
    with terminal.progress("estimating", len(cuts), "cuts") as done:
        for curves in cuts:
            cfg = configs[curves[0]]
            parts = Parts.from_config(cfg)
            if parts.missing:
                missing.add(parts.missing)
            else:
                with suppress(NotApplicable):  # which such a cell will say
                    sets = [*parts.at_cut(cfg).values()]
                    ranked = _applicable([configs[job] for job in curves], sets[0].cut)
                    if ranked and (passed or not all(each.is_passed for each in sets)):
                        found[curves[0]] = estimate(sets, cfg.prune.step, curves=ranked)
            done(1)
    return found, missing


def _curves_by_cut(configs: Mapping[int, DictConfig]) -> list[list[int]]:
    """The first cell of each curve, those at one cut together."""
    cuts: dict[str, dict[str, int]] = {}
    for job, cfg in configs.items():
        settings = to_dict(cfg)
        prune = settings["prune"]
        cut = [settings["data"], settings["attack"], settings["badnet"]]
        cut += [prune[key] for key in ("layer", "semantics", "unit", "step")]
        curves = cuts.setdefault(repr(cut), {})
        ranking = [prune["order"], prune["scope"], prune["recompute"], cfg.seed]
        curves.setdefault(repr(ranking), job)
    return [[*curves.values()] for curves in cuts.values()]


def _applicable(configs: Sequence[DictConfig], cut: Cut | JointCut) -> int:
    """How many of these cells have an order that applies at the cut."""
    count = 0
    for cfg in configs:
        with suppress(NotApplicable):
            scoring.require(build(cfg.prune.order), cut, cfg.prune.recompute)
            count += 1
    return count


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
