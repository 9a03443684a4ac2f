"""What whole strategies are worth on networks backdoored for it: the page of `experiment=answer`.

Each section is a list of paragraphs, empty where nothing of it was measured.
"""

from collections.abc import Iterable, Sequence, Set

from sweep.results.cells import image_counts
from sweep.results.pages import markdown
from sweep.results.pages.answer import aim, cases, ledger, probes, summaries, verdicts
from sweep.results.pages.answer.runs import STRATEGY_PARAM, Seeds, StrategyRun
from sweep.results.pages.answer.summaries import ANSWER, by_budget, by_case
from sweep.results.pages.markdown import table

TITLE = "The answer, beside other strategies"
INTRODUCTION = (
    "Every strategy of [conf/strategy](../../conf/strategy) on networks that were backdoored for "
    "it, by each attack with each seed, and on networks without a backdoor. How the answer works "
    "is told in [defences.md](../defences.md#the-answer)."
)

#: What the page says of these tables, to be read with them.
LEGEND = """\
- **twin**: the same network, trained without the attack; its ASR and its robust accuracy are on the
  same stamped images as those of B, and tell what the trigger does by nature. Only networks that
  count as implanted are in means and counts.
- **clean images**: how many the defender had: "all" where the command does not say, of which the
  answer takes at most 4,000. Where it does, **images** says so too, and says the network where it
  is not DeepID. A network B is the same whatever the defender had.
- **implants**: networks with a backdoor that took hold, each attack with each seed being one.
  **reached**: with how many of them B' or G reaches the aim; in the table of cases with how many
  seeds, and in brackets by what, where B' and G do not both.
- **ahead of ft_sam**: where both were measured, with as many clean images: in how many networks B'
  has a lower ASR than that of `ft_sam`, at no less clean accuracy.
- **points lost**: of clean test accuracy, from B to B'; below 0 B' has more.
- **signs found**, **false signs**: of how many networks B was said, from clean images alone, that
  there are signs of a backdoor, by the newest cell with a verdict, whatever the strategy, but first
  by those whose settings are a strategy's own. A sign is found where the **probability** is above
  0.5. Where there is no backdoor, these are false alarms. Its AUROC is that of these networks
  beside all without a backdoor and with as many images.
- **B' robust**, **twin robust**: poisoned images to which B' or the twin gives their true class.
- **time**: the median cell, with the verdict where there is one, without the training of B and of
  its twin, and without probes. What earlier cells kept is not paid again.
- In brackets: the lowest and the highest network; in the table of intervals these."""

#: What may not be concluded from them.
LIMITS = """\
- The cases are these attacks on these images, and whoever made the answer saw attack success on
  the networks of seed 0 while trying ideas; those of other seeds were first seen when all was set.
  From where a class stands out was set looking at the networks of signs, all seeds. Another attack,
  or one that is made against the answer, may get through.
- That B' or G reaches the aim does not tell a defender which of the two to use."""


def page(runs: Sequence[StrategyRun]) -> str:
    """Every strategy on every case, the answer before all others, in Markdown."""
    measured = [run for run in runs if run.measured]
    apart = [run for run in measured if run.apart]
    attacked = [run for run in measured if run.attacked and not run.apart]
    usual = [run for run in attacked if not run.is_variant]
    answer = [run for run in usual if run.name == ANSWER]
    seeds = _seeds(usual, apart)
    paragraphs = [markdown.commands(summaries.sweeps(runs)), _head(runs)]
    paragraphs += aim.reached(usual)
    paragraphs += markdown.skipped([run.cell for run in runs if not run.measured], STRATEGY_PARAM)
    paragraphs += ledger.ledger([run for run in measured if run.attacked])
    paragraphs += cases.answer_by_case(answer, seeds)
    paragraphs += cases.every_strategy(usual, seeds)
    paragraphs += cases.intervals(answer)
    paragraphs += probes.relearning(usual)
    paragraphs += probes.doses(usual)
    paragraphs += verdicts.verdicts(
        summaries.newest_verdicts(run for run in measured if not run.apart)
    )
    paragraphs += ledger.apart(apart)
    paragraphs += verdicts.unharmed([run for run in measured if not run.attacked])
    paragraphs += aim.variants([run for run in attacked if run.is_variant], usual)
    return markdown.page(TITLE, INTRODUCTION, paragraphs, LEGEND, LIMITS)


def _seeds(usual: Sequence[StrategyRun], apart: Sequence[StrategyRun]) -> Seeds:
    """The seeds that each case should have: those of the answer, or of all strategies.

    Each budget has its own; but for those of networks that are `apart`.
    """
    without = {case: {run.seed for run in runs} for case, runs in by_case(apart).items()}
    seeds: dict[tuple[str, str], Set[str]] = {}
    for runs in by_budget(usual).values():
        tried = {run.seed for run in runs if run.name == ANSWER} or {run.seed for run in runs}
        seeds |= {case: tried - without.get(case, set()) for case in by_case(runs)}
    return seeds


def _head(runs: Sequence[StrategyRun]) -> str:
    """Where the numbers come from."""
    sweeps = summaries.sweeps(runs)
    rows = [
        ["date", _each_once(map(markdown.date, sweeps))],
        ["commit", _each_once(map(markdown.commit, sweeps))],
        [", ".join(markdown.VERSIONS), _each_once(map(markdown.versions, sweeps))],
        ["seeds of B", ", ".join(sorted({run.seed for run in runs}, key=int))],
        ["clean images", ", ".join(_images(same) for same in by_budget(runs).values())],
        ["networks B", str(len({(run.attacked, *run.network) for run in runs}))],
        ["cells", str(len(runs))],
        ["skipped cells", str(sum(not run.measured for run in runs))],
    ]
    return table(["", "all cases"], rows, "ll")


def _images(runs: Sequence[StrategyRun]) -> str:
    """A budget, and how many images that was, where it does not say so: "all (3000)"."""
    budget, counts = runs[0].budget, {image_counts(run.cell).get("valid") for run in runs}
    known = sorted(count for count in counts if count is not None)
    if not known or [budget] == list(map(str, known)):
        return budget
    return f"{budget} ({', '.join(map(str, known))})"


def _each_once(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
