"""What whole strategies did to networks that were backdoored for it: cells of `experiment=answer`.

`read` asks MLflow; the rest looks at runs as MLflow gives them back.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Run

from sweep.evaluation.significance import TOLERANCE
from sweep.results.cells import FINISHED
from sweep.results.pages.sweeps import case_name, overrides, runs_of_sweep, search
from sweep.tracking import SKIPPED

SWEEP = "experiment=answer"
STRATEGY_PARAM, ATTACK_PARAM, RATE_PARAM, BADNET_SEED_PARAM = (
    "strategy",
    "attack",
    "attack.rate",
    "badnet.seed",
)

#: At most so many poisoned copies, as a share of the training images: no attack is learned.
NO_ATTACK = 1e-6

#: The aim: at most so much attack success, at so much clean accuracy lost, at so many false alarms.
SUCCESS, LOSS, ALARMS = 0.05, 0.02, 0.02

ATTACKS = ("sunglasses", "patch", "blend", "sinusoid", "warp", "multi_target", "pruning_aware")
REPEATS = re.compile(r"^prune\.(order|stop)\.")  # prune.stop.frac is prune.frac, if not said

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StrategyRun:
    """One strategy on one network B, which is known by its case, its attack and its seed.

    name: the strategy, and what of its settings is not as in most of its cells.
    """

    cell: Run
    sweep: Run
    name: str
    attack: str

    @property
    def case(self) -> str:
        return case_name(self.cell)

    @property
    def strategy(self) -> str:
        return self.cell.data.params[STRATEGY_PARAM]

    @property
    def seed(self) -> str:
        return self.cell.data.params[BADNET_SEED_PARAM]

    @property
    def network(self) -> tuple[str, str, str]:
        """What tells one network B from the others."""
        return self.case, self.attack, self.seed

    @property
    def place(self) -> tuple[str, int, str, int]:
        """Where it stands among others; attacks that are not known come last."""
        attack = self.cell.data.params[ATTACK_PARAM]
        place = ATTACKS.index(attack) if attack in ATTACKS else len(ATTACKS)
        return self.case, place, self.attack, int(self.seed)

    @property
    def variant(self) -> bool:
        """Whether a setting is not as in most cells of the strategy."""
        return self.name != self.strategy

    @property
    def attacked(self) -> bool:
        """Whether B was poisoned so much that it could learn a backdoor."""
        return _attacked(self.cell)

    @property
    def measured(self) -> bool:
        """Whether there are rates; else the strategy does not apply to B."""
        return _measured(self.cell)

    @property
    def signs(self) -> bool | None:
        """Whether there are signs of a backdoor in B, None where that is not known.

        It is not known where no verdict was asked for, or where a class stands out that was not
        compared with a network learned anew.
        """
        metrics = self.cell.data.metrics
        suspects = metrics.get("inspect/suspects")
        if suspects and "inspect/reference_accuracy" not in metrics:
            return None
        return None if suspects is None else suspects > 0

    @property
    def lost(self) -> float:
        """How much less clean accuracy B' has than B, in [-1, 1]."""
        return self._lost("repaired")

    def by_repaired(self) -> bool:
        """Whether B' reaches the aim."""
        return self._within("repaired")

    def by_goodnet(self) -> bool:
        """Whether GoodNet reaches the aim, which may not give many false alarms either."""
        alarms = self._rate("goodnet/false_alarm_rate")
        return self._within("goodnet") and alarms <= ALARMS + TOLERANCE

    def reached(self) -> bool:
        """Whether B' or GoodNet reaches the aim."""
        return self.by_repaired() or self.by_goodnet()

    def _within(self, network: str) -> bool:
        """Whether attack success and loss are as low as they should be; what has no rate is not."""
        success = self._rate(f"{network}/attack_success_rate")
        return success <= SUCCESS + TOLERANCE and self._lost(network) <= LOSS + TOLERANCE

    def _lost(self, network: str) -> float:
        return self._rate("badnet/clean_accuracy") - self._rate(f"{network}/clean_accuracy")

    def _rate(self, metric: str) -> float:
        return self.cell.data.metrics.get(metric, math.nan)


def read(uri: str | None, experiment: str) -> list[StrategyRun]:
    """Return the strategy runs of the experiment at MLflow's `uri`.

    Raises BadInput where it cannot be read.
    """
    return newest_strategy_runs(search(uri, experiment, SWEEP))


