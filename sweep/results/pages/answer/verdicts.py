"""What is said of networks from clean images alone, and what those without a backdoor lose."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import fmean

from sweep.evaluation.detection import auroc, auroc_bootstrap
from sweep.results.pages.answer import budgets
from sweep.results.pages.answer.runs import PROBABILITY, SCORE, SUSPECTS, StrategyRun
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
from sweep.results.pages.markdown import DASH, listed, metric_values, spread, wrap

SURE = 0.001  # the least probability that counts
DESCRIBED = """\
AUROC: by the score of the strongest sign, with a 95 % interval of networks drawn anew.
Cross-entropy: of the probability that is told; half for each would have 0.69 nats."""


def _classes(runs: Sequence[StrategyRun]) -> str:
    return spread(metric_values((run.judged for run in runs), SUSPECTS), "{:.3g}".format)


def _probability(runs: Sequence[StrategyRun]) -> str:
    return spread(metric_values((run.judged for run in runs), PROBABILITY), "{:.2f}".format)


VERDICTS: dict[str, Column] = {
    "signs found": signs_found,
    "classes that stand out": _classes,
    "probability": _probability,
}
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
    attacked, clean = ([run for run in runs if run.attacked is is_it] for is_it in (True, False))
    paragraphs = ["## Is there a backdoor?", listed("Signs of one are found", sentences)]
    told = [_told_apart(same) for same in by_budget(runs).values() if _both(same)]
    columns = VERDICTS
    if told:
        paragraphs += [wrap(DESCRIBED), listed("They are told apart", told)]
        columns = VERDICTS | {"AUROC": lambda group: _area(group, clean)}
    groups = by_case(attacked) | ({("all", "no attack"): clean} if clean else {})
    paragraphs.append(grouped(("images", "attack"), groups.items(), columns))
    return paragraphs


def _both(runs: Iterable[StrategyRun]) -> bool:
    """Whether some of these networks have a backdoor, and some have none."""
    return len({run.attacked for run in runs}) > 1


def _scores(runs: Iterable[StrategyRun], *, attacked: bool) -> list[float]:
    return metric_values((run.judged for run in runs if run.attacked is attacked), SCORE)


def _area(attacked: Sequence[StrategyRun], clean: Sequence[StrategyRun]) -> str:
    """The AUROC of these networks beside those without a backdoor and with as many images."""
    beside = [run for run in clean if run.budget == attacked[0].budget]
    scores = _scores(beside, attacked=False), _scores(attacked, attacked=True)
    return f"{auroc(*scores):.3f}" if all(scores) else DASH


def _told_apart(runs: Sequence[StrategyRun]) -> str:
    """How well the score tells networks apart, and what the probability is worth."""
    scores = _scores(runs, attacked=False), _scores(runs, attacked=True)
    low, high = auroc_bootstrap(*scores)
    told = [(run.attacked, run.judged.data.metrics[PROBABILITY]) for run in runs]
    right = [probability if attacked else 1 - probability for attacked, probability in told]
    loss = -fmean(math.log(max(share, SURE)) for share in right)
    return (
        f"with {budgets.words(runs[0].budget)} with an AUROC of {auroc(*scores):.3f} ({low:.3f} to "
        f"{high:.3f}), and a cross-entropy of {loss:.2f} nats."
    )


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
