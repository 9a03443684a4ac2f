"""What runs come to: grouped, counted, and as words in one cell of a table.

A case here is a case of the sweep and an attack; with each seed it is another network B. The
`runs` of what makes one cell are those of one strategy.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from statistics import fmean, median

from mlflow.entities import Run

from sweep.results.cells import ORACLE
from sweep.results.pages.markdown import NONE, measured, spread
from sweep.results.pages.strategy_runs import StrategyRun

ANSWER = "answer"
CLEAN, ATTACK, ALARM = "clean_accuracy", "attack_success_rate", "goodnet/false_alarm_rate"
ASR, B_ASR = f"repaired/{ATTACK}", f"badnet/{ATTACK}"

#: The columns of `standing`.
STANDING = ("cases", "networks", "points lost", "B' ASR", "time in s")


def by_name(runs: Iterable[StrategyRun]) -> dict[str, list[StrategyRun]]:
    """The runs by strategy and settings."""
    found: dict[str, list[StrategyRun]] = {}
    for run in runs:
        found.setdefault(run.name, []).append(run)
    return found


def by_case(runs: Iterable[StrategyRun]) -> dict[tuple[str, str], list[StrategyRun]]:
    """The runs by case and attack."""
    found: dict[tuple[str, str], list[StrategyRun]] = {}
    for run in runs:
        found.setdefault((run.case, run.attack), []).append(run)
    return found


def sweeps(runs: Iterable[StrategyRun]) -> list[Run]:
    """The sweeps of the runs, oldest first."""
    found = {run.sweep.info.run_id: run.sweep for run in runs}
    return sorted(found.values(), key=lambda sweep: sweep.info.start_time)


def rates(runs: Iterable[StrategyRun], metric: str) -> list[float]:
    """A metric of all runs that have it."""
    return measured((run.cell for run in runs), metric)


def through(
    case: Sequence[StrategyRun],
    seeds: Set[str],
    well: Callable[[StrategyRun], bool] = StrategyRun.reached,
) -> bool:
    """Whether all runs of one case are `well`, and none of the `seeds` is missing."""
    return all(map(well, case)) and seeds <= {run.seed for run in case}


def counts(
    runs: Sequence[StrategyRun],
    seeds: Set[str],
    well: Callable[[StrategyRun], bool] = StrategyRun.reached,
) -> tuple[int, int]:
    """In how many cases, and in how many networks, runs are `well`."""
    cases = by_case(runs).values()
    return sum(through(case, seeds, well) for case in cases), sum(map(well, runs))


def rank(runs: Sequence[StrategyRun], seeds: Set[str]) -> tuple[bool, int, int, float, str]:
    """Where a strategy stands among others: the answer first, then by what is reached, and ASR."""
    one = runs[0]
    cases, networks = counts(runs, seeds)
    return one.strategy != ANSWER, -cases, -networks, fmean(rates(runs, ASR) or [1.0]), one.name


def standing(runs: Sequence[StrategyRun], seeds: Set[str] = frozenset()) -> list[str]:
    """What a strategy is worth over all, in a row: `STANDING`."""
    cases, networks = counts(runs, seeds)
    return [
        f"{cases} of {len(by_case(runs))}",
        f"{networks} of {len(runs)}",
        lost(runs),
        spread(rates(runs, ASR)),
        time(runs),
    ]


def marked(runs: Sequence[StrategyRun]) -> str:
    """A strategy's name, and whether it is an oracle."""
    oracle = runs[0].cell.data.tags.get("threat_model") == "oracle"
    return f"{runs[0].name} {ORACLE}" if oracle else runs[0].name


def lost(runs: Sequence[StrategyRun]) -> str:
    """How many points of clean accuracy B' has less than B: mean, lowest to highest."""
    return spread([run.lost for run in runs], points, " to ")


def points(share: float) -> str:
    """A difference of shares in points; what rounds to none is not below 0.

    >>> points(0.02), points(-0.00001)
    ('2.00', '0.00')
    """
    return f"{round(100 * share, 2) + 0.0:.2f}"


def time(runs: Sequence[StrategyRun]) -> str:
    """The median time of a cell without the training of B, in seconds."""
    told = [run.cell.data.metrics for run in runs]
    times = [of["time/total"] - of.get("time/badnet", 0.0) for of in told if "time/total" in of]
    return f"{median(times):.0f}" if times else NONE


def judged(runs: Iterable[StrategyRun]) -> list[StrategyRun]:
    """Of each network the newest run with a verdict: that is of the network alone."""
    told = [run for run in runs if run.signs is not None]
    told.sort(key=lambda run: run.cell.info.start_time)
    newest = {(run.attacked, *run.network): run for run in told}
    return sorted(newest.values(), key=lambda run: run.place)


def signs(runs: Iterable[StrategyRun]) -> str:
    """Of how many of the networks that were judged it was that there are signs of a backdoor."""
    found = [run.signs for run in runs if run.signs is not None]
    return f"{sum(found)} of {len(found)}" if found else NONE


def by_which(case: Sequence[StrategyRun], seeds: Set[str]) -> str:
    """With how many seeds a case reaches the aim; and by what, where B' and G are not alike."""
    by = {"B'": sum(t.by_repaired() for t in case), "G": sum(t.by_goodnet() for t in case)}
    reached, missing = sum(run.reached() for run in case), len(seeds) - len(case)
    told = f"{reached} of {len(case)}"
    if missing > 0:
        told += f", {missing} missing"
    if set(by.values()) == {reached}:
        return told
    return told + f" ({', '.join(f'{name} {count}' for name, count in by.items() if count)})"
