"""What whole strategies did to networks that were backdoored for it: a `StrategyRun` each."""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

from mlflow.entities import Run

from sweep.evaluation.implant import IMPLANTED
from sweep.evaluation.significance import TOLERANCE
from sweep.results.cells import implant_of, is_attacked
from sweep.results.pages.answer import budgets
from sweep.results.pages.sweeps import case_name

STRATEGY_PARAM = "strategy"
ATTACK_PARAM = "attack"
BADNET_SEED_PARAM = "badnet.seed"
ARCHITECTURE_PARAM, USUAL_ARCHITECTURE = "badnet.architecture", "deepid"
SUSPECTS, SCORE, PROBABILITY = "inspect/suspects", "inspect/score", "inspect/probability"

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
    """One strategy on one network B with one budget: the newest of equal cells.

    name: the strategy, and what of its settings is not as in most of its cells.
    budget: how many clean images it was given, see `budgets`.
    ledger: the cell on that network that tells whether the attack took hold of it.
    judged, probed: of equal cells the newest that has a verdict, and the newest that has probes.
    """

    cell: Run
    sweep: Run
    name: str
    attack: str
    budget: str
    ledger: Run
    judged: Run
    probed: Run

    @property
    def case(self) -> str:
        """Images and, where they are not the usual ones, architecture and budget."""
        more = [] if self.budget == budgets.ALL else [budgets.words(self.budget)]
        return ", ".join([trained(self.cell), *more])

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
        return trained(self.cell), self.attack, self.seed

    @property
    def task(self) -> tuple[object, ...]:
        """What the defender was given, a network and images: on equal tasks strategies compare."""
        return self.attacked, self.budget, *self.network

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Where it stands among others: by case, attack and seed."""
        attack = self.cell.data.params[ATTACK_PARAM]
        rank = ATTACKS.index(attack) if attack in ATTACKS else len(ATTACKS)
        about = trained(self.cell), budgets.sort_key(self.budget)
        return *about, rank, self.attack, int(self.seed)

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
        return is_measured(self.cell)

    @property
    def has_signs(self) -> bool | None:
        """Whether there are signs of a backdoor in B, None where that is not known.

        It is not known where no verdict was asked for, or nothing could be said, nor of a verdict
        that told no probability, as those of former versions.
        """
        metrics = self.judged.data.metrics
        return metrics[SUSPECTS] > 0 if PROBABILITY in metrics else None

    @property
    def accuracy_loss(self) -> float:
        """How much less clean accuracy B' has than B, in [-1, 1]."""
        return self._accuracy_loss("repaired")

    @property
    def attack_success(self) -> float:
        """The attack success rate that B' has, in [0, 1]; nan where there is none."""
        return self._metric("repaired/attack_success_rate")

    def is_ahead_of(self, rival: "StrategyRun") -> bool:
        """Whether B' has less attack success than on the same task with `rival`, and no less clean
        accuracy."""
        less_success = self.attack_success < rival.attack_success - TOLERANCE
        return less_success and self.accuracy_loss <= rival.accuracy_loss + TOLERANCE

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


def is_measured(cell: Run) -> bool:
    """Whether a cell came as far as what B' is worth."""
    return "repaired/clean_accuracy" in cell.data.metrics


def trained(cell: Run) -> str:
    """Images and, where it is not the usual one, architecture: what networks are trained from."""
    architecture = _architecture(cell)
    usual = architecture in (USUAL_ARCHITECTURE, "")
    return case_name(cell) if usual else f"{case_name(cell)}, {architecture}"


def _architecture(cell: Run) -> str:
    """What B is trained as; "" of a network from a file, which says so itself."""
    params = cell.data.params
    if params.get("badnet") == "file":
        return ""
    return params.get(ARCHITECTURE_PARAM, USUAL_ARCHITECTURE)
