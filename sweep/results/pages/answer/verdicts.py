"""What is said of networks from clean images alone, and what those without a backdoor lose."""

from collections.abc import Sequence
from functools import partial

from sweep.results.pages.answer import budgets
from sweep.results.pages.answer.runs import SUSPECTS, StrategyRun
from sweep.results.pages.answer.summaries import (
    Column,
    by_budget,
    by_case,
    grouped,
    marked_name,
    metric_spread,
    points_lost,
    ranked,
    signs_found,
)
from sweep.results.pages.markdown import listed, metric_values, spread


def _classes(runs: Sequence[StrategyRun]) -> str:
    return spread(metric_values((run.judged for run in runs), SUSPECTS), "{:.3g}".format)


VERDICTS: dict[str, Column] = {"signs found": signs_found, "classes that stand out": _classes}
UNHARMED: dict[str, Column] = {
    "networks": lambda runs: str(len(runs)),
    "B clean": partial(metric_spread, metric="badnet/clean_accuracy"),
    "B ASR": partial(metric_spread, metric="badnet/attack_success_rate"),
    "B' clean": partial(metric_spread, metric="repaired/clean_accuracy"),
    "points lost": points_lost,
    "G alarm": partial(metric_spread, metric="goodnet/false_alarm_rate"),
    "false signs": signs_found,
}


def verdicts(runs: Sequence[StrategyRun]) -> list[str]:
    """What was said of networks, with a backdoor and without; `runs` has one for each task."""
    if not runs:
        return []
    sentences = [_sentence(same) for same in by_budget(runs).values()]
    attacked = [run for run in runs if run.attacked]
    paragraphs = ["## Is there a backdoor?", listed("Signs of one are found", sentences)]
    if attacked:
        paragraphs.append(grouped(("images", "attack"), by_case(attacked).items(), VERDICTS))
    return paragraphs


def _sentence(runs: Sequence[StrategyRun]) -> str:
    """In how many networks there are signs, by those with a backdoor and those without."""
    counts = []
    attacked = [run for run in runs if run.attacked]
    if attacked:
        counts.append(f"in {signs_found(attacked)} networks with a backdoor")
    if len(attacked) < len(runs):
        counts.append(f"in {signs_found(run for run in runs if not run.attacked)} without one")
    return f"with {budgets.words(runs[0].budget)} {', and '.join(counts)}."


def unharmed(clean: Sequence[StrategyRun]) -> list[str]:
    """What strategies cost networks without a backdoor, and of how many they say there is one."""
    if not clean:
        return []
    groups = {}
    for case in dict.fromkeys(run.case for run in clean):
        for runs in ranked(run for run in clean if run.case == case):
            groups[case, marked_name(runs)] = runs
    return [
        "## Networks without a backdoor",
        "What it costs a network that no attack was trained into.",
        grouped(("images", "strategy"), groups.items(), UNHARMED),
    ]
