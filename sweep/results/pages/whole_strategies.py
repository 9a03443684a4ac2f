"""What whole strategies are worth on networks backdoored for it: the part of `experiment=answer`.

Each section is a list of paragraphs, empty where nothing of it was measured.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from statistics import fmean

from sweep.results.pages import markdown, summaries
from sweep.results.pages.markdown import NONE, ends, filled, interval, spread, table
from sweep.results.pages.strategy_runs import ALARMS, LOSS, STRATEGY_PARAM, SUCCESS, StrategyRun
from sweep.results.pages.summaries import (
    ALARM,
    ANSWER,
    ASR,
    ATTACK,
    B_ASR,
    CLEAN,
    STANDING,
    by_case,
    by_name,
    counts,
    marked,
    points,
    rates,
    signs,
    standing,
    through,
)
from sweep.terminal import percent

#: What the page says of these tables, to be read with them.
LEGEND = """\
- **points lost**: of clean test accuracy, from B to B'; below 0 B' has more.
- **cases** and **networks**: how many of those measured reach the aim, by B' or by G. A case is one
  attack on one kind of images, with each seed on another network; it reaches the aim with every
  seed, and not as long as one is missing. **reached**: with how many; in brackets by what, where
  B' and G do not both.
- **signs found**: of how many networks B was said, from clean images alone, that there are signs of
  a backdoor, by its newest cell with a verdict, whatever the strategy; of those only where a class
  that stands out was compared with a network learned anew. Where there is none, these are false
  alarms.
- **B' robust**: poisoned images to which B' gives their true class.
- **time**: the median cell, with the verdict where there is one, without the training of B. What
  earlier cells kept is not paid again.
- In brackets: the lowest and the highest network; in the table of intervals these."""

#: What may not be concluded from them.
LIMITS = """\
- Under "The answer" the cases are these attacks on these images, and whoever made the answer saw
  attack success on the networks of seed 0 while trying ideas; those of other seeds were first seen
  when all was set. From where a class stands out was set looking at the networks of signs, all
  seeds. Another attack, or one that is made against the answer, may get through.
- That B' or G reaches the aim does not tell a defender which of the two to use."""

Strategies = Mapping[str, Sequence[StrategyRun]]
Column = Callable[[Sequence[StrategyRun]], str]


def _spread(metric: str, show: Callable[[float], str] = percent) -> Column:
    """A column: mean, lowest to highest of a metric."""
    return lambda runs: spread(rates(runs, metric), show)


def _interval(metric: str) -> Column:
    """A column: mean of a metric, and its interval."""
    return lambda runs: interval([run.cell for run in runs], metric)


def _number(count: float) -> str:
    return f"{count:.3g}"


B = {"B clean": _spread(f"badnet/{CLEAN}"), "B ASR": _spread(B_ASR)}
LOST = {"B' clean": _spread(f"repaired/{CLEAN}"), "points lost": summaries.lost}

#: The columns of tables, and what they show of some runs.
CASES = B | LOST | {"B' ASR": _spread(ASR), "G ASR": _spread(f"goodnet/{ATTACK}")}
CASES |= {"G alarm": _spread(ALARM)}
INTERVALS = {
    "B' clean": _interval(f"repaired/{CLEAN}"),
    "B' ASR": _interval(ASR),
    "B' robust": _interval("repaired/robust_accuracy"),
    "G clean": _interval(f"goodnet/{CLEAN}"),
    "G ASR": _interval(f"goodnet/{ATTACK}"),
    "G alarm": _interval(ALARM),
}
VERDICTS = {"signs found": signs, "classes that stand out": _spread("inspect/suspects", _number)}
UNHARMED = {"networks": lambda runs: str(len(runs))} | B | LOST | {"G alarm": _spread(ALARM)}


