"""What whole strategies are worth on networks backdoored for it: the page of `experiment=answer`.

Each section is a list of paragraphs, empty where nothing of it was measured.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean

from sweep.results.pages import markdown
from sweep.results.pages.answer import ledger, summaries
from sweep.results.pages.answer.columns import CASES, INTERVALS, UNHARMED, VERDICTS, Column
from sweep.results.pages.answer.runs import (
    MAX_ACCURACY_LOSS,
    MAX_ATTACK_SUCCESS,
    MAX_FALSE_ALARMS,
    STRATEGY_PARAM,
    Seeds,
    StrategyRun,
)
from sweep.results.pages.answer.summaries import (
    ANSWER,
    TOTALS,
    by_case,
    by_name,
    case_reached,
    counts,
    marked_name,
    points,
    rates,
    signs_found,
    totals,
)
from sweep.results.pages.markdown import DASH, extremes, table, wrap

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
- **points lost**: of clean test accuracy, from B to B'; below 0 B' has more.
- **cases** and **networks**: how many of those measured reach the aim, by B' or by G. A case is one
  attack on one kind of images, with each seed on another network; it reaches the aim with every
  seed, and not as long as one is missing. **reached**: with how many; in brackets by what, where
  B' and G do not both.
- **signs found**: of how many networks B was said, from clean images alone, that there are signs of
  a backdoor, by its newest cell with a verdict, whatever the strategy; of those only where a class
  that stands out was compared with a network learned anew. Where there is none, these are false
  alarms.
- **B' robust**, **twin robust**: poisoned images to which B' or the twin gives their true class.
- **time**: the median cell, with the verdict where there is one, without the training of B and of
  its twin. What earlier cells kept is not paid again.
- In brackets: the lowest and the highest network; in the table of intervals these."""

#: What may not be concluded from them.
LIMITS = """\
- The cases are these attacks on these images, and whoever made the answer saw attack success on
  the networks of seed 0 while trying ideas; those of other seeds were first seen when all was set.
  From where a class stands out was set looking at the networks of signs, all seeds. Another attack,
  or one that is made against the answer, may get through.
- That B' or G reaches the aim does not tell a defender which of the two to use."""

Strategies = Mapping[str, Sequence[StrategyRun]]


def page(runs: Sequence[StrategyRun]) -> str:
    """Every strategy on every case, the answer before all others, in Markdown."""
    measured = [run for run in runs if run.measured]
    attacked = [run for run in measured if run.attacked and not run.apart]
    apart = [run for run in measured if run.apart]
    seeds = _seeds(attacked, apart)
    ranked = sorted(by_name(attacked).items(), key=lambda item: summaries.rank(item[1], seeds))
    usual = {name: same for name, same in ranked if not same[0].is_variant}
    variants = {name: same for name, same in ranked if same[0].is_variant}
    answer = usual.get(ANSWER, [])
    paragraphs = [markdown.commands(summaries.sweeps(runs)), _head(runs)]
    paragraphs += _strategies(usual, seeds)
    paragraphs += markdown.skipped([run.cell for run in runs if not run.measured], STRATEGY_PARAM)
    paragraphs += ledger.ledger([run for run in measured if run.attacked])
    paragraphs += _cases(answer, seeds)
    for case in dict.fromkeys(run.case for run in attacked):
        paragraphs += _every_strategy(case, usual, seeds)
    paragraphs += _intervals(answer)
    paragraphs += _verdicts(summaries.newest_verdicts(run for run in measured if not run.apart))
    paragraphs += ledger.apart(apart)
    paragraphs += _unharmed([run for run in measured if not run.attacked])
    paragraphs += _variants(variants, usual)
    return markdown.page(TITLE, INTRODUCTION, paragraphs, LEGEND, LIMITS)


def _seeds(attacked: Sequence[StrategyRun], apart: Sequence[StrategyRun]) -> Seeds:
    """The seeds that each case should have: those of the answer, or of all strategies.

    But for those of networks that are `apart`.
    """
    usual = [run for run in attacked if not run.is_variant]
    seeds = {run.seed for run in usual if run.name == ANSWER} or {run.seed for run in usual}
    without = {case: {run.seed for run in runs} for case, runs in by_case(apart).items()}
    return {case: seeds - without.get(case, set()) for case in by_case(attacked)}


def _head(runs: Sequence[StrategyRun]) -> str:
    """Where the numbers come from."""
    sweeps = summaries.sweeps(runs)
    rows = [
        ["date", _each_once(map(markdown.date, sweeps))],
        ["commit", _each_once(map(markdown.commit, sweeps))],
        [", ".join(markdown.VERSIONS), _each_once(map(markdown.versions, sweeps))],
        ["seeds of B", ", ".join(sorted({run.seed for run in runs}, key=int))],
        ["networks B", str(len({(run.attacked, *run.network) for run in runs}))],
        ["cells", str(len(runs))],
        ["skipped cells", str(sum(not run.measured for run in runs))],
    ]
    return table(["", "all cases"], rows, "ll")


