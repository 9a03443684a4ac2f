"""How far strategies reach the aim, by budget; and what was tried beside them."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from sweep.results.pages import markdown
from sweep.results.pages.answer import budgets
from sweep.results.pages.answer.runs import (
    MAX_ACCURACY_LOSS,
    MAX_ATTACK_SUCCESS,
    MAX_FALSE_ALARMS,
    StrategyRun,
)
from sweep.results.pages.answer.summaries import (
    ANSWER,
    Column,
    by_budget,
    by_budget_and_name,
    grouped,
    marked_name,
    median_time,
    metric_spread,
    points,
    points_lost,
)
from sweep.results.pages.markdown import DASH, wrap
from sweep.terminal import percent

#: With which strategy the others are compared, task by task.
RIVAL = "ft_sam"
AIM = (
    f"**The aim**: an ASR of at most {100 * MAX_ATTACK_SUCCESS:g} % at a clean test accuracy "
    f"at most {100 * MAX_ACCURACY_LOSS:g} points below B's: for B', or for G, if it flags at "
    f"most {100 * MAX_FALSE_ALARMS:g} % of the clean test images."
)
BESIDE = (
    "Strategies with other settings; below those that were tried on the same networks with as many "
    "images stands the strategy itself on these. With `data.valid_changed` the clean images are "
    "[of another kind](../defences.md#what-a-defender-has) than those in use."
)
HEADS = ("clean images", "strategy")

Rivals = Mapping[tuple[object, ...], StrategyRun]


def reached(usual: Sequence[StrategyRun]) -> list[str]:
    """The aim, and how far each strategy reaches it with each budget; `usual` has no variants."""
    if not usual:
        return []
    rivals = _rivals(usual)
    paragraphs = [wrap(AIM), grouped(HEADS, by_budget_and_name(usual).items(), _totals(rivals))]
    answer = by_budget(run for run in usual if run.name == ANSWER)
    if answer:
        sentences = [_sentence(runs, rivals) for runs in answer.values()]
        paragraphs.append(markdown.listed(f"`{ANSWER}` reaches it", sentences))
    return [*paragraphs, *_incomparable(usual)]


def variants(runs: Sequence[StrategyRun], usual: Sequence[StrategyRun]) -> list[str]:
    """Strategies with other settings, above the strategy itself on the same tasks."""
    if not runs:
        return []
    groups: dict[tuple[str, frozenset[object]], dict[tuple[str, str], list[StrategyRun]]] = {}
    for names, same in by_budget_and_name(runs).items():
        same_tasks: frozenset[object] = frozenset(run.task for run in same)
        groups.setdefault((same[0].strategy, same_tasks), {})[names] = same
    rows: list[tuple[tuple[str, str], list[StrategyRun]]] = []
    for (strategy, tasks), tried in groups.items():
        rows += sorted(tried.items(), key=lambda item: item[0])
        same = [run for run in usual if run.strategy == strategy and run.task in tasks]
        if same:
            rows.append(((same[0].budget, f"{marked_name(same)}, on the same"), same))
    columns = _totals(_rivals(usual))
    return ["## What was tried beside it", wrap(BESIDE), grouped(HEADS, rows, columns)]


def _rivals(usual: Sequence[StrategyRun]) -> Rivals:
    return {run.task: run for run in usual if run.name == RIVAL}


def _totals(rivals: Rivals) -> dict[str, Column]:
    """The columns of what a strategy is worth over all networks with an implant."""

    def ahead(runs: Sequence[StrategyRun]) -> str:
        pairs = [(run, rivals[run.task]) for run in runs if run.task in rivals]
        if not pairs or runs[0].name == RIVAL:
            return DASH
        return f"{sum(run.is_ahead_of(rival) for run, rival in pairs)} of {len(pairs)}"

    columns: dict[str, Column] = {
        "implants": lambda runs: str(len(runs)),
        "reached": lambda runs: str(sum(run.reached() for run in runs)),
        "in %": lambda runs: percent(fmean(run.reached() for run in runs)),
        "points lost": points_lost,
        "B' ASR": lambda runs: metric_spread(runs, "repaired/attack_success_rate"),
    }
    if rivals:
        columns[f"ahead of {RIVAL}"] = ahead
    return columns | {"time in s": median_time}


def _sentence(answer: Sequence[StrategyRun], rivals: Rivals) -> str:
    """How far the answer reaches the aim with one budget, and what its rival comes to there."""
    count = sum(run.reached() for run in answer)
    by = {
        "B'": sum(run.reached_by_repaired() for run in answer),
        "G": sum(run.reached_by_goodnet() for run in answer),
    }
    text = (
        f"with {budgets.words(answer[0].budget)} in {count} of {len(answer)} implants "
        f"({percent(count / len(answer))} %): {', '.join(f'by {n} in {k}' for n, k in by.items())}"
    )
    same = [run for run in answer if run.task in rivals]
    if not same:
        return f"{text}."
    theirs = [rivals[run.task] for run in same]
    (success, loss), (success_of_rival, loss_of_rival) = map(_means, (same, theirs))
    return (
        f"{text}; in the mean over those ({len(same)}) that `{RIVAL}` was tried on too, ASR "
        f"{success} against {success_of_rival} %, points lost {loss} against {loss_of_rival}."
    )


def _means(runs: Sequence[StrategyRun]) -> tuple[str, str]:
    """Mean attack success and mean points lost, as text."""
    success = markdown.mean([run.cell for run in runs], "repaired/attack_success_rate")
    return success, points(fmean(run.accuracy_loss for run in runs))


def _incomparable(usual: Sequence[StrategyRun]) -> list[str]:
    """Networks on which strategies do not compare, as they are not the same for all."""
    digests: dict[str, set[str]] = {}
    for run in sorted(usual, key=lambda run: run.sort_key):
        name = "{} {} seed {}".format(*run.network)
        digests.setdefault(name, set()).add(markdown.tag_values([run.cell], "network_digest"))
    different = [name for name, unique in digests.items() if len(unique) > 1]
    return (
        [wrap(f"Not the same B for all strategies: {', '.join(different)}.")] if different else []
    )
