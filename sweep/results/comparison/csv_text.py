"""The comparison as CSV: a row a cell, for programs; MLflow keeps it as comparison.csv."""

import csv
from collections.abc import Sequence
from io import StringIO

from sweep.results.cells import Cell


def to_csv(cells: Sequence[Cell]) -> str:
    """The text of comparison.csv: a row a cell, with all overrides and all metrics but curves.

    Rates stand with the ends of their intervals, `<rate>_low` and `<rate>_high`.
    """
    keys = list(dict.fromkeys(key for cell in cells for key in cell.overrides))
    values = [_with_intervals(cell) for cell in cells]
    metrics = sorted({name for of_cell in values for name in of_cell})
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["job", "run_id", "status", "reused", "implant", "threat_model"]
    writer.writerow([*head, *keys, *metrics, "error"])
    for cell, of_cell in zip(cells, values, strict=True):
        reused = str(cell.reused).lower()
        row = [cell.job, cell.run_id, cell.status, reused, cell.implant, cell.threat_model]
        row += [cell.overrides.get(key, "") for key in keys]
        row += [of_cell.get(name, "") for name in metrics]
        writer.writerow([*row, cell.error])
    return text.getvalue()


def _with_intervals(cell: Cell) -> dict[str, float]:
    """The metrics of a cell but its curves, and the ends of their intervals."""
    values = {name: v for name, v in cell.metrics.items() if not name.startswith("curve/")}
    for name in list(values):
        ends = cell.interval(name)
        if ends is not None:
            values |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return values