def part(tried: Sequence[StrategyRun]) -> str:
    """Every strategy on every case, the answer before all others, in Markdown."""
    measured = [run for run in tried if run.measured]
    attacked = [run for run in measured if run.attacked]
    seeds = _seeds(attacked)
    ranked = sorted(by_name(attacked).items(), key=lambda item: summaries.rank(item[1], seeds))
    usual = {name: runs for name, runs in ranked if not runs[0].variant}
    variants = {name: runs for name, runs in ranked if runs[0].variant}
    ours = usual.get(ANSWER, [])
    sections = [
        ["## The answer", markdown.commands(summaries.sweeps(tried)), _head(tried)],
        _strategies(usual, seeds),
        markdown.skipped([run.cell for run in tried if not run.measured], STRATEGY_PARAM),
        _cases(ours, seeds),
        *(_compared(case, usual, seeds) for case in dict.fromkeys(run.case for run in attacked)),
        _intervals(ours),
        _verdicts(summaries.judged(measured)),
        _unharmed([run for run in measured if not run.attacked]),
        _variants(variants, usual),
    ]
    return "\n\n".join(paragraph for section in sections for paragraph in section)


def _seeds(attacked: Sequence[StrategyRun]) -> Set[str]:
    """The seeds that every case should have: those of the answer, or of all strategies."""
    usual = [run for run in attacked if not run.variant]
    return {run.seed for run in usual if run.name == ANSWER} or {t.seed for t in usual}


def _head(tried: Sequence[StrategyRun]) -> str:
    """Where the numbers come from."""
    sweeps = summaries.sweeps(tried)

    def each(words: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(words))

    rows = [
        ["date", each(map(markdown.date, sweeps))],
        ["commit", each(map(markdown.commit, sweeps))],
        [", ".join(markdown.VERSIONS), each(map(markdown.versions, sweeps))],
        ["seeds of B", ", ".join(sorted({run.seed for run in tried}, key=int))],
        ["networks B", str(len({(run.attacked, *run.network) for run in tried}))],
        ["cells", str(len(tried))],
        ["skipped cells", str(sum(not run.measured for run in tried))],
    ]
    return table(["", "all cases"], rows, "ll")


def _strategies(usual: Strategies, seeds: Set[str]) -> list[str]:
    """The aim, and how far each strategy reaches it."""
    if not usual:
        return []
    aim = (
        f"**The aim**: an ASR of at most {100 * SUCCESS:g} % at a clean test accuracy at most "
        f"{100 * LOSS:g} points below B's: for B', or for G, if it flags at most "
        f"{100 * ALARMS:g} % of the clean test images."
    )
    reached = [_reached(usual[ANSWER], seeds)] if ANSWER in usual else []
    paragraphs = [aim, *reached, *_incomparable(usual)]
    rows = [[marked(runs), *standing(runs, seeds)] for runs in usual.values()]
    return [*map(filled, paragraphs), table(["strategy", *STANDING], rows)]


def _reached(ours: Sequence[StrategyRun], seeds: Set[str]) -> str:
    """How far the answer reaches the aim, and by which of B' and G."""
    cases, networks = counts(ours, seeds)
    by_repaired = counts(ours, seeds, StrategyRun.by_repaired)
    by_goodnet = counts(ours, seeds, StrategyRun.by_goodnet)
    return (
        f"`{ANSWER}` reaches it in {cases} of {len(by_case(ours))} cases with all seeds, in "
        f"{networks} of {len(ours)} networks: by B' in {by_repaired[0]} and {by_repaired[1]}, by G "
        f"in {by_goodnet[0]} and {by_goodnet[1]}."
    )


def _incomparable(usual: Strategies) -> list[str]:
    """Networks on which strategies do not compare: not the same for all, or with no attack in B."""
    by_network: dict[str, list[StrategyRun]] = {}
    everywhere = (run for runs in usual.values() for run in runs)
    for run in sorted(everywhere, key=lambda run: run.place):
        by_network.setdefault("{} {} seed {}".format(*run.network), []).append(run)
    unlike, harmless = [], []
    for name, runs in by_network.items():
        digests = {markdown.tag([run.cell], "network_digest") for run in runs}
        if len(digests) > 1:
            unlike.append(name)
        if any(rate <= SUCCESS for rate in rates(runs, B_ASR)):
            harmless.append(name)
    by_reason = {
        "Not the same B for all strategies": unlike,
        "No attack to remove from B": harmless,
    }
    return [f"{words}: {', '.join(names)}." for words, names in by_reason.items() if names]


