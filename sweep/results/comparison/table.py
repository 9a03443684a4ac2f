"""The cells of a sweep side by side: one table for the terminal, CSV and figures for MLflow.

Cells that differ only in their seed are one line of the table and of a figure, by their mean; the
CSV has each. Those whose order looks at poisoned images are oracles, and marked everywhere; those
on a network that the attack did not take hold of stand apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from sweep import terminal
from sweep.results.cells import (
    FINISHED,
    MISSING,
    ORACLE,
    SEED_KEY,
    Cell,
    Group,
    describe,
    differing_keys,
    distinguishing_keys,
    groups,
    short_names,
)
from sweep.results.comparison.detectors import print_detectors
from sweep.results.comparison.errors import cell_numbers, print_errors
from sweep.results.comparison.probes import print_probes
from sweep.results.figures.sweep import MARKS, CellRates, draw_comparison
from sweep.tracking import SKIPPED

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
METRICS, HEADINGS = zip(*COLUMNS, strict=True)
#: Those of B itself, in its line of the table.
BADNET = ("badnet/valid_accuracy", "badnet/clean_accuracy", "badnet/attack_success_rate")
TWIN = ("twin/clean_accuracy", "twin/attack_success_rate")
SUMMARY = {"repaired/clean_accuracy": "clean", "repaired/attack_success_rate": "ASR"}
LEGEND = (
    "In %. B' is the pruned network{}, G GoodNet; valid and clean: accuracy on clean validation "
    "and test images; ASR: attack success rate; det.: poisoned, alarm: clean test images that G "
    "flags."
)
LEGEND_OF_TWIN = "twin: B trained without the attack, on the same images."
NO_DEFENCE = (
    f"{ORACLE} oracle: ranked with poisoned images, which no defender has; never a defence."
)
FAILURES = {  # of one cell, and of several
    "FAILED": ("failed", "failed"),
    "KILLED": ("was cut off", "were cut off"),
    MISSING: ("did not run", "did not run"),
    "UNSENT": ("could not be logged", "could not be logged"),
    "RUNNING": ("still runs elsewhere", "still run elsewhere"),
}
LONGEST_LABEL = 70  # characters beside a row of a figure; beyond, comparison.csv has the settings
APART = "Apart, since the attack did not take hold of B there:"
SEEDS = "Numbers are means over {} seeds (comparison.csv has each)."


def comparison_figure(cells: Sequence[Cell]) -> Figure:
    """The figure of the rates of all cells that have any."""
    keys = [key for key in distinguishing_keys(cells) if key != SEED_KEY]
    rows = []
    for group in groups(cells):
        if any(cell.measured for cell in group.cells):
            first = group.first
            label = describe(keys, group.labels(keys)) or first.ranked_by
            label = label if len(label) <= LONGEST_LABEL else f"cell {first.job}, {first.ranked_by}"
            label += " (no implant)" if group.apart else ""
            rates = {metric: group.values(metric) for metric, *_ in MARKS}
            known = {metric: values for metric, values in rates.items() if values}
            rows.append(CellRates(label, known, first.oracle, first.control))
    return draw_comparison(rows, "Cells of the sweep")


def summary(cell: Cell) -> str:
    """How one cell went: rates of B', or why it has none.

    >>> summary(Cell(0, {}, status=FINISHED, metrics={"repaired/clean_accuracy": 0.9717}, error=""))
    "B' clean 97.17"
    >>> summary(Cell(0, {}, status="FAILED", error="out of memory"))
    'FAILED: out of memory'
    """
    if cell.error:
        return f"{cell.status}: {cell.error}"
    shown = [
        f"{label} {terminal.percent(cell.metrics[metric])}"
        for metric, label in SUMMARY.items()
        if metric in cell.metrics
    ]
    return f"B' {', '.join(shown)}" if shown else cell.status


def print_comparison(cells: Sequence[Cell]) -> None:
    """Print the comparison, and a sentence for each cell that has no numbers."""
    grouped = groups(cells)
    seeds = sorted({len(group.cells) for group in grouped})
    several = len(grouped) < len(cells)
    keys = differing_keys(cells)
    if several and len(seeds) == 1 and len(keys) > 1:
        keys.remove(SEED_KEY)  # the legend says how many
    names = short_names(keys) or [""]
    if several and SEED_KEY in keys:
        names[keys.index(SEED_KEY)] = "seeds"
    heads = [*names, "pruned", *HEADINGS]
    apart = [group for group in grouped if group.apart]
    counted = [group for group in grouped if not group.apart]
    tables = [_rows(part, keys, several) for part in (counted, apart) if part]
    for number, rows in enumerate(tables):
        if number:
            terminal.print_line(APART)
        terminal.print_table(heads, rows, len(names))
    notes = [LEGEND.format(", repaired" if any(cell.repaired for cell in cells) else "")]
    if several:
        notes += [SEEDS.format(" to ".join(map(str, seeds))), _seed_spread(grouped)]
    terminal.print_line(" ".join(filter(None, [*notes, _intervals(cells)])))
    if any(row[0] == "twin" for rows in tables for row in rows):
        terminal.print_line(LEGEND_OF_TWIN)
    if any(cell.oracle for cell in cells):
        terminal.print_line(NO_DEFENCE)
    if not all(cell.stop_reached for cell in cells):
        terminal.print_line("* The stop's criterion was never met.")
    for why, jobs in _no_implants(cells).items():
        which = f" in {cell_numbers(jobs)}" if len(cells) > 1 else ""
        terminal.print_line(f"The attack did not take hold of B{which}: {why}.")
    print_errors(cells)
    print_detectors(cells)
    print_probes(cells)


def _rows(grouped: Sequence[Group], keys: Sequence[str], several: bool) -> list[list[str]]:
    """The rows of a table: B itself where it is the same in all, then a row for each group.

    `several`: a group may be of several seeds.
    """
    rows = []
    blank = [""] * (len(keys) - 1)
    badnet, twin = _common_rates(grouped, BADNET), _common_rates(grouped, TWIN)
    if badnet:
        rows.append(["B", *blank, "0", *badnet])
    cells = [cell for group in grouped for cell in group.cells]
    if badnet and twin and any(TWIN[0] in cell.metrics for cell in cells):
        rows.append(["twin", *blank, "", "", *twin])
    if len(cells) == 1 and not keys and cells[0].repaired:
        rows.append(["pruned", *_numbers(Group([_before_repairs(cells[0])]))])
    for group in grouped:
        labels = group.labels(keys) or [f"B'{ORACLE}" if group.first.oracle else "B'"]
        if several and SEED_KEY in keys:
            labels[keys.index(SEED_KEY)] = str(len(group.cells))
        rows.append([*labels, *_numbers(group)])
    return rows


def unfinished(cells: Sequence[Cell]) -> list[str]:
    """The statuses of those cells that came to no end."""
    return [cell.status for cell in cells if cell.status not in (FINISHED, SKIPPED)]


def print_failures(cells: Sequence[Cell]) -> bool:
    """Say how many cells came to no end, and return whether any did."""
    bad = unfinished(cells)
    if bad:
        counts = [
            f"{bad.count(status)} {one if bad.count(status) == 1 else several}"
            for status, (one, several) in FAILURES.items()
            if status in bad
        ]
        of_all = f"Of {len(cells)} cells " if len(cells) > 1 else "Of 1 cell "
        told = " and ".join(counts)
        terminal.print_line(f"{of_all}{told}; the same command again runs these alone.")
    return bool(bad)


def _intervals(cells: Sequence[Cell]) -> str:
    """How far the intervals of the rates that are shown reach, at most; "" where none are known."""
    distances = []
    for cell in cells:
        for name in (*BADNET, *METRICS):
            for end in cell.interval(name) or ():
                distances.append(abs(cell.metrics[name] - end))
    if not distances:
        return ""
    points = math.ceil(1000 * max(distances) - 1e-9) / 10  # "at most" is not to be rounded down
    owner, place = ("a cell", "comparison.csv") if len(cells) > 1 else ("these", "rates.json")
    return (
        f"95 % intervals (Wilson) of {owner} reach at most {points:.1f} points to either side; "
        f"{place} has each."
    )


def _seed_spread(grouped: Sequence[Group]) -> str:
    """How far apart the seeds of a line are, at most, in a rate that is shown."""
    rates = [group.values(name) for group in grouped for name in METRICS]
    largest = max((max(seeds) - min(seeds) for seeds in rates if len(seeds) > 1), default=0.0)
    points = math.ceil(1000 * largest - 1e-9) / 10
    return f"Between the seeds of a line a rate differs by up to {points:.1f} points."


def _no_implants(cells: Sequence[Cell]) -> dict[str, list[int]]:
    """The cells on whose B the attack did not take hold, by their numbers, for each reason."""
    jobs_by_reason: dict[str, list[int]] = {}
    for cell in cells:
        if cell.apart:
            jobs_by_reason.setdefault(cell.implant, []).append(cell.job)
    return jobs_by_reason


def print_published(cells: Sequence[Cell], published: Mapping[str, Any]) -> None:
    """Print published numbers under the measured ones of the same cell.

    `published` has a `source` and `cells`; each of these says by `when` which overrides it belongs
    to, and has `metrics` under the names that a run logs.
    """
    rows, keys = [], distinguishing_keys(cells)
    for cell in cells:
        for entry in published["cells"]:
            if _applies(entry["when"], cell):
                measured = Group([cell])
                numbers = Cell(cell.job, {}, status=FINISHED, metrics=entry["metrics"])
                rows.append([*measured.labels(keys), "here", *_numbers(measured)])
                rows.append([*[""] * len(keys), "publ.", *_numbers(Group([numbers]))])
    if rows:
        terminal.print_table([*short_names(keys), "", "pruned", *HEADINGS], rows, len(keys) + 1)
        terminal.print_line(f"publ.: published by {published['source']}")


def _applies(when: Mapping[str, object], cell: Cell) -> bool:
    """Return whether the cell has all overrides that `when` names, with these values."""
    return all(_override_equals(cell.overrides.get(key), value) for key, value in when.items())


def _numbers(group: Group) -> list[str]:
    """Channels pruned, or why there is none, and the rates of `COLUMNS`; a dash: not known."""
    pruned = group.mean("prune/channels")
    unfinished = [cell.status for cell in group.cells if not cell.finished]
    if unfinished:
        first_column = min(unfinished, key=lambda status: status == SKIPPED)  # a failure is worse
    else:
        first_column = "-" if pruned is None else _count(pruned)
        first_column += "" if all(cell.stop_reached for cell in group.cells) else "*"
    return [first_column, *(terminal.percent(group.mean(name)) for name in METRICS)]


def _count(channels: float) -> str:
    """Channels, with a decimal where a mean has one."""
    return f"{channels:.0f}" if float(channels).is_integer() else f"{channels:.1f}"


def _before_repairs(cell: Cell) -> Cell:
    """The same cell, as B' was when it had been pruned and nothing else."""
    metrics = {"prune/channels": cell.metrics["prune/channels"]}
    for name, value in cell.metrics.items():
        if name.startswith("pruned/"):
            metrics[f"repaired/{name.removeprefix('pruned/')}"] = value
    return replace(cell, metrics=metrics)


def _common_rates(groups: Sequence[Group], metrics: Sequence[str]) -> list[str]:
    """Rates of B itself, or of its twin, where they are the same in all cells; [] elsewhere."""
    measured = [group for group in groups if any(cell.measured for cell in group.cells)]
    rates = {tuple(map(group.mean, metrics)) for group in measured}
    return [*map(terminal.percent, rates.pop()), "", "", "", ""] if len(rates) == 1 else []


def _override_equals(override: str | None, value: object) -> bool:
    """Whether an override, a text, says `value`."""
    if isinstance(value, float) and override is not None:
        return float(override) == value
    return override == str(value)