def _each_once(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _strategies(usual: Strategies, seeds: Seeds) -> list[str]:
    """The aim, and how far each strategy reaches it."""
    if not usual:
        return []
    aim = (
        f"**The aim**: an ASR of at most {100 * MAX_ATTACK_SUCCESS:g} % at a clean test accuracy "
        f"at most {100 * MAX_ACCURACY_LOSS:g} points below B's: for B', or for G, if it flags at "
        f"most {100 * MAX_FALSE_ALARMS:g} % of the clean test images."
    )
    paragraphs = [aim]
    if ANSWER in usual:
        paragraphs.append(_reached(usual[ANSWER], seeds))
    paragraphs += _incomparable(usual)
    rows = [[marked_name(runs), *totals(runs, seeds)] for runs in usual.values()]
    return [*map(wrap, paragraphs), table(["strategy", *TOTALS], rows)]


def _reached(answer: Sequence[StrategyRun], seeds: Seeds) -> str:
    """How far the answer reaches the aim, and by which of B' and G."""
    cases, networks = counts(answer, seeds)
    by_repaired = counts(answer, seeds, StrategyRun.reached_by_repaired)
    by_goodnet = counts(answer, seeds, StrategyRun.reached_by_goodnet)
    return (
        f"`{ANSWER}` reaches it in {cases} of {len(by_case(answer))} cases with all seeds, in "
        f"{networks} of {len(answer)} networks: by B' in {by_repaired[0]} and {by_repaired[1]}, by "
        f"G in {by_goodnet[0]} and {by_goodnet[1]}."
    )


def _incomparable(usual: Strategies) -> list[str]:
    """Networks on which strategies do not compare, as they are not the same for all."""
    by_network: dict[str, list[StrategyRun]] = {}
    all_runs = [run for runs in usual.values() for run in runs]
    for run in sorted(all_runs, key=lambda run: run.sort_key):
        by_network.setdefault("{} {} seed {}".format(*run.network), []).append(run)
    different = [
        name
        for name, runs in by_network.items()
        if len({markdown.tag_values([run.cell], "network_digest") for run in runs}) > 1
    ]
    return [f"Not the same B for all strategies: {', '.join(different)}."] if different else []


def _cases(answer: Sequence[StrategyRun], seeds: Seeds) -> list[str]:
    """The answer on each case, over the seeds."""
    if not answer:
        return []
    columns: dict[str, Column] = {**CASES, "reached": partial(summaries.seeds_reached, seeds=seeds)}
    return ["## The answer, case by case", _table(["images", "attack"], by_case(answer), columns)]


def _every_strategy(case: str, usual: Strategies, seeds: Seeds) -> list[str]:
    """All strategies on the images of one case: what they cost, and what they leave of attacks."""
    runs = [run for same in usual.values() for run in same if run.case == case]
    if not runs:
        return []
    paragraphs = [
        f"## Every strategy on {case}",
        "Points lost / ASR of B'; bold where B' or G reaches the aim with all seeds.",
        _strategies_by_attacks(runs, partial(_loss_and_success, seeds=seeds)),
    ]
    if any(len(of_case) > 1 for of_case in seeds.values()):
        paragraphs.append("Lowest to highest seed of the same:")
        paragraphs.append(_strategies_by_attacks(runs, _loss_and_success_extremes))
    return paragraphs


def _strategies_by_attacks(runs: Sequence[StrategyRun], show: Column) -> str:
    """A row for each strategy and a column for each attack, of `runs` of one case."""
    by_attack = sorted(runs, key=lambda run: run.sort_key)
    attacks = list(dict.fromkeys(run.attack for run in by_attack))
    rows = []
    for same in by_name(runs).values():
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


def _intervals(answer: Sequence[StrategyRun]) -> list[str]:
    """The answer's rates on each case, with what so many test images can tell of them."""
    if not answer:
        return []
    heading = "## The answer's rates, with 95 % intervals"
    return [heading, _table(["images", "attack"], by_case(answer), INTERVALS)]


def _verdicts(runs: Sequence[StrategyRun]) -> list[str]:
    """What was said of networks, with a backdoor and without; `runs` has one for each network."""
    if not runs:
        return []
    attacked = [run for run in runs if run.attacked]
    clean = [run for run in runs if not run.attacked]
    counts = []
    if attacked:
        counts.append(f"{signs_found(attacked)} networks with a backdoor")
    if clean:
        counts.append(f"{signs_found(clean)} without one")
    sentence = f"Signs of one are found in {', and in '.join(counts)}."
    paragraphs = ["## Is there a backdoor?", sentence]
    if attacked:
        paragraphs.append(_table(["images", "attack"], by_case(attacked), VERDICTS))
    return paragraphs


def _unharmed(clean: Sequence[StrategyRun]) -> list[str]:
    """What strategies cost networks without a backdoor."""
    if not clean:
        return []
    groups = {}
    for case in dict.fromkeys(run.case for run in clean):
        strategies = by_name(run for run in clean if run.case == case).values()
        for runs in sorted(strategies, key=lambda runs: summaries.rank(runs, summaries.NO_SEEDS)):
            groups[case, marked_name(runs)] = runs
    return [
        "## Networks without a backdoor",
        "What it costs a network that no attack was trained into.",
        _table(["images", "strategy"], groups, UNHARMED),
    ]


def _variants(variants: Strategies, usual: Strategies) -> list[str]:
    """Strategies with other settings, each above the strategy itself on the same networks."""
    if not variants:
        return []
    rows = []
    for runs in variants.values():
        networks = {run.network for run in runs}
        rows.append([marked_name(runs), *totals(runs)])
        same = [run for run in usual.get(runs[0].strategy, []) if run.network in networks]
        if same:
            rows.append([f"{marked_name(same)}, on the same", *totals(same)])
    legend = (
        "Strategies with other settings, each with the strategy itself on the same networks below "
        "it. A case counts by the seeds that are there."
    )
    return ["## What was tried beside it", wrap(legend), table(["strategy", *TOTALS], rows)]


def _table(
    heads: Sequence[str],
    groups: Mapping[tuple[str, str], Sequence[StrategyRun]],
    columns: Mapping[str, Column],
) -> str:
    """A row for each group of runs, with its two names."""
    rows = [[*names, *(show(runs) for show in columns.values())] for names, runs in groups.items()]
    return table([*heads, *columns], rows, "ll")
