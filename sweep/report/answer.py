"""The sentences on top: which strategy is best here, what it costs, and whether that is chance.

"Best" is by true attack success, which no defender knows; accuracy that may be paid is measured on
clean validation images, which a defender has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.evaluation.significance import TOLERANCE, paired
from sweep.report.aggregate import LEVEL, Rate, Versus, in_every_seed, overlap, versus
from sweep.report.data import ASR, CLEAN, COST, VALID, Group, Panel, Report
from sweep.report.settings import SEEDS
from sweep.results.paired import OF_BADNET, Hits
from sweep.results.pick import LARGEST_DROP
from sweep.results.searches import pick_of

#: Points of clean validation accuracy that may be paid; None: any. The first is the project's aim.
LARGEST = 0.1
BUDGETS = (LARGEST_DROP, 0.05, LARGEST, None)
REMOVED = 0.05  # attack success at which a backdoor is called removed


@dataclass(frozen=True)
class Choice:
    """The best strategy within a budget, if there is one, and how it stands to the next one.

    `alike`: how many of the `others` within the budget do not differ from it by more than chance.
    """

    budget: float | None
    best: Group | None
    following: Group | None
    versus: Versus | None
    alike: int
    others: int


@dataclass(frozen=True)
class Answer:
    """What one panel says: a headline, sentences below it, and the choice for each budget.

    `named`: the strategies that the sentences name.
    """

    headline: str
    sentences: Sequence[str]
    choices: Sequence[Choice]
    named: Sequence[Group] = ()


def answer(report: Report, panel: Panel, hits: Sequence[Hits | None]) -> Answer:
    """The answer of one panel; `hits` say which images each cell hits, where that is known."""
    groups = [report.groups[number] for number in panel.groups]
    defenders = [group for group in groups if group.defends]
    if not defenders:
        return _unknown(groups)
    base = panel.badnet.get(VALID)
    choices = [_choose(report, defenders, budget, base, hits) for budget in BUDGETS]
    chosen = _most_telling(choices)
    against = _against_badnet(report, chosen, panel, hits)
    sentences = [_cost(chosen, panel), _chance(chosen), against]
    named = [chosen.best, chosen.following]
    bound = _bound(groups, base, chosen)
    if bound is not None:
        named.append(bound)
        sentences.append(
            f"An oracle, which is shown poisoned images and is no defence, gets to "
            f"{percent(bound.rates[ASR].value)} % ({bound.label}, clean "
            f"{percent(bound.rates[CLEAN].value)} %)."
        )
    entries = [report.entries[place] for group in groups for place in group.cells]
    of_one = {entry.sweep.info.run_id if entry.whole and entry.sweep else "" for entry in entries}
    sweep = entries[0].sweep if len(of_one) == 1 and "" not in of_one else None
    picked = pick_of(sweep, [entry.cell for entry in entries])
    if picked.cell is not None:
        sentences.append(picked.sentence)
    headline = _headline(chosen, choices[-1])
    there = [group for group in named if group is not None]
    return Answer(headline, list(filter(None, sentences)), choices, there)


def _most_telling(choices: Sequence[Choice]) -> Choice:
    """The smallest budget that removes the backdoor; else the largest that has a defence."""
    limited = [choice for choice in choices if choice.budget is not None]
    removing = [choice for choice in limited if _removed(choice)]
    possible = [choice for choice in limited if choice.best is not None]
    return [*removing[:1], *possible[::-1], choices[-1]][0]


def percent(value: float) -> str:
    """A rate in %, two decimals, as elsewhere in this project."""
    return f"{100 * value:.2f}"


def with_interval(one: Rate) -> str:
    """A rate in % with its interval, where it has one."""
    if one.low is None or one.high is None:
        return f"{percent(one.value)} %"
    return f"{percent(one.value)} % [{percent(one.low)}, {percent(one.high)}]"


def within(budget: float | None) -> str:
    """A budget in words."""
    return "at any cost" if budget is None else f"at most {100 * budget:.0f} points below B"


def _unknown(groups: Sequence[Group]) -> Answer:
    measured = [group for group in groups if CLEAN in group.rates]
    if not measured:
        sentence = "All were skipped, failed, or are missing; the reasons stand below."
        return Answer("No cell has any rates", [sentence], [])
    attacked = [group for group in measured if group.attacked]
    if attacked and all(group.oracle for group in attacked):
        sentence = "They rank channels with poisoned images, which no defender has."
        return Answer("No defence was tried here, only oracles", [sentence], [])
    best = max(measured, key=lambda group: group.rates[CLEAN].value)
    sentences = [
        "There are no poisoned images, so nobody can say which strategy is best.",
        f"{best.label} keeps the most clean accuracy: {with_interval(best.rates[CLEAN])}.",
    ]
    return Answer("What is left of the attack is not known", sentences, [])


def _choose(
    report: Report,
    defenders: Sequence[Group],
    budget: float | None,
    base: Rate | None,
    hits: Sequence[Hits | None],
) -> Choice:
    affordable = [group for group in defenders if _affordable(group, budget, base)]
    affordable.sort(key=lambda group: (group.rates[ASR].value, -group.rates[CLEAN].value))
    if not affordable:
        return Choice(budget, None, None, None, 0, 0)
    best, *others = affordable
    tests = [_test(report, best, other, hits) for other in others]
    compared = versus(best.rates[ASR], [other.rates[ASR] for other in others], tests)
    alike = sum(test.chance for test in compared)
    following = others[0] if others else None
    return Choice(budget, best, following, compared[0] if others else None, alike, len(others))


def _affordable(group: Group, budget: float | None, base: Rate | None) -> bool:
    if budget is None:
        return True
    if base is None or VALID not in group.rates:
        return False
    return base.value - group.rates[VALID].value <= budget + TOLERANCE


def _test(
    report: Report, a: Group, b: Group, hits: Sequence[Hits | None]
) -> tuple[float, int, int] | None:
    """McNemar's p between two groups in every seed, images, seeds; None where images differ."""
    first = {_seed(report, place): hits[place] for place in a.cells}
    second = {_seed(report, place): hits[place] for place in b.cells}
    if first.keys() != second.keys():
        return None
    tests, images = [], 0
    for seed, one in first.items():
        test = _paired(one, ASR, second[seed], ASR)
        if test is None:
            return None
        difference, p, images = test
        tests.append((difference, p))
    return in_every_seed(tests), images, len(tests)


