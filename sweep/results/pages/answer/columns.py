"""The columns of the tables of strategies: by heading, the function that shows some runs there."""

from collections.abc import Callable, Sequence
from functools import partial

from sweep.results.pages.answer.runs import StrategyRun
from sweep.results.pages.answer.summaries import (
    metric_interval,
    metric_spread,
    points_lost,
    signs_found,
)

Column = Callable[[Sequence[StrategyRun]], str]


def _number(count: float) -> str:
    return f"{count:.3g}"


def _run_count(runs: Sequence[StrategyRun]) -> str:
    return str(len(runs))


BADNET: dict[str, Column] = {
    "B clean": partial(metric_spread, metric="badnet/clean_accuracy"),
    "B ASR": partial(metric_spread, metric="badnet/attack_success_rate"),
}
REPAIRED: dict[str, Column] = {
    "B' clean": partial(metric_spread, metric="repaired/clean_accuracy"),
    "points lost": points_lost,
}
FALSE_ALARMS: dict[str, Column] = {
    "G alarm": partial(metric_spread, metric="goodnet/false_alarm_rate")
}
CASES: dict[str, Column] = {
    **BADNET,
    **REPAIRED,
    "B' ASR": partial(metric_spread, metric="repaired/attack_success_rate"),
    "G ASR": partial(metric_spread, metric="goodnet/attack_success_rate"),
    **FALSE_ALARMS,
}
INTERVALS: dict[str, Column] = {
    "B' clean": partial(metric_interval, metric="repaired/clean_accuracy"),
    "B' ASR": partial(metric_interval, metric="repaired/attack_success_rate"),
    "B' robust": partial(metric_interval, metric="repaired/robust_accuracy"),
    "G clean": partial(metric_interval, metric="goodnet/clean_accuracy"),
    "G ASR": partial(metric_interval, metric="goodnet/attack_success_rate"),
    "G alarm": partial(metric_interval, metric="goodnet/false_alarm_rate"),
}
VERDICTS: dict[str, Column] = {
    "signs found": signs_found,
    "classes that stand out": partial(metric_spread, metric="inspect/suspects", show=_number),
}
UNHARMED: dict[str, Column] = {"networks": _run_count, **BADNET, **REPAIRED, **FALSE_ALARMS}