def newest_strategy_runs(runs: Sequence[Run]) -> list[StrategyRun]:
    """Of equal cells among `runs` (parents and cells) the newest, whatever became of the parent.

    In the order of cases, attacks and seeds.
    """
    sweeps = [run for run in runs if SWEEP in overrides(run)]
    ours = {run.info.run_id: (run, sweep) for sweep in sweeps for run in runs_of_sweep(sweep, runs)}
    cells = [run for run, _ in ours.values() if STRATEGY_PARAM in run.data.params and _ended(run)]
    cells.sort(key=lambda run: run.info.start_time)
    names, rates = _names(cells), _rates(cells)
    newest = {(*_network(cell), names[cell.info.run_id]): cell for cell in cells}
    strategy_runs = [
        StrategyRun(cell, ours[cell.info.run_id][1], name, _attack(cell, rates))
        for (*_, name), cell in newest.items()
    ]
    return sorted(strategy_runs, key=lambda run: run.place)


def _ended(cell: Run) -> bool:
    """Whether a cell came to its end, with rates or with a reason why not."""
    skipped = cell.data.tags.get("status") == SKIPPED
    return cell.info.status == FINISHED and (skipped or _measured(cell))


def _measured(cell: Run) -> bool:
    return "repaired/clean_accuracy" in cell.data.metrics


def _attacked(cell: Run) -> bool:
    return float(cell.data.params[RATE_PARAM]) > NO_ATTACK


def _network(cell: Run) -> tuple[str, ...]:
    params = cell.data.params
    return case_name(cell), params[ATTACK_PARAM], params[RATE_PARAM], params[BADNET_SEED_PARAM]


def _rates(cells: Iterable[Run]) -> dict[tuple[str, str], set[str]]:
    """How much was poisoned, by case and attack; networks without a backdoor aside."""
    by_attack: dict[tuple[str, str], set[str]] = {}
    for cell in filter(_attacked, cells):
        case, attack, rate, _ = _network(cell)
        by_attack.setdefault((case, attack), set()).add(rate)
    return by_attack


def _attack(cell: Run, rates: Mapping[tuple[str, str], set[str]]) -> str:
    """An attack by its name, and by how much was poisoned where there are several such."""
    case, attack, rate, _ = _network(cell)
    several = _attacked(cell) and len(rates[case, attack]) > 1
    return f"{attack}, {RATE_PARAM}={rate}" if several else attack


# What one strategy was tried with


def _settings(cell: Run) -> Settings:
    """What a strategy sets, but for classes and functions, which follow from choices."""
    more = ("seed", "data.valid_images", "data.valid_at_most")
    params = cell.data.params.items()
    chosen = [(k, v) for k, v in params if k.startswith(("repair", "prune.")) or k in more]
    return tuple(sorted((key, value) for key, value in chosen if not key.endswith("_")))


def _names(cells: Sequence[Run]) -> dict[str, str]:
    """A name for each cell (by its run's id): its strategy, and what is not as in most of those.

    `cells` stand in the order of their making; of two settings that are as many the newer counts.
    """
    names = {}
    for strategy in {cell.data.params[STRATEGY_PARAM] for cell in cells}:
        ours = [cell for cell in cells if cell.data.params[STRATEGY_PARAM] == strategy]
        different = {(_network(cell), _settings(cell)): None for cell in reversed(ours)}
        known = [settings for _, settings in different]
        usual = max(known, key=known.count)  # the first of several
        for cell in ours:
            apart = _apart(dict(_settings(cell)), dict(usual), [dict(one) for one in known])
            names[cell.info.run_id] = ", ".join([strategy, *apart])
    return names


def _apart(
    ours: Mapping[str, str], usual: Mapping[str, str], known: Sequence[Mapping[str, str]]
) -> list[str]:
    """The settings by which a cell differs from the usual one, as on the command line.

    A setting that only one of both has follows from another choice, as from `repair`; it is told
    where other cells have it otherwise. One that repeats another is not.
    """
    differing: dict[str, str] = {}
    for key, value in sorted(ours.items(), key=lambda item: (item[0].count("."), item[0])):
        others = {usual[key]} if key in usual else {one[key] for one in known if key in one}
        if others != {value} and differing.get(REPEATS.sub("prune.", key)) != value:
            differing[key] = value
    return [f"{key}={value}" for key, value in differing.items()]
