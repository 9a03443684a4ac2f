"""The cells of a sweep side by side: one table for the terminal, CSV and figures for MLflow.

Cells that differ only in their seed are one line of the table and of a figure, by their mean; the
CSV has each. Those whose order looks at poisoned images are oracles, and marked everywhere.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sweep import terminal
from sweep.results.cells import (
    FINISHED,
    ORACLE,
    ORDER,
    SEED,
    Group,
    Row,
    apart,
    groups,
    named,
    short,
    varying,
)
from sweep.results.figures import sweep
from sweep.tracking import artifacts

#: Rates in the terminal's table: metric, heading.
COLUMNS = (
    ("repaired/valid_accuracy", "B'\nvalid"),
    ("repaired/clean_accuracy", "B'\nclean"),
    ("repaired/attack_success_rate", "B'\nASR"),
    ("goodnet/clean_accuracy", "G\nclean"),
    ("goodnet/attack_success_rate", "G\nASR"),
    ("goodnet/detection_rate", "G\ndet."),
    ("goodnet/false_alarm_rate", "G\nalarm"),
)
#: Those of B itself, in its line of the table.
BADNET = ("badnet/valid_accuracy", "badnet/clean_accuracy", "badnet/attack_success_rate")
LEGEND = (
    "In %. B' is the pruned network{}, G GoodNet; valid and clean: accuracy on clean validation "
    "and test images; ASR: attack success rate; det.: poisoned, alarm: clean test images that G "
    "flags."
)
NO_DEFENCE = (
    f"{ORACLE} oracle: ranked with poisoned images, which no defender has; never a defence."
)
SEEDS = "Numbers are means over {} seeds (comparison.csv has each)."

Curve = NDArray[np.float64]


def to_csv(table: Sequence[Row]) -> str:
    """All rows, all overrides, all metrics that are not curves; empty where there is none."""
    settings = list(dict.fromkeys(key for row in table for key in row.overrides))
    metrics = sorted({key for row in table for key in row.metrics if not key.startswith("curve/")})
    text = StringIO()
    out = csv.writer(text, lineterminator="\n")
    head = ["job", "run_id", "status", "reused", "threat_model"]
    out.writerow([*head, *settings, *metrics, "error"])
    for row in table:
        given = [row.overrides.get(key, "") for key in settings]
        measured = [row.metrics.get(key, "") for key in metrics]
        head = [row.job, row.run_id, row.status, str(row.reused).lower(), row.threat_model]
        out.writerow([*head, *given, *measured, row.error])
    return text.getvalue()


def figure(table: Sequence[Row]) -> Figure:
    """The rates of all cells that have any."""
    keys = [key for key in varying(table) if key != SEED]
    cells = []
    for group in groups(table):
        rates = {key: found for key, *_ in sweep.MARKS if (found := group.all(key))}
        row, told = group.first, named(keys, group.words(keys))
        if any(row.measured for row in group.rows):
            cells.append(sweep.Cell(told or row.ranked_by, rates, row.oracle, row.control))
    return sweep.comparison(cells, "Cells of the sweep")


def tradeoff(table: Sequence[Row]) -> Figure | None:
    """What each order trades for the attack, by the whole curves that the cells have logged.

    Cells that differ only in their stop share a curve. None where none has poisoned images.
    """
    done = [row for row in table if row.finished]
    logged = artifacts.read([row.artifacts for row in done], "curve.csv")
    curves = {row.job: _curve(text) for row, text in zip(done, logged, strict=True) if text}
    done = [row for row in done if curves.get(row.job) is not None]
    keys = _telling(done, curves)
    rankings: dict[str, sweep.Ranking] = {}
    for row in done:
        told, curve = [row.overrides.get(key, "") for key in keys], curves[row.job]
        label = " ".join(filter(None, [row.ranked_by, named(keys, told)]))
        ranking = rankings.setdefault(label, sweep.Ranking(label, [], [], row.oracle, row.control))
        known = [np.array_equal(curve, other) for other in ranking.curves]
        if not any(known):
            ranking.curves.append(curve)
        place = known.index(True) if any(known) else len(known)
        ranking.stops.append((place, int(row.metrics["prune/channels"])))
    title = "Attack success against clean accuracy, by order"
    return sweep.tradeoff(list(rankings.values()), title) if rankings else None


def _curve(text: bytes) -> Curve | None:
    """Clean test accuracy and attack success, (2, steps), of a curve.csv; None without attack."""
    rows = list(csv.DictReader(StringIO(text.decode())))
    names = ("clean_accuracy", "attack_success_rate")
    if not all(name in rows[0] for name in names):
        return None
    return np.array([[float(row[name]) for row in rows] for name in names])


def _telling(table: Sequence[Row], curves: Mapping[int, Curve]) -> list[str]:
    """The settings on which curves depend, but for order and seed: not those of the stop."""
    keys = [key for key in apart(table) if key not in (ORDER, SEED)]
    for key in list(keys):
        others, alike = {ORDER, SEED, *keys} - {key}, {}
        for row in table:
            rest = tuple(row.overrides.get(other) for other in others)
            alike.setdefault(rest, []).append(curves[row.job])
        pairs = [(some[0], other) for some in alike.values() for other in some[1:]]
        if pairs and all(np.array_equal(*pair) for pair in pairs):
            keys.remove(key)
    return keys


def in_words(row: Row) -> str:
    """How one cell went: rates of B', or why it has none.

    >>> in_words(Row(0, {}, status=FINISHED, metrics={"repaired/clean_accuracy": 0.9717}, error=""))
    "B' clean 97.17"
    >>> in_words(Row(0, {}, status="FAILED", error="out of memory"))
    'FAILED: out of memory'
    """
    if row.error:
        return f"{row.status}: {row.error}"
    named = {"clean": "repaired/clean_accuracy", "ASR": "repaired/attack_success_rate"}
    told = [
        f"{name} {terminal.percent(row.metrics[metric])}"
        for name, metric in named.items()
        if metric in row.metrics
    ]
    return f"B' {', '.join(told)}" if told else row.status


def show(table: Sequence[Row]) -> None:
    """Print the comparison, and a sentence for each cell that has no numbers."""
    keys = apart(table)
    lines, found = [], groups(table)
    seeds = sorted({len(group.rows) for group in found})
    several = len(found) < len(table)
    if several and len(seeds) == 1 and len(keys) > 1:
        keys.remove(SEED)  # the legend says how many
    names = ["seeds" if several and key == SEED else head for key, head in short(keys)] or [""]
    untouched = _untouched(found)
    if untouched:
        lines.append(["B", *[""] * (len(names) - 1), "0", *untouched])
    if len(table) == 1 and table[0].repaired:
        lines.append(["pruned", *_numbers(Group([_before_repairs(table[0])]))])
    for group in found:
        words = group.words(keys) or ["B'" + ORACLE * group.first.oracle]
        if several and SEED in keys:
            words[keys.index(SEED)] = str(len(group.rows))
        lines.append([*words, *_numbers(group)])
    terminal.table([*names, "pruned", *(head for _, head in COLUMNS)], lines, len(names))
    repaired = any(row.repaired for row in table)
    notes = [LEGEND.format(", repaired" * repaired), _intervals(table)]
    if several:
        notes[1:1] = [SEEDS.format(" to ".join(map(str, seeds))), _spread(found)]
    terminal.say(" ".join(filter(None, notes)))
    if any(row.oracle for row in table):
        terminal.say(NO_DEFENCE)
    if not all(row.stop_reached for row in table):
        terminal.say("* The stop's criterion was never met.")
    for error, unwell in _errors(table).items():
        terminal.say(f"{_cells(unwell)} {error}")


def _intervals(table: Sequence[Row]) -> str:
    """How far the intervals of the rates that are shown reach, at most; "" where none are known."""
    ends = [
        abs(row.metrics[name] - row.metrics[name + end])
        for row in table
        for name in [*BADNET, *(name for name, _ in COLUMNS)]
        for end in ("_low", "_high")
        if {name, name + end} <= row.metrics.keys()
    ]
    if not ends:
        return ""
    points = math.ceil(1000 * max(ends) - 1e-9) / 10  # "at most" is not to be rounded down
    where, whose = ("comparison.csv", "a cell") if len(table) > 1 else ("the run", "these")
    return (
        f"95 % intervals (Wilson) of {whose} reach at most {points:.1f} points to either side; "
        f"{where} has each."
    )


def _spread(found: Sequence[Group]) -> str:
    """How far apart the seeds of a line are, at most, in a rate that is shown."""
    rates = [group.all(name) for group in found for name, _ in COLUMNS]
    apart = max((max(some) - min(some) for some in rates if len(some) > 1), default=0.0)
    points = math.ceil(1000 * apart - 1e-9) / 10
    return f"Between the seeds of a line a rate differs by up to {points:.1f} points."


def _errors(table: Sequence[Row]) -> dict[str, list[int]]:
    """The cells that each error befell, by their numbers."""
    found: dict[str, list[int]] = {}
    for row in table:
        if row.error:
            found.setdefault(f"{row.status}: {row.error}", []).append(row.job)
    return found


def _cells(jobs: Sequence[int]) -> str:
    """The numbers of some cells, those that follow each other in short.

    >>> _cells([3]), _cells([0, 1, 2, 5])
    ('cell 3', 'cells 0-2, 5')
    """
    starts = [job for job in jobs if job - 1 not in jobs]
    ends = [job for job in jobs if job + 1 not in jobs]
    told = (str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
    return f"cell{'s' if len(jobs) > 1 else ''} {', '.join(told)}"


def show_published(table: Sequence[Row], published: Mapping[str, Any]) -> None:
    """Print published numbers under the measured ones of the same cell.

    `published` has a `source` and `cells`; each of these says by `when` which overrides it belongs
    to, and has `metrics` under the names that a run logs.
    """
    lines, keys = [], varying(table)
    for row in table:
        for cell in published["cells"]:
            if all(_same(row.overrides.get(key), value) for key, value in cell["when"].items()):
                publ = Row(row.job, {}, status=FINISHED, metrics=cell["metrics"])
                lines.append([*Group([row]).words(keys), "here", *_numbers(Group([row]))])
                lines.append([*[""] * len(keys), "publ.", *_numbers(Group([publ]))])
    if lines:
        heads = [*(head for _, head in short(keys)), "", "pruned", *(head for _, head in COLUMNS)]
        terminal.table(heads, lines, len(keys) + 1)
        terminal.say(f"publ.: published by {published['source']}")


def _numbers(group: Group) -> list[str]:
    """Channels pruned, or why there is none, and the rates of `COLUMNS`; a dash: not known."""
    pruned = group.mean("prune/channels")
    told = "-" if pruned is None else f"{pruned:.{0 if float(pruned).is_integer() else 1}f}"
    bad = [row.status for row in group.rows if not row.finished]
    if bad:
        told = min(bad, key=lambda status: status == "SKIPPED")  # a failure is worse
    elif not all(row.stop_reached for row in group.rows):
        told += "*"
    return [told, *(terminal.percent(group.mean(name)) for name, _ in COLUMNS)]


def _before_repairs(row: Row) -> Row:
    """The same cell, as B' was when it had been pruned and nothing else."""
    was = {
        f"repaired{name.removeprefix('pruned')}": value
        for name, value in row.metrics.items()
        if name.startswith("pruned/")
    }
    return replace(row, metrics=was | {"prune/channels": row.metrics["prune/channels"]})


def _untouched(table: Sequence[Group]) -> list[str] | None:
    """The rates of B itself, where it is the same in all cells."""
    found = {
        tuple(map(group.mean, BADNET)) for group in table if any(r.measured for r in group.rows)
    }
    if len(found) != 1:
        return None
    return [*map(terminal.percent, found.pop()), "", "", "", ""]


def _same(override: str | None, value: Any) -> bool:
    """Whether an override, a text, says `value`."""
    if isinstance(value, float) and override is not None:
        return float(override) == value
    return override == str(value)
