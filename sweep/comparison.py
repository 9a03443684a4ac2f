"""The cells of a sweep side by side: one table for the terminal, CSV and a figure for MLflow."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from matplotlib.figure import Figure
from mlflow.entities import Run

from sweep import figures, terminal

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
LEGEND = (
    "In %. B' is the pruned network, G GoodNet; valid and clean: accuracy on clean validation and "
    "test images; ASR: attack success rate; det.: poisoned, alarm: clean test images that G flags."
)
MISSING = "MISSING"


@dataclass(frozen=True)
class Row:
    """One cell: its number, its overrides, and what its run left (none where it never started)."""

    job: int
    overrides: dict[str, str]
    run_id: str = ""
    status: str = MISSING
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = "the cell left no run"
    stop_reached: bool = True

    @property
    def measured(self) -> bool:
        """Whether the cell came as far as any rate."""
        return any(not name.startswith("time/") for name in self.metrics)


def rows(cells: Sequence[Sequence[str]], runs: Sequence[Run]) -> list[Row]:
    """A row for each of `cells` (lists of overrides), in their order, from their runs."""
    by_job = {int(run.data.tags["job"]): run for run in runs}
    return [_row(job, overrides, by_job.get(job)) for job, overrides in enumerate(cells)]


def _row(job: int, overrides: Sequence[str], run: Run | None) -> Row:
    settings = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if run is None:
        return Row(job, settings)
    tags = run.data.tags
    status = tags.get("status", run.info.status)
    reached = tags.get("stop_reached") != "false"
    error = tags.get("error", "")
    return Row(job, settings, run.info.run_id, status, run.data.metrics, error, reached)


def to_csv(table: Sequence[Row]) -> str:
    """All rows, all overrides, all metrics that are not curves; empty where there is none."""
    settings = list(dict.fromkeys(key for row in table for key in row.overrides))
    metrics = sorted({key for row in table for key in row.metrics if not key.startswith("curve/")})
    text = StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["job", "run_id", "status", *settings, *metrics, "error"])
    for row in table:
        given = [row.overrides.get(key, "") for key in settings]
        measured = [row.metrics.get(key, "") for key in metrics]
        out.writerow([row.job, row.run_id, row.status, *given, *measured, row.error])
    return text.getvalue()


def figure(table: Sequence[Row]) -> Figure:
    """The rates of all cells that have any."""
    keys = varying(table)
    done = [row for row in table if row.measured]
    heads = list(zip(keys, _short(keys), strict=True))
    names = [
        " ".join(f"{head}={row.overrides.get(key, '')}" for key, head in heads) for row in done
    ]
    return figures.comparison(names, [row.metrics for row in done], "Cells of the sweep")


def show(table: Sequence[Row]) -> None:
    """Print the comparison, and a sentence for each cell that has no numbers."""
    keys = varying(table) if len(table) > 1 else []
    names = _short(keys) or [""]
    heads = [*names, "pruned"]
    lines = []
    untouched = _untouched(table)
    if untouched:
        lines.append(["B", *[""] * (len(names) - 1), "0", *untouched])
    for row in table:
        numbers = _numbers(row.metrics)
        if row.status != "FINISHED":
            numbers[0] = row.status
        elif not row.stop_reached:
            numbers[0] += "*"
        lines.append([*([row.overrides.get(key, "") for key in keys] or ["B'"]), *numbers])
    terminal.table([*heads, *(head for _, head in COLUMNS)], lines, len(names))
    terminal.say(LEGEND)
    if not all(row.stop_reached for row in table):
        terminal.say("* The stop was never reached: all channels but one are pruned.")
    for row in table:
        if row.error:
            terminal.say(f"cell {row.job} {row.status}: {row.error}")


def show_published(table: Sequence[Row], published: Mapping[str, Any]) -> None:
    """Print published numbers under the measured ones of the same cell.

    `published` has a `source` and `cells`; each of these says by `when` which overrides it belongs
    to, and has `metrics` under the names that a run logs.
    """
    lines, keys = [], varying(table)
    for row in table:
        for cell in published["cells"]:
            if all(_same(row.overrides.get(key), value) for key, value in cell["when"].items()):
                words = [row.overrides.get(key, "") for key in keys]
                lines.append([*words, "here", *_numbers(row.metrics)])
                lines.append([*[""] * len(keys), "publ.", *_numbers(cell["metrics"])])
    if lines:
        heads = [*_short(keys), "", "pruned", *(head for _, head in COLUMNS)]
        terminal.table(heads, lines, len(keys) + 1)
        terminal.say(f"publ.: published by {published['source']}")


def _numbers(metrics: Mapping[str, float]) -> list[str]:
    """Channels pruned and the rates of `COLUMNS`, a dash where there is none."""
    pruned = metrics.get("prune/channels")
    rates = [terminal.percent(metrics.get(name)) for name, _ in COLUMNS]
    return ["-" if pruned is None else str(int(pruned)), *rates]


def varying(table: Sequence[Row]) -> list[str]:
    """The overrides that tell the cells apart; where none does, all of them."""
    keys = list(dict.fromkeys(key for row in table for key in row.overrides))
    apart = [key for key in keys if len({row.overrides.get(key) for row in table}) > 1]
    return apart or keys


def values(table: Sequence[Row], key: str) -> list[str]:
    """The values that `key` has in the cells, each once."""
    return list(dict.fromkeys(row.overrides.get(key, "") for row in table))


def _untouched(table: Sequence[Row]) -> list[str] | None:
    """The rates of B itself, where it is the same in all cells."""
    names = ("badnet/valid_accuracy", "badnet/clean_accuracy", "badnet/attack_success_rate")
    found = {tuple(row.metrics.get(name) for name in names) for row in table if row.measured}
    if len(found) != 1:
        return None
    return [*map(terminal.percent, found.pop()), "", "", "", ""]


def _same(override: str | None, value: Any) -> bool:
    """Whether an override, a text, says `value`."""
    if isinstance(value, float) and override is not None:
        return float(override) == value
    return override == str(value)


def _short(keys: Sequence[str]) -> list[str]:
    """Keys by their last part, where that tells them apart."""
    last = [key.replace("/", ".").rsplit(".", 1)[-1] for key in keys]
    return [key if last.count(end) > 1 else end for key, end in zip(keys, last, strict=True)]
