"""The leaderboard as CSV, Markdown and LaTeX."""

import csv
from io import StringIO

from report_entries import entry

from sweep.report import tables
from sweep.report.data import report

ENTRIES = (
    entry(0, 0.6, 0.9, prune__order="a|b_*<x>", seed="0"),
    entry(1, 0.8, 0.9, prune__order="a|b_*<x>", seed="1"),
    entry(2, 0.5, 0.95, prune__order="50%_&#", seed="0"),
    entry(3, 0.0, 0.9, prune__order="tac", oracle=True, seed="0"),
)
REPORT = report(ENTRIES, [None] * len(ENTRIES))


def test_defences_stand_by_attack_success_and_oracles_after_them():
    assert [group.label for group in tables.ranked(REPORT)] == ["50%_&#", "a|b_*<x>", "tac†"]


def test_the_csv_has_every_rate_with_its_interval():
    first, second, third = csv.DictReader(StringIO(tables.to_csv(REPORT)))
    assert float(second["repaired/attack_success_rate"]) == 0.7
    low, high = (float(second[f"repaired/attack_success_rate_{end}"]) for end in ("low", "high"))
    assert low < 0.6 < 0.8 < high
    assert (second["cells"], second["finished"], third["oracle"]) == ("2", "2", "true")
    assert first["prune.order"] == "50%_&#"


def test_markdown_escapes_what_would_break_its_table():
    text = tables.to_markdown(REPORT, ["A <b> sentence."])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert r"a\|b\_\*&lt;x>" in text
    assert text.startswith("A &lt;b> sentence.")
    assert "| 50.00 [46.9, 53.1] |" in text


def test_latex_is_a_table_of_booktabs_with_all_signs_escaped():
    text = tables.to_latex(REPORT)
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"50\%\_\&\#" in text
    assert r"tac$\dagger$" in text
    assert r"a|b\_*\textless{}x\textgreater{}" in text
    head, *rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {row.replace(r"\&", "").count("&") for row in rows} == {head.count("&")}
