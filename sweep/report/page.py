"""The report as one HTML file: text and tables, data as JSON, charts by plotly, pictures.

Text that comes from runs is escaped here, or is set as text by `report.js`; in the JSON "<" is
written \\u003c, so that nothing in it can end the script that holds it.
"""

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

from mlflow.entities import Run

from sweep.redaction import redacted
from sweep.report.aggregate import Rate, front
from sweep.report.answer import Answer, p_value, percent, with_interval, within
from sweep.report.attachments import ALARMS, Curve, Detection, Pictures
from sweep.report.data import (
    ASR,
    CLEAN,
    COLUMNS,
    SEEDS,
    Panel,
    Report,
    headings,
    shown,
    without_places,
)
from sweep.report.sources import sweep_command
from sweep.tracking import SKIPPED

FOLDER = Path(__file__).parent
MOST_BYTES = 5_700_000  # of a whole report; what is left beside all else is for pictures
ORIGINS = ("git_commit", "git_dirty", "python", "keras", "tensorflow")
DIGESTS = ("network_digest", "data_digest", "poisoned_by", "asr_counts")
SIGNS = {"FINISHED": "finished", SKIPPED: "skipped", "FAILED": "failed"}


def to_json(value: Any) -> str:
    """JSON that may stand in a script of HTML.

    >>> to_json(["</script>"])
    '["\\\\u003c/script>"]'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escaped = text.replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return escaped.replace("\u2029", "\\u2029")


def page(
    report: Report,
    answers: Sequence[Answer],
    curves: Sequence[Curve | None],
    detections: Sequence[Mapping[str, Detection]],
    pictures: Pictures,
) -> str:
    """The whole file. `curves`, `detections` and those of `pictures` are of each cell in turn."""
    data = payload(report, curves, detections) | {
        "pictures": pictures.uris,
        "left_out": pictures.left_out,
    }
    for cell, mine in zip(data["cells"], pictures.of_runs, strict=True):
        cell["pictures"] = mine
    return _fill(report, answers, to_json(data))


def room_for_pictures(
    report: Report,
    answers: Sequence[Answer],
    curves: Sequence[Curve | None],
    detections: Sequence[Mapping[str, Detection]],
) -> int:
    """The bytes that pictures may take, so that the file stays below `MOST_BYTES`."""
    text = _fill(report, answers, to_json(payload(report, curves, detections)))
    return max(0, MOST_BYTES - len(text.encode()) - 60 * len(report.entries))


def payload(
    report: Report,
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
        "title": _title(report),
        "columns": [
            {"id": c.metric, "name": c.name, "meaning": c.meaning, "better": c.better}
            for c in COLUMNS
            if any(c.metric in group.rates for group in report.groups)
        ],
        "keys": [
            {"id": key, "name": name, "swept": key in report.swept}
            for key, name in zip(keys, headings(keys), strict=True)
        ],
        "panels": [_panel(report, panel) for panel in report.panels],
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
        f"{count} {SIGNS.get(status, status.lower())}" for status, count in counted.items()
    )


def _panel(report: Report, panel: Panel) -> dict[str, Any]:
    defenders = [number for number in panel.groups if report.groups[number].defends]
    points = [
        (report.groups[at].rates[CLEAN].value, report.groups[at].rates[ASR].value)
        for at in defenders
    ]
    return {
        "name": panel.name,
        "badnet": _rates(panel.badnet),
        "groups": panel.groups,
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
            for key, name in zip(seeds, headings(seeds), strict=True)
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


def _title(report: Report) -> str:
    names = " · ".join(panel.name for panel in report.panels[:3])
    more = f" and {len(report.panels) - 3} more" if len(report.panels) > 3 else ""
    swept = ", ".join(headings([*report.swept])) if report.swept else ""
    return f"{names}{more}" + (f": {swept}" if swept else "")


def _fill(report: Report, answers: Sequence[Answer], data: str) -> str:
    statuses = Counter(entry.cell.status for entry in report.entries)
    counts = ", ".join(
        f"{count} {SIGNS.get(status, status.lower())}" for status, count in statuses.items()
    )
    seeds = len({entry.settings.get("seed") for entry in report.entries})
    cells = len(report.entries)
    summary = (
        f"{cells} cell{'s' if cells != 1 else ''} ({counts}), "
        f"{len(report.groups)} strateg{'ies' if len(report.groups) != 1 else 'y'}"
        + (f", {seeds} seeds" if seeds > 1 else "")
    )
    return Template((FOLDER / "template.html").read_text()).substitute(
        title=html.escape(_title(report)),
        summary=html.escape(summary),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        answers="\n".join(
            _answer(panel, one, len(answers) > 1)
            for panel, one in zip(report.panels, answers, strict=True)
        ),
        provenance=_provenance(report),
        css=(FOLDER / "report.css").read_text(),
        js=(FOLDER / "report.js").read_text(),
        plotly=(FOLDER / "plotly" / "plotly-basic.min.js").read_text(),
        data=data,
    )


def _answer(panel: Panel, answer: Answer, several: bool) -> str:
    """One panel's headline, sentences, and the table of what a budget buys."""
    name = f'<p class="eyebrow">{html.escape(panel.name)}</p>' if several else ""
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in answer.sentences)
    verdicts = "".join(
        f"<p><b>Verdict from clean images alone:</b> {html.escape(verdict)}</p>"
        for verdict in panel.verdicts[:3]
    )
    return (
        f'<section class="answer"><div>{name}<h2>{html.escape(answer.headline)}</h2>'
        f'<div class="said">{sentences}{verdicts}</div></div>{_budgets(answer)}</section>'
    )


