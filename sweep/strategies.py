"""All orders and stops as a table, and as a page: `python -m sweep.strategies > FILE`.

Made from docstrings: a sentence, then paragraphs, some with a heading as in "Source: ...".
"""

import inspect
import re
import textwrap
from collections.abc import Callable
from types import ModuleType

from sweep import learned, orders, stops
from sweep.evidence import is_oracle, needs_of

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

`prune/stop=NAME`. A stop reads the pruning curve on clean validation images, and nothing else.
{stops}"""


def text() -> str:
    """All orders and stops for a terminal, no line longer than `WIDTH`."""
    lines = ["prune/order=NAME: which channel first, what it needs, for whom, arXiv", ""]
    for order in _orders():
        summary, needs, who, source = _row(order)
        first, *more = textwrap.wrap(summary, 33)
        lines.append(f"{order.__name__:<17}{first:<34}{needs:<6} {who:<9} {source:.10}".rstrip())
        lines += [" " * 17 + line for line in more]
    lines += ["", *textwrap.wrap(LEGEND, WIDTH), "", "prune/stop=NAME: how many channels", ""]
    for stop in _strategies(stops, "curve"):
        first, *more = textwrap.wrap(_paragraphs(stop)[0], WIDTH - 18)
        lines += [f"{stop.__name__:<18}{first}", *(" " * 18 + line for line in more)]
    return "\n".join(lines)


def markdown() -> str:
    """All orders and stops as a page, each with what its docstring says."""
    told = _orders()
    rows = [" | ".join([f"| [{o.__name__}](#{o.__name__})", *_row(o)]) for o in told]
    return PAGE.format(
        table=" |\n".join(rows) + " |",
        legend=textwrap.fill(LEGEND, 100),
        orders="".join(map(_section, told)),
        stops="".join(map(_section, _strategies(stops, "curve"))),
    )


def _orders() -> list[Callable]:
    return [*_strategies(orders, "evidence"), *_strategies(learned, "evidence")]


def _strategies(module: ModuleType, first: str) -> list[Callable]:
    """The functions of `module` whose first parameter is called `first`, as they stand there."""
    functions = filter(inspect.isfunction, vars(module).values())
    return [f for f in functions if [*inspect.signature(f).parameters, ""][0] == first]


def _paragraphs(strategy: Callable) -> list[str]:
    return [part for part in inspect.getdoc(strategy).split("\n\n") if not part.startswith(">>>")]


def _row(order: Callable) -> list[str]:
    """Which channel first, the letters of its needs, for whom, and its numbers at arXiv."""
    summary, *more = _paragraphs(order)
    needs = sorted(LETTERS.get(need, need[0].upper()) for need in needs_of(order))
    papers = ", ".join(dict.fromkeys(re.findall(ARXIV, " ".join(more)))) or "-"
    who = ("defender", "ORACLE")[is_oracle(order)]
    return [summary.rstrip("."), " ".join(needs) or "-", who, papers]


def _section(strategy: Callable) -> str:
    """What its docstring says, the headings of its paragraphs bold, and its settings."""
    told = [f"### {strategy.__name__}", *_paragraphs(strategy)]
    settings = [f"`{p}`" for p in inspect.signature(strategy).parameters.values()][1:]
    told += [f"Settings: {', '.join(settings)}."] if settings else []
    page = "\n\n".join(re.sub(r"^([A-Z][a-z]+): ", r"**\1:** ", part) for part in told)
    return "\n" + re.sub(ARXIV, r"[arXiv \1](https://arxiv.org/abs/\1)", page) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
