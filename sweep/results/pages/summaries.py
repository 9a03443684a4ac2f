"""What trials come to: grouped, counted, and as words in one cell of a table.

A case here is a case of the sweep and an attack; with each seed it is another network B. The
`trials` of what makes one cell are those of one strategy.
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


def by_name(trials: Iterable[StrategyRun]) -> dict[str, list[StrategyRun]]:
    """The trials by strategy and settings."""
    found: dict[str, list[StrategyRun]] = {}
    for trial in trials:
        found.setdefault(trial.name, []).append(trial)
    return found


def by_case(trials: Iterable[StrategyRun]) -> dict[tuple[str, str], list[StrategyRun]]:
    """The trials by case and attack."""
    found: dict[tuple[str, str], list[StrategyRun]] = {}
    for trial in trials:
        found.setdefault((trial.case, trial.attack), []).append(trial)
    return found


def sweeps(trials: Iterable[StrategyRun]) -> list[Run]:
    """The sweeps of the trials, oldest first."""
    found = {trial.sweep.info.run_id: trial.sweep for trial in trials}
    return sorted(found.values(), key=lambda sweep: sweep.info.start_time)


def rates(trials: Iterable[StrategyRun], metric: str) -> list[float]:
    """A metric of all trials that have it."""
    return measured((trial.cell for trial in trials), metric)


def through(
    case: Sequence[StrategyRun],
    seeds: Set[str],
    well: Callable[[StrategyRun], bool] = StrategyRun.reached,
) -> bool:
    """Whether all trials of one case are `well`, and none of the `seeds` is missing."""
    return all(map(well, case)) and seeds <= {trial.seed for trial in case}


def counts(
    trials: Sequence[StrategyRun],
    seeds: Set[str],
    well: Callable[[StrategyRun], bool] = StrategyRun.reached,
) -> tuple[int, int]:
    """In how many cases, and in how many networks, trials are `well`."""
    cases = by_case(trials).values()
    return sum(through(case, seeds, well) for case in cases), sum(map(well, trials))


def rank(trials: Sequence[StrategyRun], seeds: Set[str]) -> tuple[bool, int, int, float, str]:
    """Where a strategy stands among others: the answer first, then by what is reached, and ASR."""
    one = trials[0]
    cases, networks = counts(trials, seeds)
    return one.strategy != ANSWER, -cases, -networks, fmean(rates(trials, ASR) or [1.0]), one.name


def standing(trials: Sequence[StrategyRun], seeds: Set[str] = frozenset()) -> list[str]:
    """What a strategy is worth over all, in a row: `STANDING`."""
    cases, networks = counts(trials, seeds)
    return [
        f"{cases} of {len(by_case(trials))}",
        f"{networks} of {len(trials)}",
        lost(trials),
        spread(rates(trials, ASR)),
        time(trials),
    ]


def marked(trials: Sequence[StrategyRun]) -> str:
    """A strategy's name, and whether it is an oracle."""
    oracle = trials[0].cell.data.tags.get("threat_model") == "oracle"
    return trials[0].name + f" {ORACLE}" * oracle


def lost(trials: Sequence[StrategyRun]) -> str:
    """How many points of clean accuracy B' has less than B: mean, lowest to highest."""
    return spread([trial.lost for trial in trials], points, " to ")


def points(share: float) -> str:
    """A difference of shares in points; what rounds to none is not below 0.

    >>> points(0.02), points(-0.00001)
    ('2.00', '0.00')
    """
    return f"{round(100 * share, 2) + 0.0:.2f}"


def time(trials: Sequence[StrategyRun]) -> str:
    """The median time of a cell without the training of B, in seconds."""
    told = [trial.cell.data.metrics for trial in trials]
    times = [of["time/total"] - of.get("time/badnet", 0.0) for of in told if "time/total" in of]
    return f"{median(times):.0f}" if times else NONE


def judged(trials: Iterable[StrategyRun]) -> list[StrategyRun]:
    """Of each network the newest trial with a verdict: that is of the network alone."""
    told = [trial for trial in trials if trial.signs is not None]
    told.sort(key=lambda trial: trial.cell.info.start_time)
    newest = {(trial.attacked, *trial.network): trial for trial in told}
    return sorted(newest.values(), key=lambda trial: trial.place)


def signs(trials: Iterable[StrategyRun]) -> str:
    """Of how many of the networks that were judged it was that there are signs of a backdoor."""
    found = [trial.signs for trial in trials if trial.signs is not None]
    return f"{sum(found)} of {len(found)}" if found else NONE


def by_which(case: Sequence[StrategyRun], seeds: Set[str]) -> str:
    """With how many seeds a case reaches the aim; and by what, where B' and G are not alike."""
    by = {"B'": sum(t.by_repaired() for t in case), "G": sum(t.by_goodnet() for t in case)}
    reached, missing = sum(trial.reached() for trial in case), len(seeds) - len(case)
    told = f"{reached} of {len(case)}" + f", {missing} missing" * (missing > 0)
    if set(by.values()) == {reached}:
        return told
    return told + f" ({', '.join(f'{name} {count}' for name, count in by.items() if count)})"
