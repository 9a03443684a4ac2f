"""The leaderboard as a table for other programs and for papers: CSV, Markdown, LaTeX."""

import csv
import math
from collections.abc import Sequence
from io import StringIO

from sweep.report.aggregate import Rate
from sweep.report.data import ASR, CLEAN, COLUMNS, COST, Group, Report
from sweep.results.cells import short_names

LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "†": r"$\dagger$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
#: What a paper's table has room for.
PRINTED = (ASR, CLEAN, COST, "goodnet/detection_rate", "goodnet/false_alarm_rate")
NOTE = (
    "In %; cost in points of clean accuracy below B; [95 % Wilson interval]. Of several seeds the "
    "mean, from the lowest lower to the highest upper end. † oracle: no defence."
)


def ranked(report: Report) -> list[Group]:
    """The strategies by panel, defenders before oracles, least attack success first."""

    def place(group: Group) -> tuple[int, bool, float]:
        left = group.rates.get(ASR) or Rate(math.inf)
        return group.panel, group.oracle, left.value

    return sorted(report.groups, key=place)


def to_csv(report: Report) -> str:
    """A line a strategy: settings, seeds, how many finished, each rate with its interval."""
    text = StringIO()
    out = csv.writer(text, lineterminator="\n")
    metrics = _metrics(report)
    ends = [name for metric in metrics for name in (metric, f"{metric}_low", f"{metric}_high")]
    out.writerow(["network", "strategy", *report.columns, "oracle", "cells", "finished", *ends])
    for group in ranked(report):
        cells = [report.entries[place].cell for place in group.cells]
        finished = sum(cell.finished for cell in cells)
        numbers: list[float | str] = []
        for metric in metrics:
            one = group.rates.get(metric)
            known = [None] * 3 if one is None else [one.value, one.low, one.high]
            numbers += ["" if value is None else value for value in known]
        settings = [group.settings[key] for key in report.columns]
        network = report.panels[group.panel].name
        oracle = str(group.oracle).lower()
        out.writerow([network, group.label, *settings, oracle, len(cells), finished, *numbers])
    return text.getvalue()


def to_markdown(report: Report, sentences: Sequence[str]) -> str:
    """The answer in sentences, and a table of the strategies."""
    heads, rows = _table(report)
    escaped = [[_markdown(cell) for cell in row] for row in [heads, *rows]]
    rule = ["---"] * (len(heads) - _rates(report)) + ["---:"] * _rates(report)
    lines = [f"| {' | '.join(row)} |" for row in [escaped[0], rule, *escaped[1:]]]
    said = "\n\n".join(_markdown(sentence) for sentence in sentences)
    return f"{said}\n\n" + "\n".join(lines) + f"\n\n{NOTE}\n"


def to_latex(report: Report) -> str:
    """A table of the strategies for the package booktabs."""
    heads, rows = _table(report)
    columns = "l" * (len(heads) - _rates(report)) + "r" * _rates(report)
    body = [" & ".join(map(latex, row)) + r" \\" for row in rows]
    head = " & ".join(map(latex, heads)) + r" \\"
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    note = f"% \\usepackage{{booktabs}}\n% {NOTE}\n"
    return note + "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex(text: str) -> str:
    r"""Text as LaTeX takes it.

    >>> latex("prune_order=50%")
    'prune\\_order=50\\%'
    """
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _markdown(text: str) -> str:
    """Text as Markdown shows it, whatever signs are in it."""
    line = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|*_`":
        line = line.replace(sign, f"\\{sign}")
    line = line.replace("](", "]\\(")  # no link
    return line.replace("&", "&amp;").replace("<", "&lt;")


def _metrics(report: Report) -> list[str]:
    known = {metric for group in report.groups for metric in group.rates}
    return [column.metric for column in COLUMNS if column.metric in known]


def _rates(report: Report) -> int:
    """How many columns of a printed table are rates."""
    return len([metric for metric in PRINTED if metric in _metrics(report)]) + 1


def _table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a printed table."""
    names = {column.metric: column.name for column in COLUMNS}
    metrics = [metric for metric in PRINTED if metric in names and metric in _metrics(report)]
    keys = list(report.columns)
    several = len(report.panels) > 1
    heads = [*(["network"] if several else []), *short_names(keys), "seeds"]
    rows = []
    for group in ranked(report):
        row = [report.panels[group.panel].name] if several else []
        row += [group.settings[key] for key in keys] + [str(len(group.cells))]
        rows.append(row + [_number(group.rates.get(metric)) for metric in metrics])
    return heads + [names[metric] for metric in metrics], rows


def _number(one: Rate | None) -> str:
    if one is None:
        return "-"
    value = f"{100 * one.value:.2f}"
    if one.low is None or one.high is None:
        return value
    return f"{value} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
