"""Pages of results: what the experiments of `conf/experiment/` left in MLflow.

python -m sweep.results docs/results

One page an experiment; text made of runs: every number in it is one of theirs. Another experiment
adds a module with its `page`, or a package of several, and a row to `PAGES`.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sweep import BadInput, files, terminal
from sweep.results.pages import detector_panel, orders_by_stops, sweeps
from sweep.results.pages.answer import page as answer_page
from sweep.results.pages.answer import reading
from sweep.results.pages.search import page as search_page
from sweep.results.pages.search import reading as search_reading


def _answer(uri: str | None, experiment: str) -> str:
    runs = reading.read(uri, experiment)
    return answer_page.page(runs) if runs else ""


def _strategies(uri: str | None, experiment: str) -> str:
    cases = sweeps.read(uri, experiment)
    return orders_by_stops.page(cases) if cases else ""


def _search(uri: str | None, experiment: str) -> str:
    read = search_reading.read(uri, experiment)
    return search_page.page(read) if read.networks else ""


def _detectors(uri: str | None, experiment: str) -> str:
    parents, cells = detector_panel.read(uri, experiment)
    return detector_panel.page(parents, cells) if cells else ""


#: How the page of each experiment in `conf/experiment/` is written, from MLflow's URI and the name
#: of MLflow's experiment; it is empty where that holds no finished cell for it.
PAGES: Mapping[str, Callable[[str | None, str], str]] = {
    "answer": _answer,
    "detectors": _detectors,
    "search": _search,
    "strategies": _strategies,
}


def read(uri: str | None, experiment: str) -> dict[str, str]:
    """The text of each page of which the experiment at MLflow's `uri` holds something, by its name.

    Raises BadInput where there is nothing of any, or where it cannot be read.
    """
    texts = {name: page(uri, experiment) for name, page in PAGES.items()}
    texts = {name: text for name, text in texts.items() if text}
    if not texts:
        commands = ", or: ".join(f"python run.py experiment={name} case=faces" for name in PAGES)
        raise BadInput(
            f"MLflow's experiment {experiment!r} holds no finished cell of a page of results; run: "
            f"{commands}"
        )
    return texts


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write each page into the folder, say so, and say which are not written.

    Raises BadInput where `folder` is no folder.
    """
    if folder.suffix == ".md" or folder.is_file():
        raise BadInput(
            f"{folder} is a file; give a folder, such as docs/results: each experiment has a page "
            "of its own"
        )
    for name in PAGES:
        page = folder / f"{name}.md"
        if name in texts:
            with files.atomic_write(page) as unfinished:
                unfinished.write_text(texts[name])
            print(f"Written: {page}")
        else:
            print(f"Not written: {page}: no finished cell of experiment={name} is there")


def draw(folder: Path, uri: str | None, experiment: str) -> None:
    """Draw the figure of the page on searches into the folder, where it has one."""
    figure = search_page.figure(search_reading.read(uri, experiment))
    if figure is not None:
        with files.atomic_write(folder / search_page.FIGURE) as unfinished:
            figure.savefig(unfinished, format="png", dpi=110)


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
    options = parser.parse_args(arguments)

    def run() -> None:
        texts = read(options.uri, options.experiment)
        if options.folder is None:
            print("\n".join(texts.values()), end="")
        else:
            write(options.folder, texts)
            draw(options.folder, options.uri, options.experiment)

    return terminal.exit_code(run)
