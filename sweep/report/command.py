"""The command `python -m sweep.report`, and what a sweep does at its end: `log`, `print_place`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import mlflow
from mlflow.entities import Run

from sweep import BadInput, files, terminal
from sweep.report import attachments, page, tables
from sweep.report.answer import Answer, answer
from sweep.report.data import Report, report
from sweep.results import paired
from sweep.results.figures import shared
from sweep.results.paired import Hits
from sweep.results.sources import Entry, find, of_sweep
from sweep.tracking import artifacts

REPORT = "report.html"
BOTH_DETECTORS = 100  # cells up to which both scores of GoodNet are shown; beyond only the first
T = TypeVar("T")
ENDINGS = {"html": "html", "csv": "csv", "md": "md", "latex": "tex"}


def write(parent: str, path: Path) -> None:
    """Write the report of a sweep, whose parent run this is, to `path`."""
    _write_whole(path, to_html(*_read(of_sweep(mlflow.get_run(parent)))))


def log(parent: Run) -> None:
    """Log the report of a sweep on its parent; where that fails a sentence says so, and no more."""
    run_id = parent.info.run_id
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / REPORT
            write(run_id, path)
            mlflow.MlflowClient().log_artifact(run_id, str(path))
    except Exception as error:  # what a sweep came to is worth more than its report
        terminal.print_line(
            f"There is no report of this sweep ({type(error).__name__}: {error}); to make one: "
            f"python -m sweep.report {run_id}"
        )


def print_place(parent: Run) -> None:
    """Print where the report of a sweep lies, if that is on this machine."""
    folder = artifacts.local_path(parent.info.artifact_uri)
    if folder is not None and (folder / REPORT).is_file():
        path, here = folder / REPORT, Path.cwd()
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        terminal.print_line(f"All of it in one file: {shown}", wrap=False)


def to_html(whole: Report, hits: Sequence[Hits | None]) -> str:
    """The whole report as one HTML file."""
    answers = _answers(whole, hits)
    places, cells = _places(whole.entries), [entry.cell for entry in whole.entries]
    stops = [int(cell.metrics.get("prune/channels", 0)) for cell in cells]
    where, count = list(places.values()), len(cells)
    read_curves = attachments.curves(where, [stops[number] for number in places])
    curves = _of_all(places, read_curves, None, count)
    read_detections = attachments.detections(where, 2 if count <= BOTH_DETECTORS else 1)
    detections = _of_all(places, read_detections, {}, count)
    room = page.room_for_pictures(whole, answers, curves, detections)
    layers = [
        sorted({layer for layer, _ in curve.channels}) if (curve := curves[number]) else []
        for number in places
    ]
    pictures = attachments.pictures(_figures(whole.entries, places), layers, room)
    pictures.of_runs = _of_all(places, pictures.of_runs, {}, count)
    return page.page(whole, answers, curves, detections, pictures)


def _figures(entries: Sequence[Entry], places: Mapping[int, str]) -> list[list[str]]:
    """The folders in which the figures of each cell lie, its own and those it shares."""
    sweeps = {e.sweep.info.run_id: e.sweep.info.artifact_uri for e in entries if e.sweep}
    return [
        [f"{place}/{shared.FOLDER}", *shared.places(run, sweeps)]
        for number, place in places.items()
        if (run := entries[number].run)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 well, 2 bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.report",
        description="Write what came out of sweeps into one file that needs no server and no "
        "network.",
    )
    parser.add_argument(
        "target",
        nargs="*",
        metavar="EXPERIMENT or RUN_ID",
        help="an experiment (each of its cells once), or ids of sweeps or of single runs "
        "(default: the latest sweep of the experiment prunesweep)",
    )
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    parser.add_argument("--output", type=Path, help="the file (default: report.html, or .csv, ...)")
    parser.add_argument("--format", choices=sorted(ENDINGS), help="default: by the file's ending")
    given = parser.parse_args(arguments)
    form = given.format or _form_of(given.output)
    path = given.output or Path(f"report.{ENDINGS[form]}")
    return terminal.exit_code(lambda: _write_report(given.target, given.uri, form, path))


def _write_report(targets: Sequence[str], uri: str | None, form: str, path: Path) -> None:
    """Write the report of `targets` as `form`, one of `ENDINGS`, and print what it says on top."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadInput(f"--output {path}: expected a file in a folder that is there")
    whole, hits = _read(find(targets, uri))
    answers = _answers(whole, hits)
    if form == "html":
        text = to_html(whole, hits)
    elif form == "csv":
        text = tables.to_csv(whole)
    elif form == "md":
        text = tables.to_markdown(whole, _sentences(whole, answers))
    else:
        text = tables.to_latex(whole)
    _write_whole(path, text)
    for sentence in _sentences(whole, answers):
        terminal.print_line(sentence)
    terminal.print_line(f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB)", wrap=False)


def _form_of(path: Path | None) -> str:
    endings = {f".{ending}": form for form, ending in ENDINGS.items()}
    return endings.get(path.suffix if path else "", "html")


def _write_whole(path: Path, text: str) -> None:
    try:
        with files.atomic_write(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror})") from error


def _read(entries: Sequence[Entry]) -> tuple[Report, list[Hits | None]]:
    """The report's numbers, and which images each cell hits where that was logged."""
    places = {
        number: place for number, place in _places(entries).items() if entries[number].cell.finished
    }
    hits = _of_all(places, paired.read_hits(list(places.values())), None, len(entries))
    searches = attachments.searches(entries)
    return replace(report(entries, hits), searches=searches), hits


def _places(entries: Sequence[Entry]) -> dict[int, str]:
    """Where the artifacts of each measured cell lie, by its number."""
    return {
        number: entry.cell.artifacts
        for number, entry in enumerate(entries)
        if entry.run is not None and entry.cell.measured
    }


def _of_all(places: dict[int, str], known: Sequence[T], absent: T, count: int) -> list[T]:
    """Spread over all cells what is `known` of those at `places`; of others it is `absent`."""
    by_number = dict(zip(places, known, strict=True))
    return [by_number.get(number, absent) for number in range(count)]


def _answers(whole: Report, hits: Sequence[Hits | None]) -> list[Answer]:
    return [answer(whole, panel, hits) for panel in whole.panels]


def _sentences(whole: Report, answers: Sequence[Answer]) -> list[str]:
    """The answers in a line each, by panel where there are several."""
    several = len(answers) > 1
    return [
        " ".join(
            [f"{panel.name}:" if several else "", f"{answer.headline}.", *answer.sentences]
        ).strip()
        for panel, answer in zip(whole.panels, answers, strict=True)
    ]
