"""The strategy runs of `experiment=answer`, of all that a store holds."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from mlflow.entities import Run

from sweep.evaluation.implant import SUCCESS, TWIN_CLEAN
from sweep.results.cells import FINISHED, is_attacked
from sweep.results.pages.answer import budgets
from sweep.results.pages.answer.names import strategy_names
from sweep.results.pages.answer.runs import (
    ATTACK_PARAM,
    BADNET_SEED_PARAM,
    STRATEGY_PARAM,
    SUSPECTS,
    StrategyRun,
    is_measured,
    trained,
)
from sweep.results.pages.sweeps import overrides, runs_of_sweep
from sweep.tracking import SKIPPED

SWEEP = "experiment=answer"
RATE_PARAM = "attack.rate"
PROBES = ("relearn/", "dose/")


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
    budget = budgets.budgets(oldest_first)
    rates = _rates(oldest_first)

    def equal(cell: Run) -> Hashable:
        return _network(cell), budget[cell.info.run_id], names[cell.info.run_id]

    ledgers = _newest(oldest_first, _network, _tells_implant)
    judged = _newest(oldest_first, equal, lambda cell: SUSPECTS in cell.data.metrics)
    probed = _newest(oldest_first, equal, _probes)
    strategy_runs = []
    for cell in {equal(cell): cell for cell in oldest_first}.values():
        run_id = cell.info.run_id
        about = names[run_id], _attack(cell, rates), budget[run_id], ledgers[_network(cell)]
        beside = judged[equal(cell)], probed[equal(cell)]
        strategy_runs.append(StrategyRun(cell, sweep_of[run_id], *about, *beside))
    return sorted(strategy_runs, key=lambda run: run.sort_key)


def _ended(cell: Run) -> bool:
    """Whether a cell came to its end, with rates or with a reason why not."""
    skipped = cell.data.tags.get("status") == SKIPPED
    return cell.info.status == FINISHED and (skipped or is_measured(cell))


def _network(cell: Run) -> tuple[str, ...]:
    params = cell.data.params
    return trained(cell), params[ATTACK_PARAM], params[RATE_PARAM], params[BADNET_SEED_PARAM]


def _newest(
    oldest_first: Iterable[Run], key: Callable[[Run], Hashable], tells: Callable[[Run], int]
) -> dict[Hashable, Run]:
    """By `key` the cell that `tells` most, of several the newest."""
    newest: dict[Hashable, Run] = {}
    for cell in sorted(oldest_first, key=tells):
        newest[key(cell)] = cell
    return newest


def _tells_implant(cell: Run) -> int:
    """How much a cell tells of whether the attack took hold: 2 with a twin, 1 with an ASR alone."""
    return 2 * (TWIN_CLEAN in cell.data.metrics) + (SUCCESS in cell.data.metrics)


def _probes(cell: Run) -> int:
    """How many kinds of probes a cell has."""
    return sum(any(name.startswith(probe) for name in cell.data.metrics) for probe in PROBES)


def _rates(cells: Iterable[Run]) -> dict[tuple[str, str], set[str]]:
    """How much was poisoned, by images and attack; networks without a backdoor aside."""
    by_attack: dict[tuple[str, str], set[str]] = {}
    for cell in filter(is_attacked, cells):
        images, attack, rate, _ = _network(cell)
        by_attack.setdefault((images, attack), set()).add(rate)
    return by_attack


def _attack(cell: Run, rates: Mapping[tuple[str, str], set[str]]) -> str:
    """An attack by its name, and by how much was poisoned where there are several such."""
    images, attack, rate, _ = _network(cell)
    several = is_attacked(cell) and len(rates[images, attack]) > 1
    return f"{attack}, {RATE_PARAM}={rate}" if several else attack
