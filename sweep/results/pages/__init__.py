"""Pages of results: what the experiments of `conf/experiment/` left in MLflow.

python -m sweep.results docs/results

One page an experiment; text made of runs: every number in it is one of theirs. The runs that pages
show are kept beside them, so the next page is of these and of those of another machine. Another
experiment adds a module with its `page`, or a package of several, and a row to `PAGES`.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from mlflow.entities import Run

from sweep import BadInput, files, terminal
from sweep.results.pages import detector_panel, kept, orders_by_stops, sweeps
from sweep.results.pages.answer import page as answer_page
from sweep.results.pages.answer import reading
from sweep.results.pages.search import page as search_page
from sweep.results.pages.search import reading as search_reading
from sweep.tracking import store


@dataclass(frozen=True)
class Page:
    """The text of a page, the runs that it shows, and its figure, where it has one."""

    text: str
    runs: Sequence[Run]
    figure: Figure | None = None


def _answer(runs: Sequence[Run]) -> Page | None:
    found = reading.newest_strategy_runs(runs)
    shown = [(one.cell, one.sweep, one.ledger, one.judged, one.probed) for one in found]
    return Page(answer_page.page(found), [run for of in shown for run in of]) if found else None


def _detectors(runs: Sequence[Run]) -> Page | None:
    parents, cells = detector_panel.of_runs(runs)
    return Page(detector_panel.page(parents, cells), [*parents, *cells]) if cells else None


def _search(runs: Sequence[Run]) -> Page | None:
    read = search_reading.of_runs(runs)
    if not read.networks:
        return None
    return Page(search_page.page(read), read.shown, search_page.figure(read))


def _strategies(runs: Sequence[Run]) -> Page | None:
    cases = sweeps.latest_cases(runs)
    shown = [run for case in cases for run in (case.sweep, *case.cells)]
    return Page(orders_by_stops.page(cases), shown) if cases else None


#: How the page of each experiment in `conf/experiment/` is made of runs, of cells and of sweeps;
#: None where they hold no finished cell for it.
PAGES: Mapping[str, Callable[[Sequence[Run]], Page | None]] = {
    "answer": _answer,
    "detectors": _detectors,
    "search": _search,
    "strategies": _strategies,
}


def pages(runs: Sequence[Run], experiment: str) -> dict[str, Page]:
    """Each page of which there is something among `runs`, by its name.

    Raises BadInput where there is nothing of any; `experiment` is where they are from.
    """
    made = {name: page(runs) for name, page in PAGES.items()}
    found = {name: page for name, page in made.items() if page is not None}
    if not found:
        commands = ", or: ".join(f"python run.py experiment={name} case=faces" for name in PAGES)
        raise BadInput(
            f"MLflow's experiment {experiment!r} holds no finished cell of a page of results; run: "
            f"{commands}"
        )
    return found


def write(folder: Path, found: Mapping[str, Page]) -> None:
    """Write each page into the folder, with its figure, and the runs of all; say which are not."""
    for name in PAGES:
        path = folder / f"{name}.md"
        if name not in found:
            print(f"Not written: {path}: no finished cell of experiment={name} is there")
            continue
        page = found[name]
        with files.atomic_write(path) as unfinished:
            unfinished.write_text(page.text)
        print(f"Written: {path}")
        if page.figure is not None:
            with files.atomic_write(path.with_suffix(".png")) as unfinished:
                page.figure.savefig(unfinished, format="png", dpi=110)
    kept.write(folder, [run for page in found.values() for run in page.runs])
    print(f"Kept: {folder / kept.FILE}: the runs of these pages, for those of another machine")


def _runs(folder: Path | None, uri: str | None, experiment: str, *, alone: bool) -> list[Run]:
    """The runs of MLflow's experiment and, unless it is to stand alone, those kept in the folder.

    Raises BadInput where `folder` is no folder, or what is there cannot be read.
    """
    if folder is not None and (folder.suffix == ".md" or folder.is_file()):
        raise BadInput(
            f"{folder} is a file; give a folder, such as docs/results: each experiment has a page "
            "of its own"
        )
    earlier = [] if folder is None or alone else kept.read(folder)
    if earlier and uri is None and store.missing():
        return earlier
    return kept.merged(sweeps.stored(uri, experiment), earlier)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.results",
        description="Write a page of results in Markdown for each experiment that MLflow holds: "
        + ", ".join(f"{name}.md" for name in PAGES)
        + ".",
    )
    parser.add_argument("folder", type=Path, nargs="?", help="for the pages (default: print them)")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    parser.add_argument("--experiment", default="prunesweep", help="MLflow's name for them")
    parser.add_argument(
        "--alone",
        action="store_true",
        help=f"without the runs of former pages, which are kept in the folder's {kept.FILE}",
    )
    options = parser.parse_args(arguments)

    def run() -> None:
        folder: Path | None = options.folder
        runs = _runs(folder, options.uri, options.experiment, alone=options.alone)
        found = pages(runs, options.experiment)
        if folder is None:
            print("\n".join(page.text for page in found.values()), end="")
        else:
            write(folder, found)

    return terminal.exit_code(run)