def _cases(ours: Sequence[StrategyRun], seeds: Set[str]) -> list[str]:
    """The answer on each case, over the seeds."""
    if not ours:
        return []
    columns = {**CASES, "reached": lambda case: summaries.by_which(case, seeds)}
    return ["### The answer, case by case", _table(["images", "attack"], by_case(ours), columns)]


def _compared(case: str, usual: Strategies, seeds: Set[str]) -> list[str]:
    """All strategies on the images of one case: what they cost, and what they leave of attacks."""
    case_runs = [run for runs in usual.values() for run in runs if run.case == case]
    attacks = dict.fromkeys(t.attack for t in sorted(case_runs, key=lambda run: run.place))

    def means(runs: Sequence[StrategyRun]) -> str:
        left = percent(fmean(successes)) if (successes := rates(runs, ASR)) else NONE
        text = f"{points(fmean(run.lost for run in runs))} / {left}"
        return f"**{text}**" if through(runs, seeds) else text

    def ranges(runs: Sequence[StrategyRun]) -> str:
        lost = ends([run.lost for run in runs], points, " to ")
        return f"{lost} / {ends(rates(runs, ASR))}"

    def all_of(tell: Column) -> str:
        rows = []
        for runs in by_name(case_runs).values():
            cases = by_case(runs)
            texts = [tell(cases[case, a]) if (case, a) in cases else NONE for a in attacks]
            rows.append([marked(runs), *texts])
        return table(["strategy", *attacks], rows)

    if not case_runs:
        return []
    legend = "Points lost / ASR of B'; bold where B' or G reaches the aim with all seeds."
    several = ["Lowest to highest seed of the same:", all_of(ranges)] if len(seeds) > 1 else []
    return [f"### Every strategy on {case}", legend, all_of(means), *several]


def _intervals(ours: Sequence[StrategyRun]) -> list[str]:
    """The answer's rates on each case, with what so many test images can tell of them."""
    if not ours:
        return []
    heading = "### The answer's rates, with 95 % intervals"
    return [heading, _table(["images", "attack"], by_case(ours), INTERVALS)]


def _verdicts(judged: Sequence[StrategyRun]) -> list[str]:
    """What was said of networks, with a backdoor and without."""
    attacked = [run for run in judged if run.attacked]
    clean = [run for run in judged if not run.attacked]
    texts = [f"{signs(attacked)} networks with a backdoor"] if attacked else []
    texts += [f"{signs(clean)} without one"] if clean else []
    if not texts:
        return []
    parts = ["### Is there a backdoor?", f"Signs of one are found in {', and in '.join(texts)}."]
    return parts + ([_table(["images", "attack"], by_case(attacked), VERDICTS)] if attacked else [])


def _unharmed(clean: Sequence[StrategyRun]) -> list[str]:
    """What strategies cost networks without a backdoor."""
    if not clean:
        return []
    groups = {}
    for case in dict.fromkeys(run.case for run in clean):
        case_runs = by_name(run for run in clean if run.case == case)
        for runs in sorted(case_runs.values(), key=lambda runs: summaries.rank(runs, set())):
            groups[case, marked(runs)] = runs
    return [
        "### Networks without a backdoor",
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
        same = [t for t in usual.get(runs[0].strategy, []) if t.network in networks]
        rows.append([marked(runs), *standing(runs)])
        rows += [[f"{marked(same)}, on the same", *standing(same)]] if same else []
    legend = (
        "Strategies with other settings, each with the strategy itself on the same networks below "
        "it. A case counts by the seeds that are there."
    )
    return ["### What was tried beside it", filled(legend), table(["strategy", *STANDING], rows)]


def _table(
    heads: Sequence[str],
    groups: Mapping[tuple[str, str], Sequence[StrategyRun]],
    columns: Mapping[str, Column],
) -> str:
    """A row for each group of runs, with its two names."""
    rows = [[*names, *(tell(runs) for tell in columns.values())] for names, runs in groups.items()]
    return table([*heads, *columns], rows, "ll")
