"""What whole strategies did to networks that were backdoored for it: cells of `experiment=answer`.

`read` asks MLflow; the rest looks at runs as MLflow gives them back.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Run

from sweep.attacks import HARMLESS_RATE
from sweep.evaluation.significance import TOLERANCE
from sweep.results.cells import FINISHED
from sweep.results.pages.sweeps import case_name, overrides, runs_of_sweep, search
from sweep.tracking import SKIPPED

SWEEP = "experiment=answer"
STRATEGY_PARAM = "strategy"
ATTACK_PARAM = "attack"
RATE_PARAM = "attack.rate"
BADNET_SEED_PARAM = "badnet.seed"

#: The aim: at most so much attack success, at so much clean accuracy lost, at so many false alarms.
MAX_ATTACK_SUCCESS, MAX_ACCURACY_LOSS, MAX_FALSE_ALARMS = 0.05, 0.02, 0.02

#: In the order in which the page shows them; others come last.
ATTACKS = (
    "sunglasses",
    "patch",
    "blend",
    "sinusoid",
    "warp",
    "bpp",
    "ftrojan",
    "multi_target",
    "all_to_all",
    "sig_clean_label",
    "pruning_aware",
)
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
    def sort_key(self) -> tuple[str, int, str, int]:
        """Where it stands among others: by case, attack and seed."""
        attack = self.cell.data.params[ATTACK_PARAM]
        rank = ATTACKS.index(attack) if attack in ATTACKS else len(ATTACKS)
        return self.case, rank, self.attack, int(self.seed)

    @property
    def is_variant(self) -> bool:
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
    def has_signs(self) -> bool | None:
        """Whether there are signs of a backdoor in B, None where that is not known.

        It is not known where no verdict was asked for, or where a class stands out that was not
        compared with a network learned anew.
        """
        metrics = self.cell.data.metrics
        suspects = metrics.get("inspect/suspects")
        if suspects is None:
            return None
        if suspects > 0 and "inspect/reference_accuracy" not in metrics:
            return None
        return suspects > 0

    @property
    def accuracy_loss(self) -> float:
        """How much less clean accuracy B' has than B, in [-1, 1]."""
        return self._accuracy_loss("repaired")

    def reached_by_repaired(self) -> bool:
        """Whether B' reaches the aim."""
        return self._reaches_aim("repaired")

    def reached_by_goodnet(self) -> bool:
        """Whether GoodNet reaches the aim, which may not give many false alarms either."""
        alarms = self._metric("goodnet/false_alarm_rate")
        return self._reaches_aim("goodnet") and alarms <= MAX_FALSE_ALARMS + TOLERANCE

    def reached(self) -> bool:
        """Whether B' or GoodNet reaches the aim."""
        return self.reached_by_repaired() or self.reached_by_goodnet()

    def _reaches_aim(self, network: str) -> bool:
        """Whether attack success and loss are as low as they should be; what has no rate is not."""
        success = self._metric(f"{network}/attack_success_rate")
        loss = self._accuracy_loss(network)
        return success <= MAX_ATTACK_SUCCESS + TOLERANCE and loss <= MAX_ACCURACY_LOSS + TOLERANCE

    def _accuracy_loss(self, network: str) -> float:
        return self._metric("badnet/clean_accuracy") - self._metric(f"{network}/clean_accuracy")

    def _metric(self, name: str) -> float:
        return self.cell.data.metrics.get(name, math.nan)


def read(uri: str | None, experiment: str) -> list[StrategyRun]:
    """Return the strategy runs of the experiment at MLflow's `uri`.

    Raises BadInput where it cannot be read.
    """
    return newest_strategy_runs(search(uri, experiment, SWEEP))


def newest_strategy_runs(runs: Sequence[Run]) -> list[StrategyRun]:
    """The newest of equal cells among `runs` (parents and cells), whatever became of the parent.

    In the order of cases, attacks and seeds.
    """
    cells: dict[str, Run] = {}
    sweep_of: dict[str, Run] = {}
    for sweep in runs:
        if SWEEP in overrides(sweep):
            for cell in runs_of_sweep(sweep, runs):
                if STRATEGY_PARAM in cell.data.params and _ended(cell):
                    cells[cell.info.run_id] = cell
                    sweep_of[cell.info.run_id] = sweep
    oldest_first = sorted(cells.values(), key=lambda cell: cell.info.start_time)
    names, rates = _names(oldest_first), _rates(oldest_first)
    newest = {(*_network(cell), names[cell.info.run_id]): cell for cell in oldest_first}
    strategy_runs = []
    for cell in newest.values():
        run_id = cell.info.run_id
        attack = _attack(cell, rates)
        strategy_runs.append(StrategyRun(cell, sweep_of[run_id], names[run_id], attack))
    return sorted(strategy_runs, key=lambda run: run.sort_key)


def _ended(cell: Run) -> bool:
    """Whether a cell came to its end, with rates or with a reason why not."""
    skipped = cell.data.tags.get("status") == SKIPPED
    return cell.info.status == FINISHED and (skipped or _measured(cell))


def _measured(cell: Run) -> bool:
    return "repaired/clean_accuracy" in cell.data.metrics


def _attacked(cell: Run) -> bool:
    return float(cell.data.params[RATE_PARAM]) > HARMLESS_RATE


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
    others = ("seed", "data.valid_images", "data.valid_at_most")
    settings = []
    for key, value in cell.data.params.items():
        if (key.startswith(("repair", "prune.")) or key in others) and not key.endswith("_"):
            settings.append((key, value))
    return tuple(sorted(settings))


def _names(cells: Sequence[Run]) -> dict[str, str]:
    """A name for each cell (by its run's id): its strategy, and what is not as in most of those.

    `cells` stand in the order of their making; of two settings that are as many the newer counts.
    """
    by_strategy: dict[str, list[Run]] = {}
    for cell in cells:
        by_strategy.setdefault(cell.data.params[STRATEGY_PARAM], []).append(cell)
    names = {}
    for strategy, same in by_strategy.items():
        unique = dict.fromkeys((_network(cell), _settings(cell)) for cell in reversed(same))
        settings = [settings for _, settings in unique]
        usual = max(settings, key=settings.count)  # the first of several
        for cell in same:
            differing = _differing_settings(dict(_settings(cell)), dict(usual), map(dict, settings))
            names[cell.info.run_id] = ", ".join([strategy, *differing])
    return names


def _differing_settings(
    settings: Mapping[str, str], usual: Mapping[str, str], known: Iterable[Mapping[str, str]]
) -> list[str]:
    """The settings by which a cell differs from the usual one, as on the command line.

    A setting that only one of both has follows from another choice, as from `repair`; it is told
    where other cells have it otherwise. One that repeats another is not.
    """
    values: dict[str, set[str]] = {}
    for others in known:
        for key, value in others.items():
            values.setdefault(key, set()).add(value)
    differing: dict[str, str] = {}
    for key, value in sorted(settings.items(), key=lambda item: (item[0].count("."), item[0])):
        expected = {usual[key]} if key in usual else values[key]
        if expected != {value} and differing.get(REPEATS.sub("prune.", key)) != value:
            differing[key] = value
    return [f"{key}={value}" for key, value in differing.items()]
