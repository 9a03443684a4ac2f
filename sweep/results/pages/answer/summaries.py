"""What runs come to: grouped, counted, and as words in one cell of a table.

A case here is a case of the sweep and an attack; with each seed it is another network B. The
`runs` of what makes one cell are those of one strategy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median

from mlflow.entities import Run

from sweep.results.cells import ORACLE
from sweep.results.pages.answer import budgets
from sweep.results.pages.answer.runs import Seeds, StrategyRun
from sweep.results.pages.markdown import DASH, interval, metric_values, spread, table
from sweep.terminal import percent

ANSWER = "answer"
OTHERS = ("badnet", "twin", "probe")  # times of what is no part of a strategy

Column = Callable[[Sequence[StrategyRun]], str]


def grouped(
    heads: Sequence[str],
    groups: Iterable[tuple[Sequence[str], Sequence[StrategyRun]]],
    columns: Mapping[str, Column],
) -> str:
    """A table with a row for each group of runs: its names, under `heads`, and its columns."""
    rows = [[*names, *(show(runs) for show in columns.values())] for names, runs in groups]
    return table([*heads, *columns], rows, "l" * len(heads))


def by_name(runs: Iterable[StrategyRun]) -> dict[str, list[StrategyRun]]:
    """The runs grouped by strategy and settings."""
    groups: dict[str, list[StrategyRun]] = {}
    for run in runs:
        groups.setdefault(run.name, []).append(run)
    return groups


def by_case(runs: Iterable[StrategyRun]) -> dict[tuple[str, str], list[StrategyRun]]:
    """The runs grouped by case and attack."""
    groups: dict[tuple[str, str], list[StrategyRun]] = {}
    for run in runs:
        groups.setdefault((run.case, run.attack), []).append(run)
    return groups


def by_budget(runs: Iterable[StrategyRun]) -> dict[str, list[StrategyRun]]:
    """The runs grouped by budget, in the order of these."""
    groups: dict[str, list[StrategyRun]] = {}
    for run in sorted(runs, key=lambda run: budgets.sort_key(run.budget)):
        groups.setdefault(run.budget, []).append(run)
    return groups


def by_budget_and_name(
    runs: Iterable[StrategyRun],
) -> dict[tuple[str, str], list[StrategyRun]]:
    """The runs grouped by budget and strategy, by the names that a table has for both."""
    return {
        (budget, marked_name(same)): same
        for budget, given in by_budget(runs).items()
        for same in ranked(given)
    }


def ranked(runs: Iterable[StrategyRun]) -> list[list[StrategyRun]]:
    """The runs of each strategy: the answer first, then by what is reached, and by ASR."""

    def rank(same: Sequence[StrategyRun]) -> tuple[bool, float, float, str]:
        reached = fmean(run.reached() for run in same)
        successes = rates(same, "repaired/attack_success_rate") or [1.0]
        return same[0].strategy != ANSWER, -reached, fmean(successes), same[0].name

    return sorted(by_name(runs).values(), key=rank)


def sweeps(runs: Iterable[StrategyRun]) -> list[Run]:
    """The sweeps of the runs, oldest first."""
    by_id = {run.sweep.info.run_id: run.sweep for run in runs}
    return sorted(by_id.values(), key=lambda sweep: sweep.info.start_time)


def rates(runs: Iterable[StrategyRun], metric: str) -> list[float]:
    """The values of a metric in all runs that have it."""
    return metric_values((run.cell for run in runs), metric)


def metric_spread(
    runs: Iterable[StrategyRun], metric: str, show: Callable[[float], str] = percent
) -> str:
    """The mean of a metric, lowest to highest, as text."""
    return spread(rates(runs, metric), show)


def metric_interval(runs: Iterable[StrategyRun], metric: str) -> str:
    """The mean of a metric, and its interval, as text."""
    return interval([run.cell for run in runs], metric)


def case_reached(case: Sequence[StrategyRun], seeds: Seeds) -> bool:
    """Whether all runs of one case have reached the aim, and none of the `seeds` is missing."""
    return all(run.reached() for run in case) and not _missing(case, seeds)


def _missing(case: Sequence[StrategyRun], seeds: Seeds) -> int:
    """How many of the seeds that one case should have are not among its runs."""
    return len(seeds.get((case[0].case, case[0].attack), set()) - {run.seed for run in case})


def marked_name(runs: Sequence[StrategyRun]) -> str:
    """A strategy's name, and whether it is an oracle."""
    oracle = runs[0].cell.data.tags.get("threat_model") == "oracle"
    return f"{runs[0].name} {ORACLE}" if oracle else runs[0].name


def points_lost(runs: Sequence[StrategyRun]) -> str:
    """The points of clean accuracy that B' has less than B: mean, lowest to highest."""
    return spread([run.accuracy_loss for run in runs], points, " to ")


def points(share: float) -> str:
    """A difference of shares as text, in points; what rounds to 0 has no sign.

    >>> points(0.02), points(-0.00001)
    ('2.00', '0.00')
    """
    return f"{round(100 * share, 2) + 0.0:.2f}"


def median_time(runs: Sequence[StrategyRun]) -> str:
    """The median time of a cell without training B and its twin, and without probes, in seconds."""
    times = []
    for run in runs:
        metrics = run.cell.data.metrics
        if "time/total" in metrics:
            others = sum(metrics.get(f"time/{name}", 0.0) for name in OTHERS)
            times.append(metrics["time/total"] - others)
    return f"{median(times):.0f}" if times else DASH


def newest_verdicts(runs: Iterable[StrategyRun]) -> list[StrategyRun]:
    """On each task the newest run with a verdict, in which a strategy has no part.

    A variant, whose clean images may be of another kind, counts where there is nothing else.
    """
    with_verdict = [run for run in runs if run.has_signs is not None]
    with_verdict.sort(key=lambda run: (not run.is_variant, run.judged.info.start_time))
    newest = {run.task: run for run in with_verdict}
    return sorted(newest.values(), key=lambda run: run.sort_key)


def signs_found(runs: Iterable[StrategyRun]) -> str:
    """Of how many of the networks that were judged it was that there are signs of a backdoor."""
    verdicts = [run.has_signs for run in runs if run.has_signs is not None]
    return f"{sum(verdicts)} of {len(verdicts)}" if verdicts else DASH


def seeds_reached(case: Sequence[StrategyRun], seeds: Seeds) -> str:
    """With how many seeds a case reaches the aim; and by what, where B' and G do not both."""
    reached = sum(run.reached() for run in case)
    by_network = {
        "B'": sum(run.reached_by_repaired() for run in case),
        "G": sum(run.reached_by_goodnet() for run in case),
    }
    text = f"{reached} of {len(case)}"
    missing = _missing(case, seeds)
    if missing:
        text += f", {missing} missing"
    if set(by_network.values()) == {reached}:
        return text
    names = [f"{name} {count}" for name, count in by_network.items() if count]
    return f"{text} ({', '.join(names)})"
