"""Which images GoodNet flags: each of them, with its place in its file, and no other."""

import csv
from io import StringIO

import numpy as np

from sweep.data import Images
from sweep.detectors import Rule, answers, flagged_csv
from sweep.evaluation.curve import Predictions
from sweep.pruning.predictions import RepairedNetwork

PIXELS = np.zeros((4, 2, 2, 1), np.float32)
CLASSES = 10
LABELS = np.array([0, 1, 2, 0])
FILES = {"test": "clean.h5", "poisoned": "bad.h5", "valid": "valid.h5"}


def rows(images: dict[str, Images], repaired: dict, score: dict) -> list[dict[str, str]]:
    """What is told where B says 0, 1, 2, 1 and the vote flags."""
    by_step = {name: Predictions(np.array([[0, 1, 2, 1]]), i.labels) for name, i in images.items()}
    apart = {name: np.stack([values, np.zeros(4)]) for name, values in score.items()}
    now = RepairedNetwork(None, repaired, apart)
    said = answers(Rule(), by_step, now, CLASSES)
    text = flagged_csv(images, FILES, by_step, now, said, CLASSES)
    return list(csv.DictReader(StringIO(text, newline="")))


def test_a_row_for_each_image_on_which_both_disagree_the_surest_first():
    images = {"test": Images(PIXELS, LABELS), "poisoned": Images(PIXELS, LABELS, LABELS[::-1])}
    repaired = {"test": np.array([0, 2, 2, 0]), "poisoned": np.array([0, 1, 2, 1])}
    score = {"test": np.array([0.1, 0.6, 0.2, 0.9]), "poisoned": np.zeros(4)}
    first, second = rows(images, repaired, score)
    assert [first["number"], second["number"]] == ["3", "1"]
    assert first == {
        **{"images": "test", "file": "clean.h5", "number": "3", "label": "0", "true_label": ""},
        **{"badnet": "1", "repaired": "0", "score": "0.900000"},
    }


def test_true_labels_are_told_where_they_are_known():
    images = {"poisoned": Images(PIXELS, LABELS, np.array([5, 6, 7, 8]))}
    (row,) = rows(images, {"poisoned": np.array([0, 1, 2, 2])}, {"poisoned": np.ones(4)})
    assert (row["label"], row["true_label"]) == ("0", "8")


def test_sampled_images_are_told_by_their_places_in_the_file():
    whole = Images(np.arange(40.0, dtype=np.float32).reshape(40, 1, 1, 1), np.arange(40))
    sampled = whole.sample(4, seed=1)
    np.testing.assert_array_equal(sampled.numbers, sampled.labels)
    disagreeing = {"valid": np.array([9, 1, 2, 9])}
    numbers = [
        row["number"] for row in rows({"valid": sampled}, disagreeing, {"valid": np.ones(4)})
    ]
    assert numbers == [str(sampled.numbers[0]), str(sampled.numbers[3])]


def test_by_a_score_those_are_told_whose_score_is_above_the_threshold():
    images = {"test": Images(PIXELS, LABELS)}
    by_step = {"test": Predictions(np.array([[0, 1, 2, 1]]), LABELS)}
    apart = {"test": np.array([[0.2, 0.5, 0.9, 0.5]])}
    now = RepairedNetwork(None, {"test": np.array([0, 1, 2, 0])}, apart)
    said = answers(Rule(0.5), by_step, now, CLASSES)
    text = flagged_csv(images, FILES, by_step, now, said, CLASSES)
    assert [row["number"] for row in csv.DictReader(StringIO(text))] == ["2"]


def test_where_both_agree_nothing_is_told_but_the_head():
    images = {"test": Images(PIXELS, LABELS)}
    assert rows(images, {"test": np.array([0, 1, 2, 1])}, {"test": np.zeros(4)}) == []
