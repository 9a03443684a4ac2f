"""The report as one HTML file: text and tables, data as JSON, charts by plotly, pictures.

Text that comes from runs is escaped here, or is set as text by `report.js`.
"""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from mlflow.entities import Run

from sweep.redaction import redacted
from sweep.report.answer import Answer, p_value, percent, with_interval, within
from sweep.report.attachments import Curve, Detection, Pictures
from sweep.report.data import (
    ASR,
    CLEAN,
    Panel,
    Report,
)
from sweep.report.payload import DIGESTS, STATUSES, payload, title_of, to_json
from sweep.results.sources import sweep_command

FOLDER = Path(__file__).parent
MOST_BYTES = 5_700_000  # of a whole report; what is left beside all else is for pictures
ORIGINS = ("git_commit", "git_dirty", "python", "keras", "tensorflow")


def page(
    report: Report,
    answers: Sequence[Answer],
    curves: Sequence[Curve | None],
    detections: Sequence[Mapping[str, Detection]],
    pictures: Pictures,
) -> str:
    """The whole file. `curves`, `detections` and those of `pictures` are of each cell in turn."""
    data = payload(report, answers, curves, detections) | {
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
    text = _fill(report, answers, to_json(payload(report, answers, curves, detections)))
    return max(0, MOST_BYTES - len(text.encode()) - 60 * len(report.entries))


def _fill(report: Report, answers: Sequence[Answer], data: str) -> str:
    statuses = Counter(entry.cell.status for entry in report.entries)
    counts = ", ".join(
        f"{count} {STATUSES.get(status, status.lower())}" for status, count in statuses.items()
    )
    seeds = len({entry.settings.get("seed") for entry in report.entries})
    cells = len(report.entries)
    summary = (
        f"{cells} cell{'s' if cells != 1 else ''} ({counts}), "
        f"{len(report.groups)} strateg{'ies' if len(report.groups) != 1 else 'y'}"
        + (f", {seeds} seeds" if seeds > 1 else "")
    )
    return Template((FOLDER / "template.html").read_text()).substitute(
        title=html.escape(title_of(report)),
        summary=html.escape(summary),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        answers="\n".join(
            _answer(panel, answer, len(answers) > 1)
            for panel, answer in zip(report.panels, answers, strict=True)
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
                reason = "intervals" if test.p is None else p_value(test.p)
                words.append(f"{'no' if test.chance else 'yes'} ({reason})")
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
            shares = ", ".join(
                f"<code>{html.escape(value[:40])}</code>"
                + (f" ({count} cells)" if len(values) > 1 else "")
                for value, count in values.most_common(6)
            )
            more = f" and {len(values) - 6} more" if len(values) > 6 else ""
            name = html.escape(name.replace("_", " "))
            rows.append(f'<tr><th scope="row">{name}</th><td>{shares}{more}</td></tr>')
    table = f'<table class="plain"><tbody>{"".join(rows)}</tbody></table>' if rows else ""
    return "".join(blocks) + table
