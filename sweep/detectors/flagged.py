"""Which images GoodNet flags, one by one, so that each can be looked at."""

import csv
from collections.abc import Mapping
from io import StringIO

import numpy as np

from sweep.data import Images
from sweep.evaluation.curve import Predictions
from sweep.evaluation.metrics import Labels
from sweep.pruning.predictions import RepairedNetwork

HEAD = ("images", "file", "number", "label", "true_label", "badnet", "repaired", "score")


def flagged_csv(
    images: Mapping[str, Images],
    files: Mapping[str, str],
    by_step: Mapping[str, Predictions],
    repaired: RepairedNetwork,
    goodnet: Mapping[str, Labels],
    classes: int,
) -> str:
    """A row for each image that GoodNet flags, the surest first, in CSV.

    `images` are "valid", "test" and, where there are any, "poisoned" ones, and the others go by
    the same names: the `files` that they are of, B's predictions (step 0 of `by_step`), B's
    `repaired` classes and GoodNet's, (n,), of which `classes` is a flagged image's, and how far
    both are apart, (2, n), of which the first is the score.
    `number` is the image's place in its file; `true_label` is empty where it is not known.
    """
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEAD)
    for kind, of_kind in images.items():
        badnet, score = by_step[kind].predicted[0], repaired.disagreement[kind][0]
        rows = np.flatnonzero(goodnet[kind] == classes)
        for row in rows[np.argsort(-score[rows], kind="stable")]:
            number = row if of_kind.numbers is None else of_kind.numbers[row]
            true_label = "" if of_kind.true_labels is None else of_kind.true_labels[row]
            label, said = of_kind.labels[row], repaired.predicted[kind][row]
            place = [kind, files[kind], number]
            table.writerow([*place, label, true_label, badnet[row], said, f"{score[row]:.6f}"])
    return text.getvalue()
