"""Which differences between cells are more than chance: McNemar's test on the same images.

python -m sweep.paired RUN_ID RUN_ID          two finished runs, of one sweep or of two

Two cells are compared image by image, which tells smaller differences than their intervals do.
Images count as the same where their labels and what B says of them are the same, one by one: other
images, or another B, would hardly agree on all.
"""

import argparse
import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import combinations

import mlflow
import numpy as np
from mlflow import MlflowException
from mlflow.entities import Run
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.evaluation import significance
from sweep.evaluation.significance import holm
from sweep.redaction import redacted
from sweep.results.cells import ORACLE, Cell, Group, describe, distinguishing_keys
from sweep.tracking import artifacts, store

#: What is compared: metric, in words, on which images.
RATES = (
    ("repaired/clean_accuracy", "B' clean accuracy", "test"),
    ("goodnet/clean_accuracy", "G clean accuracy", "test"),
    ("repaired/attack_success_rate", "B' attack success", "poisoned"),
    ("goodnet/attack_success_rate", "G attack success", "poisoned"),
)
OF_BADNET = "badnet/attack_success_rate"
WORDS = {"test": "clean test images", "poisoned": "poisoned images"}
MAX_PAIRS = 4950  # all those of 100 cells; beyond, only some are compared
CHANCE = "paired.csv tells which differences between cells are more than chance."
LEGEND = (
    "In %. a and b: correct answers, or successful attacks; only a: images that count for a alone; "
    "p: how likely chance makes only a and only b at least so uneven (McNemar, exact, two-sided)."
)

#: What tells one set of images from another: how many, digests of their labels and of B's classes.
ImagesId = tuple[int, str, str]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Hits:
    """Which images a run hits, (images,) by metric, and by what each set of images is known."""

    images: Mapping[str, ImagesId]
    hits: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Difference:
    """One metric of two cells a and b: their rates, and the images that only one of them hits.

    An image is hit where it is classified right, or, for attack success, as the target.
    """

    metric: str
    images: int
    a: float
    b: float
    only_a: int
    only_b: int
    p: float


def hits_of(predictions: Mapping[str, NDArray[np.integer]]) -> Hits:
    """The hits of a run, from the arrays of its answers.npz.

    These are `<images>_label`, `_badnet`, `_repaired` and `_goodnet`; where that is missing (of
    earlier versions), GoodNet was the vote: it hits where B and B' both do. Beside the `RATES`
    stands the attack success of B itself.
    """
    hits, images = {}, {}
    for metric, _, name in RATES:
        if f"{name}_label" in predictions:
            label, badnet = predictions[f"{name}_label"], predictions[f"{name}_badnet"]
            repaired = predictions[f"{name}_repaired"]
            vote = np.where(badnet == repaired, badnet, -1)
            goodnet = predictions.get(f"{name}_goodnet", vote)
            hits[metric] = (goodnet if metric.startswith("goodnet/") else repaired) == label
            images[name] = (len(label), _digest(label), _digest(badnet))
            if name == "poisoned":
                hits[OF_BADNET] = badnet == label
    return Hits(images, hits)


def _digest(classes: NDArray[np.integer]) -> str:
    return hashlib.sha256(classes.astype(np.int64).tobytes()).hexdigest()


def compare(a: Hits, b: Hits) -> list[Difference]:
    """The differences of two cells on the images that are the same; [] where none are."""
    differences = []
    for metric, _, name in RATES:
        if name in a.images and a.images[name] == b.images.get(name):
            a_hits, b_hits = a.hits[metric], b.hits[metric]
            only_a, only_b, p = significance.paired(a_hits, b_hits)
            a_rate, b_rate = float(a_hits.mean()), float(b_hits.mean())
            differences.append(Difference(metric, len(a_hits), a_rate, b_rate, only_a, only_b, p))
    return differences


def why_incomparable(a: Hits, b: Hits, name: str) -> str:
    """Why the images `name` of two runs cannot be compared one by one; "" where they can."""
    if name not in a.images or name not in b.images:
        return f"no {WORDS[name]}" if {name} & {*a.images, *b.images} else ""
    (a_count, a_labels, a_badnet), (b_count, b_labels, b_badnet) = a.images[name], b.images[name]
    if a_count != b_count:
        return f"{a_count} and {b_count} {WORDS[name]}"
    if a_labels != b_labels:
        return f"{WORDS[name]} of different labels"
    return "" if a_badnet == b_badnet else f"other {WORDS[name]}, or another network B"


def read_hits(uris: Sequence[str]) -> list[Hits | None]:
    """The hits of each run, by its artifact URI; None where it has no answers.npz."""
    answers = artifacts.read_all(uris, "answers.npz")
    return [None if data is None else hits_of(np.load(BytesIO(data))) for data in answers]