def _paired(
    a: Hits | None, a_metric: str, b: Hits | None, b_metric: str
) -> tuple[float, float, int] | None:
    """How many more poisoned images b hits, McNemar's p, and of how many; None of other images."""
    if a is None or b is None:
        return None
    known = a.images.get("poisoned")
    if known is None or known != b.images.get("poisoned"):
        return None
    lost, gained, p = paired(a.hits[a_metric], b.hits[b_metric])
    return float(gained - lost), p, known[0]


def _seed(report: Report, place: int) -> tuple[str, ...]:
    return tuple(report.entries[place].settings.get(key, "") for key in SEEDS)


def _removed(choice: Choice) -> bool:
    return choice.best is not None and choice.best.rates[ASR].value <= REMOVED


def _headline(chosen: Choice, at_any_cost: Choice) -> str:
    best = chosen.best
    assert best is not None
    left = percent(best.rates[ASR].value)
    if chosen.budget is not None and _removed(chosen):
        cost = best.rates[COST].value if COST in best.rates else 0.0
        price = f" for {100 * cost:.2f} points of clean accuracy"
        return f"{best.label} removes the backdoor here{price if cost > 0 else ''}"
    limit = f" for {100 * LARGEST:.0f} points of clean accuracy or less"
    return (
        f"No defence here removes the backdoor{limit if _removed(at_any_cost) else ''}: "
        f"after the best, {best.label}, {left} % of attacks succeed"
    )


