"""What every detector of poisoned images is worth on each case: `experiment=detectors`."""

from collections.abc import Iterable, Mapping, Sequence

from mlflow.entities import Run

from sweep.evaluation.implant import IMPLANTED
from sweep.results.cells import FINISHED, implant_of
from sweep.results.pages import markdown
from sweep.results.pages.markdown import interval, mean, metric_values, spread, table, wrap
from sweep.results.pages.sweeps import case_name, overrides, param_values, runs_of_sweep

SWEEP = "experiment=detectors"
DETECTOR_PARAM, ATTACK_PARAM = "detector", "attack"
AUROC, SECONDS = "detector/auroc", "detector/seconds_per_1000"
RATES = {
    "det. at 1 %": "detector/detection_rate_at_1",
    "alarm at 1 %": "detector/false_alarm_rate_at_1",
    "det. at 5 %": "detector/detection_rate_at_5",
    "alarm at 5 %": "detector/false_alarm_rate_at_5",
}

TITLE = "Detectors"
INTRODUCTION = (
    "How well GoodNet and the detectors of the literature tell poisoned images from clean ones in "
    "use, on the same networks and images. B' is what `strategy=answer` makes of B; GoodNet and "
    "BaDExpert look at it, the others at B alone. What each does is told in "
    "[strategies.md](../strategies.md#detectors-which-images-are-poisoned)."
)
LEGEND = """\
- **AUROC**: how often a poisoned image's score is above a clean one's: 0.5 tells nothing, 1 all.
  Best mean first. In brackets: over all cases the lowest and the highest, in a case Newcombe's 95 %
  interval, below the tables the images that it is of.
- **det. and alarm at 1 %, at 5 %**: poisoned and clean test images flagged, where the threshold
  flags at most so many of the clean validation images that no repair has learned, and that the
  detector has not learned from either. A vote has no threshold: it is here with the one that it
  would need, at which it flags nobody.
- **s**: seconds for 1,000 images, on the machine that made the page."""
LIMITS = """\
- Each case is one network B and one B': what others would give is not in the brackets."""

Cases = Mapping[str, Sequence[Run]]


def of_runs(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The sweeps of `experiment=detectors` among `runs`, oldest first, and their cells.

    Of cells that say the same, the newest.
    """
    parents = [run for run in runs if SWEEP in overrides(run)]
    parents.sort(key=lambda run: run.info.start_time)
    newest: dict[tuple[str, str], Run] = {}
    for parent in parents:
        for cell in runs_of_sweep(parent, runs):
            if cell.info.status == FINISHED and RATES["alarm at 1 %"] in cell.data.metrics:
                newest[_case(cell), cell.data.params[DETECTOR_PARAM]] = cell
    ids = {parent.info.run_id for parent in parents}
    cells = list(newest.values())
    used = {cell.data.tags.get("mlflow.parentRunId") for cell in cells} & ids
    return [parent for parent in parents if parent.info.run_id in used], cells


def page(sweeps: Sequence[Run], cells: Sequence[Run]) -> str:
    """All detectors over all cases, then case by case, in Markdown."""
    cases: dict[str, list[Run]] = {}
    for cell in cells:
        cases.setdefault(_case(cell), []).append(cell)
    why = {name: _no_implant(of_case) for name, of_case in cases.items()}
    counted = [cell for cell in cells if not why[_case(cell)]]
    paragraphs = [markdown.commands(sweeps), _head(sweeps), "## All cases"]
    paragraphs += [_overall(counted)] if counted else []
    if any(why.values()):
        names = ", ".join(name for name in cases if why[name])
        paragraphs.append(wrap(f"Without those where the attack did not take hold of B: {names}."))
    for name, of_case in cases.items():
        paragraphs += [f"## {name}", _badnet(of_case), _of_case(of_case)]
        paragraphs += [wrap(f"The attack did not take hold of B: {why[name]}.")] * bool(why[name])
    return markdown.page(TITLE, INTRODUCTION, paragraphs, LEGEND, LIMITS)


def _head(sweeps: Iterable[Run]) -> str:
    """Where the numbers come from, a column a sweep."""
    columns = list(sweeps)
    rows = [
        ["date", *map(markdown.date, columns)],
        ["commit", *map(markdown.commit, columns)],
        [", ".join(markdown.VERSIONS), *map(markdown.versions, columns)],
    ]
    heads = ["", *(f"sweep {number}" for number in range(1, len(columns) + 1))]
    return table(heads, rows, "l" * len(heads))


def _case(cell: Run) -> str:
    """The case of a cell, and what B was poisoned with, if that was done here."""
    params = cell.data.params
    trained = params.get("badnet") == "trained"
    return f"{case_name(cell)}, {params[ATTACK_PARAM]}" if trained else case_name(cell)


def _no_implant(cells: Sequence[Run]) -> str:
    """Why the attack did not take hold of the B of a case, by its newest cell; "" where it did."""
    implant = implant_of(max(cells, key=lambda cell: cell.info.start_time))
    return "" if implant == IMPLANTED else implant


def _overall(cells: Sequence[Run]) -> str:
    rows = [
        [
            f"`{name}`",
            str(len(same)),
            spread(metric_values(same, AUROC), "{:.3f}".format),
            *(spread(metric_values(same, metric)) for metric in RATES.values()),
            mean(same, SECONDS, "{:.2f}".format),
        ]
        for name, same in _by_detector(cells)
    ]
    return table(["detector", "cases", "AUROC", *RATES, "s"], rows)


def _of_case(cells: Sequence[Run]) -> str:
    rows = []
    for name, same in _by_detector(cells):
        rates = [interval(same, metric) for metric in RATES.values()]
        auroc = interval(same, AUROC, "{:.3f}".format)
        rows.append([f"`{name}`", auroc, *rates, mean(same, SECONDS, "{:.2f}".format)])
    return table(["detector", "AUROC", *RATES, "s"], rows)


def _badnet(cells: Sequence[Run]) -> str:
    """B and B' of a case, and how many images there are."""
    rates = {
        "B clean": "badnet/clean_accuracy",
        "B ASR": "badnet/attack_success_rate",
        "B' clean": "repaired/clean_accuracy",
        "B' ASR": "repaired/attack_success_rate",
    }
    row = [mean(cells, metric) for metric in rates.values()]
    tags = {"clean": "images_test", "poisoned": "images_attacked"}
    row += [markdown.tag_values(cells, tag) for tag in tags.values()]
    return table([*rates, *tags], [row], "r")


def _by_detector(cells: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """The cells of each detector, the best mean AUROC first; those without one last."""
    by_name = {
        name: [cell for cell in cells if cell.data.params[DETECTOR_PARAM] == name]
        for name in param_values(cells, DETECTOR_PARAM)
    }

    def rank(item: tuple[str, list[Run]]) -> tuple[float, str]:
        areas = metric_values(item[1], AUROC)
        return -(sum(areas) / len(areas)) if areas else 1.0, item[0]

    return sorted(by_name.items(), key=rank)
