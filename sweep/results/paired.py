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
WORDS = {"test": "clean test images", "poisoned": "poisoned images"}
MOST = 4950  # pairs: all those of 100 cells; beyond, only some are compared
CHANCE = "paired.csv tells which differences between cells are more than chance."
LEGEND = (
    "In %. a and b: correct answers, or successful attacks; only a: images that count for a alone; "
    "p: how likely chance makes only a and only b at least so uneven (McNemar, exact, two-sided)."
)

Images = tuple[int, str, str]  # how many; digests of their labels and of what B says of them
Pair = tuple[int, int]


@dataclass(frozen=True)
class Hits:
    """Which images a run hits, (images,) by metric, and by what each set of images is known."""

    images: Mapping[str, Images]
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


def hits(predictions: Mapping[str, NDArray[np.integer]]) -> Hits:
    """From the arrays of answers.npz: `<images>_label`, `<images>_badnet`, `<images>_repaired`.

    GoodNet hits where B and B' do: where they disagree it says "backdoored", which is no class.
    """
    by_metric, images = {}, {}
    for metric, _, name in RATES:
        if f"{name}_label" in predictions:
            label, badnet = predictions[f"{name}_label"], predictions[f"{name}_badnet"]
            hit = predictions[f"{name}_repaired"] == label
            by_metric[metric] = hit & (badnet == label) if metric.startswith("goodnet") else hit
            images[name] = (len(label), _digest(label), _digest(badnet))
    return Hits(images, by_metric)


def _digest(classes: NDArray[np.integer]) -> str:
    return hashlib.sha256(classes.astype(np.int64).tobytes()).hexdigest()


def compare(a: Hits, b: Hits) -> list[Difference]:
    """The differences of two cells on the images that are the same; [] where none are."""
    differences = []
    for metric, _, name in RATES:
        if name in a.images and a.images[name] == b.images.get(name):
            one, other = a.hits[metric], b.hits[metric]
            only_a, only_b, p = significance.paired(one, other)
            a_rate, b_rate = float(one.mean()), float(other.mean())
            differences.append(Difference(metric, len(one), a_rate, b_rate, only_a, only_b, p))
    return differences


def unlike(a: Hits, b: Hits, name: str) -> str:
    """Why the images `name` of two runs cannot be compared one by one; "" where they can."""
    if name not in a.images or name not in b.images:
        return f"no {WORDS[name]}" if {name} & {*a.images, *b.images} else ""
    (n, labels, badnet), (others, other_labels, other_badnet) = a.images[name], b.images[name]
    if n != others:
        return f"{n} and {others} {WORDS[name]}"
    if labels != other_labels:
        return f"{WORDS[name]} of different labels"
    return "" if badnet == other_badnet else f"other {WORDS[name]}, or another network B"


def read(places: Sequence[str]) -> list[Hits | None]:
    """What each run has logged, by where its artifacts lie; None where it has no answers.npz."""
    answers = artifacts.read_all(places, "answers.npz")
    return [None if data is None else hits(np.load(BytesIO(data))) for data in answers]


def to_csv(cells: Sequence[Cell]) -> tuple[str, str]:
    """paired.csv of a sweep, and a line that tells of it; both empty where no two cells compare.

    `difference` is b's rate less a's, `p_holm` is p raised for the number of pairs (`holm`).
    """
    finished = [cell for cell in cells if cell.finished]
    logged = zip(finished, read([cell.artifacts for cell in finished]), strict=True)
    known = [(cell, hits) for cell, hits in logged if hits is not None]
    pairs, line = choose_pairs(*zip(*known, strict=True)) if known else ([], "")
    differences = [(a, b, one) for a, b in pairs for one in compare(known[a][1], known[b][1])]
    raised = np.empty(len(differences))
    for metric in {one.metric for *_, one in differences}:
        same = [number for number, (*_, one) in enumerate(differences) if one.metric == metric]
        raised[same] = holm([differences[number][2].p for number in same])
    keys, text = distinguishing_keys(cells), StringIO()
    out = csv.writer(text, lineterminator="\n")
    numbers = ("images", "rate_a", "rate_b", "difference", "only_a", "only_b", "p", "p_holm")
    out.writerow(["job_a", "job_b", "run_a", "run_b", "a", "b", "metric", *numbers])
    for (a, b, one), p in zip(differences, raised.tolist(), strict=True):
        both = known[a][0], known[b][0]
        names = [describe(keys, Group([cell]).words(keys)) for cell in both]
        ids = [*(cell.job for cell in both), *(cell.run_id for cell in both)]
        counts = [one.a, one.b, one.b - one.a, one.only_a, one.only_b, one.p, p]
        out.writerow([*ids, *names, one.metric, one.images, *counts])
    return (text.getvalue(), line) if differences else ("", "")