def _cost(chosen: Choice, panel: Panel) -> str:
    best = chosen.best
    assert best is not None
    clean = best.rates[CLEAN]
    cost = ""
    if CLEAN in panel.badnet:
        points = 100 * (panel.badnet[CLEAN].value - clean.value)
        cost = f", {abs(points):.2f} points {'below' if points >= 0 else 'above'} B"
    seeds = f" (mean of {len(best.cells)} seeds)" if len(best.cells) > 1 else ""
    control = ", the control that knows nothing," if best.control else ""
    return (
        f"Of the defences {_among(chosen.budget)}, {best.label}{control} leaves the least attack "
        f"success: {with_interval(best.rates[ASR])}, at clean accuracy {with_interval(clean)}"
        f"{cost}{seeds}."
    )


def _among(budget: float | None) -> str:
    if budget is None:
        return "at any cost"
    return f"that cost at most {100 * budget:.0f} points of clean validation accuracy"


def _chance(chosen: Choice) -> str:
    following, test = chosen.following, chosen.versus
    if following is None or test is None:
        return "It is the only one, so there is none to compare it with."
    lead = f"Its lead over the next, {following.label} ({percent(following.rates[ASR].value)} %),"
    verdict = "is not more than chance" if test.chance else "is more than chance"
    if test.p is None:
        reason = f"their 95 % intervals {'overlap' if test.chance else 'do not overlap'}"
    else:
        every = f" in each of {test.seeds} seeds" if test.seeds > 1 else ""
        reason = f"McNemar on the same {test.images:,} poisoned images{every}, {p_value(test.p)}"
        if chosen.others > 1:
            reason += f", raised for {chosen.others} comparisons"
    more = ""
    if chosen.others > 1:
        more = (
            f" From {chosen.alike} of the {chosen.others} others it cannot be told apart."
            if chosen.alike
            else f" It differs from all {chosen.others} others by more than chance."
        )
    return f"{lead} {verdict} ({reason}).{more}"


def _against_badnet(
    report: Report, chosen: Choice, panel: Panel, hits: Sequence[Hits | None]
) -> str:
    """What B itself does, and where the attack is left whether even the best changes that."""
    best = chosen.best
    if best is None or ASR not in panel.badnet:
        return ""
    left, before = best.rates[ASR], panel.badnet[ASR]
    of_badnet = f"Of B itself attack success is {with_interval(before)}"
    if left.value <= REMOVED:
        return f"{of_badnet}."
    tests = [_paired(hits[place], OF_BADNET, hits[place], ASR) for place in best.cells]
    known = [test for test in tests if test is not None]
    if known and len(known) == len(tests):
        p = in_every_seed([(difference, p) for difference, p, _ in known])
        chance, reason = p >= LEVEL, f"McNemar, {p_value(p)}"
    elif left.known and before.known:
        chance = overlap(left, before)
        reason = f"95 % intervals {'overlap' if chance else 'do not overlap'}"
    else:
        return f"{of_badnet}."
    below = "not below that" if chance else "below that"
    return f"{of_badnet}; the best is {below} by more than chance ({reason})."


def p_value(p: float) -> str:
    """A p as it is printed.

    >>> p_value(0.031), p_value(1e-120)
    ('p = 0.031', 'p < 1e-99')
    """
    return "p < 1e-99" if p < 1e-99 else f"p = {p:.2g}"


def _bound(groups: Sequence[Group], base: Rate | None, chosen: Choice) -> Group | None:
    """The oracle that leaves the least within the budget, where that is less than the best does."""
    assert chosen.best is not None
    left = chosen.best.rates[ASR].value
    better = [
        group
        for group in groups
        if group.oracle
        and group.attacked
        and group.rates[ASR].value < left
        and _affordable(group, chosen.budget, base)
    ]
    return min(better, key=lambda group: group.rates[ASR].value, default=None)
