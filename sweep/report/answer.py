"""The sentences on top: which strategy is best here, what it costs, and whether that is chance.

"Best" is by true attack success, which no defender knows; accuracy that may be paid is measured on
clean validation images, which a defender has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.evaluation.significance import TOLERANCE, paired
from sweep.report.aggregate import Rate, Versus, in_every_seed, versus
from sweep.report.data import ASR, CLEAN, COST, SEEDS, VALID, Group, Panel, Report
from sweep.results.paired import Hits

#: Points of clean validation accuracy that may be paid; None: any. The first is the project's aim.
BUDGETS = (0.02, 0.05, 0.1, None)
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
    """What one panel says: a headline, sentences below it, and the choice for each budget."""

    headline: str
    sentences: Sequence[str]
    choices: Sequence[Choice]


def answer(report: Report, panel: Panel, hits: Sequence[Hits | None]) -> Answer:
    """The answer of one panel; `hits` say which images each cell hits, where that is known."""
    groups = [report.groups[number] for number in panel.groups]
    defenders = [group for group in groups if group.defends]
    if not defenders:
        return _unknown(groups)
    base = panel.badnet.get(VALID)
    choices = [_choose(report, defenders, budget, base, hits) for budget in BUDGETS]
    chosen = next(choice for choice in choices if choice.best is not None)
    assert chosen.best is not None
    before = panel.badnet[ASR].value if ASR in panel.badnet else None
    headline = _headline(chosen, choices[0])
    sentences = [_cost(chosen, panel), _chance(chosen)]
    if before is not None and chosen.best.rates[ASR].value > REMOVED:
        sentences.append(f"Of B itself attack success is {percent(before)} %.")
    oracles = [group for group in groups if group.oracle and group.attacked]
    if oracles:
        sentences.append(_bound(oracles, base, chosen.budget))
    return Answer(headline, [sentence for sentence in sentences if sentence], choices)


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
        return Answer(
            "No cell has any rates",
            ["All were skipped, failed, or are missing; the reasons stand below."],
            [],
        )
    if all(group.oracle for group in measured if group.attacked) and any(
        group.attacked for group in measured
    ):
        return Answer(
            "No defence was tried here, only oracles",
            ["They rank channels with poisoned images, which no defender has."],
            [],
        )
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
    alike = sum(one.chance for one in compared)
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
        other = second[seed]
        if one is None or other is None:
            return None
        known = one.images.get("poisoned")
        if known is None or known != other.images.get("poisoned"):
            return None
        lost, gained, p = paired(one.hits[ASR], other.hits[ASR])
        tests.append((float(gained - lost), p))
        images = known[0]
    return in_every_seed(tests), images, len(tests)


def _seed(report: Report, place: int) -> tuple[str, ...]:
    return tuple(report.entries[place].settings.get(key, "") for key in SEEDS)


def _headline(chosen: Choice, aim: Choice) -> str:
    best = chosen.best
    assert best is not None
    left = best.rates[ASR]
    if chosen is aim and left.value <= REMOVED:
        return f"{best.label} removes the backdoor here: {percent(left.value)} % of attacks succeed"
    if left.value <= REMOVED:
        cost = best.rates[COST].value if COST in best.rates else 0.0
        return (
            f"{best.label} removes the backdoor here, at a price: {100 * cost:.2f} points of clean "
            f"accuracy"
        )
    return (
        f"No strategy here removes the backdoor; {best.label} does best, and "
        f"{percent(left.value)} % of attacks succeed"
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
    return (
        f"Of the defences {_among(chosen.budget)}, {best.label} leaves the least attack success: "
        f"{with_interval(best.rates[ASR])}, at clean accuracy {with_interval(clean)}{cost}{seeds}."
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
        how = f"their 95 % intervals {'overlap' if test.chance else 'do not overlap'}"
    else:
        every = f" in each of {test.seeds} seeds" if test.seeds > 1 else ""
        how = f"McNemar on the same {test.images:,} poisoned images{every}, p = {p_value(test.p)}"
        if chosen.others > 1:
            how += f", raised for {chosen.others} comparisons"
    more = ""
    if chosen.others > 1:
        more = (
            f" From {chosen.alike} of the {chosen.others} others it cannot be told apart."
            if chosen.alike
            else f" It differs from all {chosen.others} others by more than chance."
        )
    return f"{lead} {verdict} ({how}).{more}"


def p_value(p: float) -> str:
    """A p as it is printed.

    >>> p_value(0.031), p_value(1e-120)
    ('0.031', '<1e-99')
    """
    return "<1e-99" if p < 1e-99 else f"{p:.2g}"


def _bound(oracles: Sequence[Group], base: Rate | None, budget: float | None) -> str:
    affordable = [group for group in oracles if _affordable(group, budget, base)] or oracles
    best = min(affordable, key=lambda group: group.rates[ASR].value)
    return (
        f"An oracle, which is shown poisoned images and is no defence, gets to "
        f"{percent(best.rates[ASR].value)} % ({best.label}, clean "
        f"{percent(best.rates[CLEAN].value)} %)."
    )
