"""What whole strategies did to networks that were backdoored for it: cells of `experiment=answer`.

`read` asks MLflow; the rest looks at runs as MLflow gives them back.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from mlflow.entities import Run

from sweep.evaluation.implant import IMPLANTED, TWIN_CLEAN
from sweep.evaluation.significance import TOLERANCE
from sweep.results.cells import FINISHED, implant_of, is_attacked
from sweep.results.pages.answer.names import strategy_names
from sweep.results.pages.sweeps import case_name, overrides, runs_of_sweep, search
from sweep.tracking import SKIPPED

SWEEP = "experiment=answer"
STRATEGY_PARAM = "strategy"
ATTACK_PARAM = "attack"
RATE_PARAM = "attack.rate"
BADNET_SEED_PARAM = "badnet.seed"
ARCHITECTURE_PARAM, USUAL_ARCHITECTURE = "badnet.architecture", "deepid"

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
#: By case and attack, the seeds of the networks that a strategy should have been tried on.
Seeds = Mapping[tuple[str, str], Set[str]]


@dataclass(frozen=True)
class StrategyRun:
    """One strategy on one network B, which is known by its case, its attack and its seed.

    name: the strategy, and what of its settings is not as in most of its cells.
    ledger: the cell on that network that tells whether the attack took hold of it.
    """

    cell: Run
    sweep: Run
    name: str
    attack: str
    ledger: Run

    @property
    def case(self) -> str:
        """Images and, where it is not the usual one, architecture."""
        return _case(self.cell)

    @property
    def architecture(self) -> str:
        return _architecture(self.cell)

    @property
    def implant(self) -> str:
        """Whether the attack took hold of B: "yes", or why not; "" where none was trained into it.

        What is said of a network is the same for all strategies.
        """
        return implant_of(self.ledger)

    @property
    def apart(self) -> bool:
        """Whether B has an attack that did not take hold: no mean is made of such runs."""
        return self.implant not in ("", IMPLANTED)

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
        return is_attacked(self.cell)

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
    names = strategy_names(oldest_first, STRATEGY_PARAM, _network)
    rates = _rates(oldest_first)
    ledgers = _ledgers(oldest_first)
    newest = {(*_network(cell), names[cell.info.run_id]): cell for cell in oldest_first}
    strategy_runs = []
    for cell in newest.values():
        run_id = cell.info.run_id
        about = names[run_id], _attack(cell, rates), ledgers[_network(cell)]
        strategy_runs.append(StrategyRun(cell, sweep_of[run_id], *about))
    return sorted(strategy_runs, key=lambda run: run.sort_key)


def _ended(cell: Run) -> bool:
    """Whether a cell came to its end, with rates or with a reason why not."""
    skipped = cell.data.tags.get("status") == SKIPPED
    return cell.info.status == FINISHED and (skipped or _measured(cell))


def _measured(cell: Run) -> bool:
    return "repaired/clean_accuracy" in cell.data.metrics


def _case(cell: Run) -> str:
    architecture = _architecture(cell)
    usual = architecture in (USUAL_ARCHITECTURE, "")
    return case_name(cell) if usual else f"{case_name(cell)}, {architecture}"


def _architecture(cell: Run) -> str:
    """What B is trained as; "" of a network from a file, which says so itself."""
    params = cell.data.params
    if params.get("badnet") == "file":
        return ""
    return params.get(ARCHITECTURE_PARAM, USUAL_ARCHITECTURE)


def _network(cell: Run) -> tuple[str, ...]:
    params = cell.data.params
    return _case(cell), params[ATTACK_PARAM], params[RATE_PARAM], params[BADNET_SEED_PARAM]


def _ledgers(oldest_first: Iterable[Run]) -> dict[tuple[str, ...], Run]:
    """Of each network the newest cell that measured its twin, or else the newest with its ASR."""
    ledgers: dict[tuple[str, ...], Run] = {}

    def rank(cell: Run) -> tuple[bool, bool]:
        metrics = cell.data.metrics
        return TWIN_CLEAN in metrics, "badnet/attack_success_rate" in metrics

    for cell in oldest_first:
        known = ledgers.setdefault(_network(cell), cell)
        if rank(cell) >= rank(known):
            ledgers[_network(cell)] = cell
    return ledgers


def _rates(cells: Iterable[Run]) -> dict[tuple[str, str], set[str]]:
    """How much was poisoned, by case and attack; networks without a backdoor aside."""
    by_attack: dict[tuple[str, str], set[str]] = {}
    for cell in filter(is_attacked, cells):
        case, attack, rate, _ = _network(cell)
        by_attack.setdefault((case, attack), set()).add(rate)
    return by_attack


def _attack(cell: Run, rates: Mapping[tuple[str, str], set[str]]) -> str:
    """An attack by its name, and by how much was poisoned where there are several such."""
    case, attack, rate, _ = _network(cell)
    several = is_attacked(cell) and len(rates[case, attack]) > 1
    return f"{attack}, {RATE_PARAM}={rate}" if several else attack