def choose_pairs(cells: Sequence[Cell], hits: Sequence[Hits]) -> tuple[list[Pair], str]:
    """The pairs of cells to compare, by their places, and a line that tells which these are.

    All on the same images; where these are more than `MOST`, those that differ in one setting;
    where also these are too many, each with the first.
    """
    pairs = [
        (a, b)
        for a, b in combinations(range(len(cells)), 2)
        if any(hits[a].images[name] == hits[b].images.get(name) for name in hits[a].images)
    ]
    if len(pairs) <= MOST:
        return pairs, CHANCE
    near = [(a, b) for a, b in pairs if _count_differing(cells[a], cells[b]) == 1]
    if 0 < len(near) <= MOST:
        which = "which differ in one setting"
    else:
        near = _with_the_first(pairs)
        which = "one for each cell, with the first on the same images"
    return sorted(near), f"{CHANCE} It has {len(near)} of {len(pairs)} pairs: those {which}."


def _with_the_first(pairs: Sequence[Pair]) -> list[Pair]:
    """Return of each cell b the first of its `pairs` (a, b), which stand in order."""
    firsts: dict[int, int] = {}
    for a, b in pairs:
        firsts.setdefault(b, a)
    return [(a, b) for b, a in firsts.items()]


def _count_differing(a: Cell, b: Cell) -> int:
    return sum(a.overrides.get(key) != b.overrides.get(key) for key in {*a.overrides, *b.overrides})


def show(ids: Sequence[str], uri: str | None = None) -> None:
    """Print the comparison of two runs, at MLflow's `uri` or where run.py keeps its runs.

    Raises BadInput where there is no such run, or nothing to compare.
    """
    store.use_existing(uri)
    runs = list(map(_run, ids))
    logged = read([run.info.artifact_uri for run in runs])
    known = []
    for run, answers in zip(runs, logged, strict=True):
        if answers is None:
            raise BadInput(
                f"run {run.info.run_id} ({run.info.run_name}) has no answers.npz; expected a cell "
                f"that came to its end, not a sweep's parent or a run of an earlier version"
            )
        known.append(answers)
    a, b = known
    reasons = [reason for name in WORDS if (reason := unlike(a, b, name))]
    differences = compare(a, b)
    if not differences:
        raise BadInput(f"the runs cannot be compared image by image: {'; '.join(reasons)}")
    for letter, run in zip("ab", runs, strict=True):
        oracle = ORACLE if run.data.tags.get("threat_model") == "oracle" else ""
        terminal.print_line(f"{letter}: {run.info.run_name}{oracle} ({run.info.run_id})")
    words = {metric: label for metric, label, _ in RATES}
    lines = [
        [
            words[one.metric],
            str(one.images),
            terminal.percent(one.a),
            terminal.percent(one.b),
            f"{100 * (one.b - one.a):+.2f}",
            str(one.only_a),
            str(one.only_b),
            "<1e-99" if one.p < 1e-99 else f"{one.p:.2g}",
        ]
        for one in differences
    ]
    heads = ["", "images", "a", "b", "b - a", "only a", "only b", "p"]
    terminal.print_table(heads, lines, 1)
    terminal.print_line(LEGEND)
    for reason in reasons:
        terminal.print_line(f"Not compared: {reason}.")


def _run(run_id: str) -> Run:
    try:
        return mlflow.get_run(run_id)
    except MlflowException as error:
        reason = redacted(str(error)).splitlines()[0][:200]
        raise BadInput(
            f"run {run_id} cannot be read from {mlflow.get_tracking_uri()} ({reason}); expected a "
            f"run's id as in comparison.csv or in the browser"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 well, 2 bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.paired",
        description="Compare two runs image by image: which differences are more than chance?",
    )
    parser.add_argument("run", nargs=2, metavar="RUN_ID", help="a run's id, as in comparison.csv")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    given = parser.parse_args(arguments)
    try:
        show(given.run, given.uri)
    except BadInput as error:
        terminal.print_error(str(error))
        return 2
    return 0
