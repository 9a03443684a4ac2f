"""What probes found of B': how soon it learns the trigger again, and what other doses of it do."""

import re
from collections.abc import Iterable, Sequence
from functools import partial

from sweep.evaluation.significance import TOLERANCE
from sweep.results.pages import markdown
from sweep.results.pages.answer.runs import StrategyRun
from sweep.results.pages.answer.summaries import (
    ANSWER,
    Column,
    by_budget,
    by_budget_and_name,
    by_case,
    grouped,
    points,
)
from sweep.results.pages.markdown import DASH, spread, wrap

#: How many points B' may be ahead of the twin and still count as one that has forgotten.
AHEAD = 0.1
TOLD = "[What an attack success rate does not tell]"
TOLD += "(../defences.md#what-an-attack-success-rate-does-not-tell)"
RELEARNING = (
    f"{TOLD}: a copy of B' is fine-tuned with as many poisoned images as stand before the colon, "
    "among clean ones, and so is the clean twin of B. **ahead**: by how many points its ASR is "
    f"then above the twin's. **at most {100 * AHEAD:g}**: in how many networks by no more."
)
NUMBER = re.compile(r"(relearn|dose)/(\d+(?:\.\d+)?)/attack_success_rate")
DOSES = "ASR with so many times the change that the trigger makes of an image, for B' and for B."


def relearning(usual: Sequence[StrategyRun]) -> list[str]:
    """How soon B' learns the trigger again, beside the twin: every strategy, the answer by case."""
    runs = [run for run in usual if _numbers([run], "relearn")]
    if not runs:
        return []
    columns: dict[str, Column] = {"networks": lambda runs: str(len(runs))}
    for number in _numbers(runs, "relearn"):
        columns |= _beside_the_twin(number)
    by_strategy = by_budget_and_name(runs).items()
    paragraphs = [wrap(RELEARNING), grouped(("clean images", "strategy"), by_strategy, columns)]
    answer = by_case(run for run in runs if run.name == ANSWER).items()
    if answer:
        paragraphs.append("The answer, case by case:")
        paragraphs.append(grouped(("images", "attack"), answer, columns))
    return ["## Relearning", *paragraphs]


def doses(usual: Sequence[StrategyRun]) -> list[str]:
    """What weaker and stronger triggers do to B, and to what each strategy makes of it."""
    runs = [run for run in usual if _numbers([run], "dose")]
    if not runs:
        return []
    numbers = _numbers(runs, "dose")
    rows = []
    for budget, same in by_budget(runs).items():
        networks = list({run.task: run for run in same}.values())
        rows.append([budget, "B", *_doses(networks, "dose/badnet", numbers)])
        for (_, name), of_strategy in by_budget_and_name(same).items():
            rows.append([budget, name, *_doses(of_strategy, "dose", numbers)])
    heads = ["clean images", "strategy", "networks", *numbers]
    return ["## Dose", wrap(DOSES), markdown.table(heads, rows, "ll")]


def _numbers(runs: Iterable[StrategyRun], probe: str) -> list[str]:
    """The numbers at which a probe was measured of B', as its metrics name them."""
    found = [NUMBER.fullmatch(name) for run in runs for name in run.probed.data.metrics]
    return sorted({match[2] for match in found if match and match[1] == probe}, key=float)


def _beside_the_twin(number: str) -> dict[str, Column]:
    """The columns of B' and of the twin after so many poisoned images."""
    own, twins = (f"relearn/{of}{number}/attack_success_rate" for of in ("", "twin/"))

    def ahead(runs: Sequence[StrategyRun]) -> list[float]:
        metrics = [run.probed.data.metrics for run in runs]
        return [each[own] - each[twins] for each in metrics if own in each and twins in each]

    def few(runs: Sequence[StrategyRun]) -> str:
        values = ahead(runs)
        forgotten = sum(value <= AHEAD + TOLERANCE for value in values)
        return f"{forgotten} of {len(values)}" if values else DASH

    return {
        f"{number}: B' ASR": partial(_mean, metric=own),
        f"{number}: twin ASR": partial(_mean, metric=twins),
        f"{number}: ahead": lambda runs: spread(ahead(runs), points, " to "),
        f"{number}: at most {100 * AHEAD:g}": few,
    }


def _doses(runs: Sequence[StrategyRun], prefix: str, numbers: Iterable[str]) -> list[str]:
    """How many networks there are, and the mean attack success at each dose."""
    means = [_mean(runs, f"{prefix}/{number}/attack_success_rate") for number in numbers]
    return [str(len(runs)), *means]


def _mean(runs: Sequence[StrategyRun], metric: str) -> str:
    return markdown.mean([run.probed for run in runs], metric)
