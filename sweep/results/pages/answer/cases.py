"""The answer case by case, and every strategy beside it, attack by attack."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from sweep.results.pages import markdown
from sweep.results.pages.answer.runs import Seeds, StrategyRun
from sweep.results.pages.answer.summaries import (
    Column,
    by_case,
    case_reached,
    grouped,
    marked_name,
    metric_interval,
    metric_spread,
    points,
    points_lost,
    ranked,
    rates,
    seeds_reached,
)
from sweep.results.pages.markdown import DASH, extremes, table

HEADS = ("images", "attack")
RATES: dict[str, Column] = {
    "B clean": partial(metric_spread, metric="badnet/clean_accuracy"),
    "B ASR": partial(metric_spread, metric="badnet/attack_success_rate"),
    "B' clean": partial(metric_spread, metric="repaired/clean_accuracy"),
    "points lost": points_lost,
    "B' ASR": partial(metric_spread, metric="repaired/attack_success_rate"),
    "G ASR": partial(metric_spread, metric="goodnet/attack_success_rate"),
    "G alarm": partial(metric_spread, metric="goodnet/false_alarm_rate"),
}
INTERVALS: dict[str, Column] = {
    "B' clean": partial(metric_interval, metric="repaired/clean_accuracy"),
    "B' ASR": partial(metric_interval, metric="repaired/attack_success_rate"),
    "B' robust": partial(metric_interval, metric="repaired/robust_accuracy"),
    "G clean": partial(metric_interval, metric="goodnet/clean_accuracy"),
    "G ASR": partial(metric_interval, metric="goodnet/attack_success_rate"),
    "G alarm": partial(metric_interval, metric="goodnet/false_alarm_rate"),
}


def answer_by_case(answer: Sequence[StrategyRun], seeds: Seeds) -> list[str]:
    """The answer on each case, over the seeds."""
    if not answer:
        return []
    columns: dict[str, Column] = {**RATES, "reached": partial(seeds_reached, seeds=seeds)}
    return ["## The answer, case by case", grouped(HEADS, by_case(answer).items(), columns)]


def every_strategy(usual: Sequence[StrategyRun], seeds: Seeds) -> list[str]:
    """All strategies on the images of each case: what they cost, and what they leave of attacks."""
    paragraphs = []
    for case in dict.fromkeys(run.case for run in usual):
        runs = [run for run in usual if run.case == case]
        show = partial(_loss_and_success, seeds=seeds)
        paragraphs += [
            f"## Every strategy on {case}",
            "Points lost / ASR of B'; bold where B' or G reaches the aim with all seeds.",
            _strategies_by_attacks(runs, show),
        ]
        if any(len(same) > 1 for (of, _), same in seeds.items() if of == case):
            paragraphs.append("Lowest to highest seed of the same:")
            paragraphs.append(_strategies_by_attacks(runs, _loss_and_success_extremes))
    return paragraphs


def _strategies_by_attacks(runs: Sequence[StrategyRun], show: Column) -> str:
    """A row for each strategy and a column for each attack, of `runs` of one case."""
    attacks = list(dict.fromkeys(run.attack for run in runs))
    rows = []
    for same in ranked(runs):
        texts = {attack: show(seeds) for (_, attack), seeds in by_case(same).items()}
        rows.append([marked_name(same), *(texts.get(attack, DASH) for attack in attacks)])
    return table(["strategy", *attacks], rows)


def _loss_and_success(runs: Sequence[StrategyRun], seeds: Seeds) -> str:
    """The means over the runs of one case; bold where it reaches the aim with all `seeds`."""
    loss = points(fmean(run.accuracy_loss for run in runs))
    success = markdown.mean([run.cell for run in runs], "repaired/attack_success_rate")
    text = f"{loss} / {success}"
    return f"**{text}**" if case_reached(runs, seeds) else text


def _loss_and_success_extremes(runs: Sequence[StrategyRun]) -> str:
    loss = extremes([run.accuracy_loss for run in runs], points, " to ")
    return f"{loss} / {extremes(rates(runs, 'repaired/attack_success_rate'))}"


def intervals(answer: Sequence[StrategyRun]) -> list[str]:
    """The answer's rates on each case, with what so many test images can tell of them."""
    if not answer:
        return []
    heading = "## The answer's rates, with 95 % intervals"
    return [heading, grouped(HEADS, by_case(answer).items(), INTERVALS)]