def _budgets(answer: Answer) -> str:
    if not answer.choices:
        return ""
    rows = []
    for choice in answer.choices:
        words = [within(choice.budget)]
        if choice.best is None:
            words += ["none", "", "", ""]
        else:
            rates, test = choice.best.rates, choice.versus
            words += [choice.best.label, with_interval(rates[ASR]), percent(rates[CLEAN].value)]
            if test is None:
                words.append("the only one")
            else:
                how = "intervals" if test.p is None else f"p = {p_value(test.p)}"
                words.append(f"{'no' if test.chance else 'yes'} ({how})")
        first, *rest = (html.escape(word) for word in words)
        rows.append(
            f'<tr><th scope="row">{first}</th>{"".join(f"<td>{word}</td>" for word in rest)}</tr>'
        )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Best strategy by what may be '
        'paid"><table class="budgets"><caption>What the best defence leaves, by what it may cost '
        "in clean validation accuracy</caption><thead><tr>"
        '<th scope="col">accuracy paid</th><th scope="col">best by true ASR</th>'
        '<th scope="col">ASR left</th><th scope="col">clean, %</th>'
        '<th scope="col">more than chance?</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _provenance(report: Report) -> str:
    """Where the numbers come from: sweeps and their commands, versions, digests."""
    sweeps: dict[str, Run] = {
        entry.sweep.info.run_id: entry.sweep for entry in report.entries if entry.sweep is not None
    }
    blocks = []
    for number, sweep in enumerate(sweeps.values(), 1):
        began = datetime.fromtimestamp(sweep.info.start_time / 1000, UTC)
        blocks.append(
            f"<p><b>Sweep {number}</b>, begun {began:%Y-%m-%d %H:%M} UTC, run "
            f"<code>{html.escape(sweep.info.run_id)}</code></p>"
            f"<pre><code>{html.escape(redacted(sweep_command(sweep)))}</code></pre>"
        )
    rows = []
    for name in (*ORIGINS, *DIGESTS):
        values = Counter(entry.tag(name) for entry in report.entries if entry.tag(name))
        if values:
            told = ", ".join(
                f"<code>{html.escape(value[:40])}</code>"
                + (f" ({count} cells)" if len(values) > 1 else "")
                for value, count in values.most_common(6)
            )
            more = f" and {len(values) - 6} more" if len(values) > 6 else ""
            name = html.escape(name.replace("_", " "))
            rows.append(f'<tr><th scope="row">{name}</th><td>{told}{more}</td></tr>')
    table = f'<table class="plain"><tbody>{"".join(rows)}</tbody></table>' if rows else ""
    return "".join(blocks) + table