def to_csv(cells: Sequence[Cell]) -> tuple[str, str]:
    """The text of paired.csv, and a line that tells of it; both "" where no two cells compare.

    `difference` is b's rate less a's, `p_holm` is p raised for the number of pairs (`holm`).
    """
    finished = [cell for cell in cells if cell.finished]
    compared, hits = [], []
    answers = read_hits([cell.artifacts for cell in finished])
    for cell, logged in zip(finished, answers, strict=True):
        if logged is not None:
            compared.append(cell)
            hits.append(logged)
    pairs, line = choose_pairs(compared, hits)
    rows = [
        (compared[a], compared[b], difference)
        for a, b in pairs
        for difference in compare(hits[a], hits[b])
    ]
    if not rows:
        return "", ""
    keys, text = distinguishing_keys(cells), StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = ("images", "rate_a", "rate_b", "difference", "only_a", "only_b", "p", "p_holm")
    writer.writerow(["job_a", "job_b", "run_a", "run_b", "a", "b", "metric", *numbers])
    p_holm = _holm_by_metric([difference for *_, difference in rows])
    for (a, b, difference), raised in zip(rows, p_holm, strict=True):
        names = [describe(keys, Group([cell]).labels(keys)) for cell in (a, b)]
        rates = [difference.a, difference.b, difference.b - difference.a]
        counts = [difference.only_a, difference.only_b]
        ids = [a.job, b.job, a.run_id, b.run_id]
        row = [
            *ids,
            *names,
            difference.metric,
            difference.images,
            *rates,
            *counts,
            difference.p,
            raised,
        ]
        writer.writerow(row)
    return text.getvalue(), line


def _holm_by_metric(differences: Sequence[Difference]) -> list[float]:
    """The p of each, raised for the number of differences of the same metric."""
    raised = np.empty(len(differences))
    metrics = np.array([difference.metric for difference in differences])
    for metric in np.unique(metrics):
        same = np.flatnonzero(metrics == metric).tolist()
        raised[same] = holm([differences[number].p for number in same])
    return raised.tolist()


def choose_pairs(cells: Sequence[Cell], hits: Sequence[Hits]) -> tuple[list[Pair], str]:
    """The pairs of cells to compare, by their places, and a line that tells which these are.

    All on the same images; where these are more than `MAX_PAIRS`, those that differ in one setting;
    where also these are too many, each with the first.
    """
    pairs = [
        (a, b)
        for a, b in combinations(range(len(cells)), 2)
        if hits[a].images.items() & hits[b].images.items()
    ]
    if len(pairs) <= MAX_PAIRS:
        return pairs, CHANCE
    chosen = [(a, b) for a, b in pairs if _count_differing(cells[a], cells[b]) == 1]
    which = "which differ in one setting"
    if not 0 < len(chosen) <= MAX_PAIRS:
        chosen = _pairs_with_first(pairs)
        which = "one for each cell, with the first on the same images"
    return sorted(chosen), f"{CHANCE} It has {len(chosen)} of {len(pairs)} pairs: those {which}."


def _pairs_with_first(pairs: Sequence[Pair]) -> list[Pair]:
    """Return of each cell b the first of its `pairs` (a, b), which stand in order."""
    firsts: dict[int, int] = {}
    for a, b in pairs:
        firsts.setdefault(b, a)
    return [(a, b) for b, a in firsts.items()]


def _count_differing(a: Cell, b: Cell) -> int:
    return sum(a.overrides.get(key) != b.overrides.get(key) for key in {*a.overrides, *b.overrides})


def print_comparison(ids: Sequence[str], uri: str | None = None) -> None:
    """Print the comparison of two runs, at MLflow's `uri` or where run.py keeps its runs.

    Raises BadInput where there is no such run, or nothing to compare.
    """
    store.use_existing(uri)
    runs = [_get_run(run_id) for run_id in ids]
    hits = []
    for run, logged in zip(runs, read_hits([run.info.artifact_uri for run in runs]), strict=True):
        if logged is None:
            raise BadInput(
                f"run {run.info.run_id} ({run.info.run_name}) has no answers.npz; expected a cell "
                f"that came to its end, not a sweep's parent or a run of an earlier version"
            )
        hits.append(logged)
    a, b = hits
    reasons = [reason for name in WORDS if (reason := why_incomparable(a, b, name))]
    differences = compare(a, b)
    if not differences:
        raise BadInput(f"the runs cannot be compared image by image: {'; '.join(reasons)}")
    for letter, run in zip("ab", runs, strict=True):
        oracle = ORACLE if run.data.tags.get("threat_model") == "oracle" else ""
        terminal.print_line(f"{letter}: {run.info.run_name}{oracle} ({run.info.run_id})")
    words = {metric: label for metric, label, _ in RATES}
    rows = [
        [
            words[difference.metric],
            str(difference.images),
            terminal.percent(difference.a),
            terminal.percent(difference.b),
            f"{100 * (difference.b - difference.a):+.2f}",
            str(difference.only_a),
            str(difference.only_b),
            "<1e-99" if difference.p < 1e-99 else f"{difference.p:.2g}",
        ]
        for difference in differences
    ]
    heads = ["", "images", "a", "b", "b - a", "only a", "only b", "p"]
    terminal.print_table(heads, rows, 1)
    terminal.print_line(LEGEND)
    for reason in reasons:
        terminal.print_line(f"Not compared: {reason}.")


def _get_run(run_id: str) -> Run:
    try:
        return mlflow.get_run(run_id)
    except MlflowException as error:
        reason = redacted(str(error)).splitlines()[0][:200]
        raise BadInput(
            f"run {run_id} cannot be read from {mlflow.get_tracking_uri()} ({reason}); expected a "
            f"run's id as in comparison.csv or in the browser"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.paired",
        description="Compare two runs image by image: which differences are more than chance?",
    )
    parser.add_argument("run", nargs=2, metavar="RUN_ID", help="a run's id, as in comparison.csv")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    options = parser.parse_args(arguments)
    return terminal.exit_code(lambda: print_comparison(options.run, options.uri))
