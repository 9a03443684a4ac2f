"""What charts and tables are made of, as JSON: cells, strategies, panels, curves.

In the JSON "<" is written \\u003c, so that nothing in it can end the script that holds it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweep.redaction import redacted
from sweep.report.aggregate import Rate, front
from sweep.report.answer import Answer
from sweep.report.attachments import ALARMS, Curve, Detection
from sweep.report.data import ASR, CLEAN, COLUMNS, Panel, Report
from sweep.report.settings import SEEDS, shown, without_places
from sweep.results.cells import short_names
from sweep.tracking import SKIPPED

DIGESTS = ("network_digest", "data_digest", "poisoned_by", "asr_counts")
STATUSES = {"FINISHED": "finished", SKIPPED: "skipped", "FAILED": "failed"}


def to_json(value: Any) -> str:
    """JSON that may stand in a script of HTML.

    >>> to_json(["</script>"])
    '["\\\\u003c/script>"]'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escaped = text.replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return escaped.replace("\u2029", "\\u2029")


def payload(
    report: Report,
    answers: Sequence[Answer],
    curves: Sequence[Curve | None],
    detections: Sequence[Mapping[str, Detection]],
) -> dict[str, Any]:
    """All that charts and tables are made of, pictures aside."""
    group_of = {at: number for number, one in enumerate(report.groups) for at in one.cells}
    unique: dict[str, int] = {}
    curve_of = [
        None if one is None else unique.setdefault(to_json(_curve(one)), len(unique))
        for one in curves
    ]
    cells = [
        _cell(report, place, group_of[place], curve_of[place], detections[place])
        for place in range(len(report.entries))
    ]
    keys = [*report.columns]
    return {
        "title": title_of(report),
        "columns": [
            {"id": c.metric, "name": c.name, "meaning": c.meaning, "better": c.better}
            for c in COLUMNS
            if any(c.metric in group.rates for group in report.groups)
        ],
        "keys": [
            {"id": key, "name": name, "swept": key in report.swept}
            for key, name in zip(keys, short_names(keys), strict=True)
        ],
        "panels": [
            _panel(report, panel, one) for panel, one in zip(report.panels, answers, strict=True)
        ],
        "groups": [
            {
                "panel": group.panel,
                "label": group.label,
                "settings": [group.settings[key] for key in keys],
                "cells": group.cells,
                "oracle": group.oracle,
                "control": group.control,
                "status": _status(report.entries[at].cell.status for at in group.cells),
                "rates": _rates(group.rates),
            }
            for group in report.groups
        ],
        "cells": cells,
        "curves": [json.loads(text) for text in unique],
        "searches": report.searches,
        "alarms": [round(alarm, 5) for alarm in ALARMS],
    }


def _rates(rates: Mapping[str, Rate]) -> dict[str, list[float]]:
    """Rates as [value] or, with an interval, [value, low, high]."""
    return {
        metric: [round(one.value, 5)]
        + ([] if one.low is None or one.high is None else [one.low, one.high])
        for metric, one in rates.items()
    }


def _status(statuses: Iterable[str]) -> str:
    """FINISHED, or how many of the cells ended otherwise."""
    counted = Counter(status for status in statuses if status != "FINISHED")
    return ", ".join(
        f"{count} {STATUSES.get(status, status.lower())}" for status, count in counted.items()
    )


def _panel(report: Report, panel: Panel, answer: Answer) -> dict[str, Any]:
    defenders = [number for number in panel.groups if report.groups[number].defends]
    points = [
        (report.groups[at].rates[CLEAN].value, report.groups[at].rates[ASR].value)
        for at in defenders
    ]
    return {
        "name": panel.name,
        "badnet": _rates(panel.badnet),
        "groups": panel.groups,
        "chosen": [report.groups.index(group) for group in answer.named],
        "front": [defenders[place] for place in front(points)],
    }


def _cell(
    report: Report,
    place: int,
    group: int,
    curve: int | None,
    detections: Mapping[str, Detection],
) -> dict[str, Any]:
    entry = report.entries[place]
    cell, seeds = entry.cell, [key for key in SEEDS if key in entry.settings]
    stop = cell.metrics.get("prune/channels")
    return {
        "job": cell.job,
        "run": cell.run_id,
        "group": group,
        "status": cell.status,
        "error": without_places(redacted(cell.error)) if cell.error else "",
        "seed": ", ".join(
            f"{name} {entry.settings[key]}"
            for key, name in zip(seeds, short_names(seeds), strict=True)
            if key == "seed" or entry.settings[key] != "0"
        ),
        "reached": cell.stop_reached,
        "rates": _rates(report.rates[place]),
        "stop": None if stop is None else int(stop),
        "curve": curve,
        "detections": {
            name: [one.thresholds, one.alarms, one.detected] for name, one in detections.items()
        },
        "command": entry.command,
        "settings": {
            key: shown(value)
            for key, value in sorted(entry.settings.items())
            if key in report.columns or key in SEEDS
        },
        "digests": {name: entry.tag(name)[:40] for name in DIGESTS if entry.tag(name)},
    }


def _curve(curve: Curve) -> dict[str, Any]:
    layers = list(dict.fromkeys(layer for layer, _ in curve.channels))
    return {
        "pruned": curve.pruned,
        "rates": curve.rates,
        "layers": layers,
        "channels": [channel for _, channel in curve.channels],
        "at": [layers.index(layer) for layer, _ in curve.channels] if len(layers) > 1 else [],
    }


def title_of(report: Report) -> str:
    """The title of a report: its networks, and what was swept."""
    """The title of a report: its networks, and what was swept."""
    names = " · ".join(panel.name for panel in report.panels[:3])
    more = f" and {len(report.panels) - 3} more" if len(report.panels) > 3 else ""
    swept = ", ".join(short_names(report.telling))
    return f"{names}{more}" + (f": {swept}" if swept else "")
