"""When GoodNet flags an image: a threshold that clean images set, or the vote."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep import BadInput
from sweep.detectors import Rule, answers, by_score, by_vote
from sweep.detectors.rules import ROUNDING
from sweep.evaluation.curve import Predictions
from sweep.pruning.predictions import RepairedNetwork

CLASSES = 4
modest = settings(max_examples=50, deadline=None)
counts = st.integers(1, 60)
clean_scores = counts.flatmap(
    lambda n: arrays(np.float64, n, elements=st.integers(-8, 8).map(lambda i: i / 8))
)


@modest
@given(clean_scores, st.floats(0.001, 0.9))
def test_a_threshold_flags_at_most_the_wanted_share_of_the_images_that_set_it(scores, alarm):
    rule = by_score(scores, false_alarm=alarm)
    flagged = rule.flags(np.zeros(len(scores)), np.zeros(len(scores)), scores)
    assert flagged.sum() == rule.flagged <= alarm * len(scores) + 1e-9
    assert rule.images == len(scores)
    # and no more can be had: the next lower score would flag too many
    lower = scores[scores <= rule.threshold].max()
    assert np.sum(scores >= lower) > alarm * len(scores) - 1e-9


def test_the_rounding_of_another_machine_flags_no_image_that_set_the_threshold():
    scores = np.linspace(0, 1, 101)
    rule = by_score(scores, false_alarm=0.05)
    elsewhere = scores + ROUNDING / 2
    assert rule.flags(scores, scores, elsewhere).sum() == rule.flagged == 5


def test_so_many_further_clean_images_are_flagged_as_the_tolerance_says():
    """Drawn anew 400 times, the share of all clean images that is flagged lies within it."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        rule = by_score(rng.uniform(size=200), false_alarm=0.05)
        low, high = rule.tolerance
        held += low <= 1 - rule.threshold <= high  # of uniform scores, what is above it
    assert held / 400 >= 0.95


def test_of_few_images_the_tolerance_is_wide_and_a_vote_has_none():
    low, high = by_score([0.1, 0.2, 0.3], false_alarm=0.01).tolerance
    assert (low, round(high, 3)) == (0.0, 0.708)
    assert by_vote([0.1]).tolerance is None


LABELS = np.array([0, 1, 2, 3])
REPAIRED = np.array([0, 1, 1, 1])
SCORES = np.array([0.1, 0.9, 0.2, 0.8])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(), [0, 1, 4, 4]),
        (Rule(0.5, "badnet"), [0, 4, 2, 4]),
        (Rule(0.5, "repaired"), [0, 4, 1, 4]),
        (Rule(0.9, "repaired"), [0, 1, 1, 1]),
    ],
)
def test_the_class_of_each_image_by_hand(rule, expected):
    assert rule.classify(LABELS, REPAIRED, SCORES, CLASSES).tolist() == expected
    by_step = {"test": Predictions(LABELS[None], LABELS)}
    apart = {"test": np.stack([SCORES, 1 - SCORES])}
    now = RepairedNetwork(None, {"test": REPAIRED}, apart)
    said = answers(rule, by_step, now, CLASSES)
    assert said["test"].tolist() == expected


@modest
@given(st.data())
def test_goodnet_is_no_better_than_the_network_it_answers_with(data):
    size = data.draw(counts)
    some = arrays(np.int64, size, elements=st.integers(0, CLASSES - 1))
    labels, badnet, repaired = (data.draw(some) for _ in range(3))
    scores = data.draw(arrays(np.float64, size, elements=st.floats(-1, 1)))
    right = {"badnet": badnet == labels, "repaired": repaired == labels}
    for answer, of_network in right.items():
        rule = Rule(data.draw(st.floats(-1, 1)), answer)
        said = rule.classify(badnet, repaired, scores, CLASSES)
        flagged = rule.flags(badnet, repaired, scores)
        assert np.sum(said == labels) <= np.sum(of_network)
        # what it loses is what it flags, and no more
        assert np.sum(said == labels) == np.sum(of_network & ~flagged)
    vote = Rule().classify(badnet, repaired, scores, CLASSES) == labels
    assert np.sum(vote) <= min(np.sum(of_network) for of_network in right.values())


def test_what_a_rule_says_of_itself_can_be_read_again():
    rule = by_score(SCORES, false_alarm=0.25, answer="repaired")
    about = json.loads(rule.to_json())
    assert about["rule"] == "score"
    assert about["tolerance"] == pytest.approx(rule.tolerance)
    assert {name: about[name] for name in ("threshold", "answer", "images", "flagged")} == {
        "threshold": 0.800001,
        "answer": "repaired",
        "images": 4,
        "flagged": 1,
    }
    assert rule.metrics() == {"goodnet/threshold": 0.800001}
    assert (json.loads(by_vote(SCORES).to_json())["rule"], by_vote(SCORES).metrics()) == (
        "vote",
        {},
    )


def test_an_answer_of_neither_network_is_refused():
    with pytest.raises(BadInput, match="is both; expected badnet or repaired"):
        by_score(SCORES, answer="both")
