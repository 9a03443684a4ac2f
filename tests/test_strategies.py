"""The table of strategies is complete, fits a terminal, and the committed page is what it makes."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from sweep import orders, stops, strategies
from sweep.pruning import needs
from sweep.pruning.requirements import NEEDS, is_oracle

ROOT = Path(sweep.__file__).parents[1]
NAMES = {
    group: [path.stem for path in sorted((ROOT / "conf" / folder).glob("*.yaml"))]
    for group, folder in (
        ("order", "prune/order"),
        ("stop", "prune/stop"),
        ("repair", "repair"),
        ("detector", "detector"),
        ("probe", "probe"),
    )
}
ALL = [name for names in NAMES.values() for name in names]


@needs("poisoned", "norm")
def peeking(evidence, *, depth: int, width: float = 0.5):
    """Depth of the peek, highest first.

    Score: `x`, as
    it is.

    >>> 1 + 1
    2

    Source: Somebody, arXiv
    1234.56789, and again arXiv 1234.56789.
    """


def order_of(name: str) -> Callable:
    return getattr(orders, name)


def sections(page: str) -> dict[str, str]:
    names, texts = re.findall(r"^### (\w+)$", page, re.M), re.split(r"^### \w+$", page, flags=re.M)
    return dict(zip(names, texts[1:], strict=True))


def test_what_the_committed_page_tells_is_what_the_code_makes_of_it():
    command = "python -m sweep.strategies > docs/strategies.md"
    page, now = (ROOT / "docs" / "strategies.md").read_text(), strategies.markdown()
    assert command in page
    # a new strategy need not stand in the page yet
    assert set(page.splitlines()) <= set(now.splitlines()), f"stale; write it anew: {command}"
    told, anew = sections(page), sections(now)
    assert len(told) >= 20
    for name, text in told.items():
        old, new = (some.split("\n## ")[0].strip() for some in (text, anew[name]))
        assert old == new


def test_the_module_prints_the_page():
    command = [sys.executable, "-m", "sweep.strategies"]
    assert subprocess.check_output(command, text=True, cwd=ROOT) == strategies.markdown()


def test_no_line_is_wider_than_a_terminal_or_ends_in_a_blank():
    lines = strategies.listing().splitlines()
    assert max(map(len, lines)) <= 79
    assert [line for line in lines if line != line.rstrip()] == []


def test_whatever_can_be_chosen_is_told_once():
    told = [line.split(" ")[0] for line in strategies.listing().splitlines() if line[:1] != " "]
    for name in ALL:
        assert told.count(name) == 1
    assert sorted(sections(strategies.markdown())) == sorted(ALL)


@pytest.mark.parametrize("name", NAMES["order"])
def test_an_order_is_marked_as_what_it_is(name):
    order = order_of(name)
    (line,) = [line for line in strategies.listing().splitlines() if line.startswith(f"{name} ")]
    assert ("ORACLE" in line, "defender" in line) == (is_oracle(order), not is_oracle(order))
    (row,) = [row for row in strategies.markdown().splitlines() if row.startswith(f"| [{name}](")]
    assert row.count(" | ") == 4
    assert ("ORACLE" in row) == is_oracle(order)


@pytest.mark.parametrize("name", NAMES["order"])
def test_an_orders_docstring_says_which_goes_first_its_score_and_where_it_is_from(name):
    first, *paragraphs = inspect.getdoc(order_of(name)).split("\n\n")
    assert name == "random" or re.search(r"(lowest|highest) first", first)
    assert len(first) < 60
    assert first.endswith(".")
    headings = [paragraph.partition(":")[0] for paragraph in paragraphs]
    assert headings in (["Score", "Source"], ["Score", "Source", "Differs"])
    if "arXiv" in paragraphs[1]:
        assert headings[-1] == "Differs"


@pytest.mark.parametrize("name", NAMES["stop"])
def test_a_stops_first_line_is_one_sentence(name):
    first = inspect.getdoc(getattr(stops, name)).split("\n\n")[0]
    assert "\n" not in first
    assert first.endswith(".")


def test_every_need_has_a_letter_of_its_own_that_the_legend_tells():
    letters = [strategies.LETTERS.get(need, need[0].upper()) for need in NEEDS]
    assert len(set(letters)) == len(NEEDS)
    for letter in letters:
        assert re.search(rf"[:,] {letter} ", strategies.LEGEND)


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "CATALOGUE", (peeking,))


@pytest.mark.usefixtures("_alone")
def test_a_new_order_is_told_by_being_there():
    (line,) = [line for line in strategies.listing().splitlines() if line.startswith("peeking")]
    assert (
        line.split("  ", 1)[1].strip()
        == "Depth of the peek, highest first  BN P   ORACLE    1234.56789"
    )


@pytest.mark.usefixtures("_alone")
def test_a_section_holds_formula_source_and_settings_and_no_doctest():
    page = strategies.markdown()
    row = "| [peeking](#peeking) | Depth of the peek, highest first | BN P | ORACLE | 1234.56789 |"
    assert row in page
    link = "[arXiv 1234.56789](https://arxiv.org/abs/1234.56789)"
    assert (
        sections(page)["peeking"]
        .strip()
        .startswith(
            "Depth of the peek, highest first.\n\n**Score:** `x`, as\nit is.\n\n"
            f"**Source:** Somebody, {link}, and again {link}.\n\n"
            "**Settings:** `depth: int`, `width: float = 0.5`."
        )
    )
