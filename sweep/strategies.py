"""All orders, stops, repairs, detectors and probes as a table, and as a page.

    python -m sweep.strategies > docs/strategies.md

Made from docstrings: a sentence, then paragraphs, some with a heading as in "Source: ...".
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable

from sweep import detectors, orders, probes, repairs, stops
from sweep.pruning.requirements import is_oracle, needs_of

WIDTH, ARXIV = 79, r"arXiv\s(\d{4}\.\d{5})"
LETTERS = dict(preactivations="Z", norm="BN")  # other needs: the first letter of their name
LEGEND = (
    "Needs: A activations, Z values before the activation, W weights, BN BatchNormalization, "
    "L labels, G gradients, T training, P poisoned images, which no defender has: an ORACLE is no "
    "defence."
)
PAGE = """# Strategies

Made from the code by `python -m sweep.strategies > docs/strategies.md`.

## Orders: which channel first

`prune/order=NAME`. An order gives every channel c a score, and the lowest is pruned first; where
the highest goes first, the score is negated. `a_c` is the feature map of the channel, `z_c` the
same before its activation, `W_c` its filter without bias; D are the clean validation images.

| order | which channel first | needs | for | arXiv |
|---|---|---|---|---|
{table}

{legend}
{orders}
## Stops: how many channels

`prune/stop=NAME`. A stop reads the pruning curve on clean validation images, and nothing else. It
chooses one of the curve's steps, those of `prune.step`.
{stops}
## Repairs: what is done then

`repair=[NAME,NAME]`, in turn. A repair is given the network and clean validation images with their
labels, and gives a new network, in which what was pruned is pruned still. Its settings are keys of
`repair.NAME`, see `conf/repair/`.
{repairs}
## Detectors: which images are poisoned

`detector=NAME`, beside GoodNet. A detector gives every image a score, the higher the more suspect,
and may learn from half of the clean validation images; the others, those that no repair has
learned, set its threshold. p_B(c|x) is the probability that B gives class c of image x.
{detectors}
## Probes: what an attack success rate does not tell

`probe=[NAME,NAME]`, beside a cell. A probe measures B' with the means of an attacker, who has
poisoned images; it is no defence, changes nothing of B', and no choice of a defender sees it. Its
settings are keys of `probe.NAME`, see `conf/probe/`.
{probes}"""


def listing() -> str:
    """All orders, stops, repairs, detectors and probes for a terminal, lines of `WIDTH` at most."""
    lines = ["prune/order=NAME: which channel first, what it needs, for whom, arXiv", ""]
    for order in orders.CATALOGUE:
        summary, needs, who, source = _row(order)
        first, *more = textwrap.wrap(summary, 33)
        lines.append(f"{order.__name__:<17}{first:<34}{needs:<6} {who:<9} {source:.10}".rstrip())
        lines += [" " * 17 + line for line in more]
    lines += ["", *textwrap.wrap(LEGEND, WIDTH), "", "prune/stop=NAME: how many channels", ""]
    lines += _summaries(_stops())
    lines += ["", "repair=[NAME,NAME]: what is done to the pruned network, in turn", ""]
    lines += _summaries(repairs.CATALOGUE)
    lines += ["", "detector=NAME: which images are poisoned, beside GoodNet", ""]
    lines += _summaries(detectors.CATALOGUE)
    lines += ["", "probe=[NAME,NAME]: what an attack success rate does not tell of B'", ""]
    return "\n".join(lines + _summaries(probes.CATALOGUE))


def markdown() -> str:
    """All of them as a page, each with what its docstring says."""
    rows = [
        " | ".join([f"| [{order.__name__}](#{order.__name__})", *_row(order)])
        for order in orders.CATALOGUE
    ]
    return PAGE.format(
        table=" |\n".join(rows) + " |",
        legend=textwrap.fill(LEGEND, 100),
        orders="".join(_section(order) for order in orders.CATALOGUE),
        stops="".join(_section(stop) for stop in _stops()),
        repairs="".join(_section(repair) for repair in repairs.CATALOGUE),
        detectors="".join(_section(detector) for detector in detectors.CATALOGUE),
        probes="".join(_section(probe) for probe in probes.CATALOGUE),
    )


def _summaries(strategies: Iterable[Callable]) -> list[str]:
    """The name and the first sentence of each, in lines."""
    lines = []
    for strategy in strategies:
        first, *more = textwrap.wrap(_paragraphs(strategy)[0], WIDTH - 18)
        lines += [f"{strategy.__name__:<18}{first}", *(" " * 18 + line for line in more)]
    return lines


def _stops() -> list[Callable]:
    """The stops, as they stand in their module."""
    functions = filter(inspect.isfunction, vars(stops).values())
    return [f for f in functions if [*inspect.signature(f).parameters, ""][0] == "curve"]


def _paragraphs(strategy: Callable) -> list[str]:
    return [
        part
        for part in (inspect.getdoc(strategy) or "").split("\n\n")
        if not part.startswith(">>>")
    ]


def _row(order: Callable) -> list[str]:
    """Which channel first, the letters of its needs, for whom, and its numbers at arXiv."""
    summary, *more = _paragraphs(order)
    needs = sorted(LETTERS.get(need, need[0].upper()) for need in needs_of(order))
    papers = ", ".join(dict.fromkeys(re.findall(ARXIV, " ".join(more)))) or "-"
    who = ("defender", "ORACLE")[is_oracle(order)]
    return [summary.rstrip("."), " ".join(needs) or "-", who, papers]


def _section(strategy: Callable) -> str:
    """What its docstring says, the headings of its paragraphs bold, and its settings."""
    paragraphs = [f"### {strategy.__name__}", *_paragraphs(strategy)]
    parameters = [f"`{p}`" for p in inspect.signature(strategy).parameters.values()][1:]
    course = "those of `fine_tuning.FineTuning`"
    settings = [course if "**course" in parameter else parameter for parameter in parameters]
    paragraphs += [f"Settings: {', '.join(settings)}."] if settings else []
    page = "\n\n".join(re.sub(r"^([A-Z][a-z]+): ", r"**\1:** ", part) for part in paragraphs)
    return "\n" + re.sub(ARXIV, r"[arXiv \1](https://arxiv.org/abs/\1)", page) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
