"""Rates against slow loops; GoodNet is never better than B or B'; the target's class never counts.

Predictions are drawn as (steps, images) arrays: what holds for one network holds for a whole curve.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.evaluation import metrics

CLASSES = 4
modest = settings(max_examples=30, deadline=None)
shares = st.floats(0, 1)


def classes(*shape: int, high: int = CLASSES - 1) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int64, shape, elements=st.integers(0, high))


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of B, answers of B' at every step, and labels, for the same images."""
    images, steps = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    return draw(classes(images)), draw(classes(steps, images)), draw(classes(images))


@modest
@given(answers())
def test_goodnet_says_the_common_class_or_one_above_the_classes(drawn):
    badnet, repaired, _ = drawn
    answer = metrics.goodnet(badnet, repaired, CLASSES)
    assert answer.shape == repaired.shape
    for step in range(len(repaired)):
        for image in range(len(badnet)):
            one, other = badnet[image], repaired[step, image]
            assert answer[step, image] == (one if one == other else CLASSES)


@modest
@given(answers())
def test_goodnet_is_never_more_accurate_than_either_network(drawn):
    badnet, repaired, labels = drawn
    goodnet = metrics.accuracy(metrics.goodnet(badnet, repaired, CLASSES), labels)
    assert np.all(goodnet <= metrics.accuracy(badnet, labels))
    assert np.all(goodnet <= metrics.accuracy(repaired, labels))


@modest
@given(answers(), st.integers(0, CLASSES - 1))
def test_an_attack_on_goodnet_never_succeeds_more_often_than_on_either_network(drawn, target):
    badnet, repaired, true_labels = drawn
    labels = np.full(len(badnet), target)
    counted = metrics.attacked(labels, true_labels)
    assume(counted.any())
    badnet, repaired, labels = badnet[counted], repaired[:, counted], labels[counted]
    goodnet = metrics.accuracy(metrics.goodnet(badnet, repaired, CLASSES), labels)
    assert np.all(goodnet <= metrics.accuracy(badnet, labels))
    assert np.all(goodnet <= metrics.accuracy(repaired, labels))


@modest
@given(answers())
def test_rates_are_counts_over_the_images_of_each_step(drawn):
    _, repaired, labels = drawn
    right, above = metrics.accuracy(repaired, labels), metrics.flagged(repaired, CLASSES - 1)
    assert right.shape == above.shape == (len(repaired),)
    for step, row in enumerate(repaired.tolist()):
        hits = sum(said == label for said, label in zip(row, labels.tolist(), strict=True))
        assert right[step] == pytest.approx(hits / len(row))
        assert above[step] == pytest.approx(row.count(CLASSES - 1) / len(row))


@modest
@given(answers())
def test_goodnets_shares_of_all_classes_and_of_flagged_images_add_up_to_one(drawn):
    badnet, repaired, _ = drawn
    goodnet = metrics.goodnet(badnet, repaired, CLASSES)
    of_classes = sum(metrics.accuracy(goodnet, np.full(len(badnet), c)) for c in range(CLASSES))
    np.testing.assert_allclose(of_classes + metrics.flagged(goodnet, CLASSES), 1)


def test_a_goodnet_of_two_equal_networks_flags_nothing():
    badnet = np.array([0, 3, 1, 3])
    np.testing.assert_array_equal(metrics.goodnet(badnet, badnet, CLASSES), badnet)
    assert metrics.flagged(metrics.goodnet(badnet, badnet, CLASSES), CLASSES) == 0


def test_images_whose_true_class_is_the_target_do_not_count():
    target, true_labels = np.array([2, 2, 2, 2]), np.array([0, 2, 1, 2])
    np.testing.assert_array_equal(metrics.attacked(target, true_labels), [True, False, True, False])


def test_the_target_may_differ_from_image_to_image():
    target, true_labels = np.array([1, 2, 0]), np.array([0, 2, 1])
    np.testing.assert_array_equal(metrics.attacked(target, true_labels), [True, False, True])


def test_all_images_count_where_true_classes_are_not_known():
    np.testing.assert_array_equal(metrics.attacked(np.array([2, 2, 2]), None), [True] * 3)


@given(shares, shares, shares, shares)
@modest
def test_defense_effectiveness_lies_between_zero_and_one(before, after, clean_before, clean_after):
    assert 0 <= metrics.defense_effectiveness(before, after, clean_before, clean_after) <= 1


@pytest.mark.parametrize(
    ("attack", "clean", "effectiveness"),
    [
        ((1.0, 0.0), (0.9, 0.9), 1.0),  # (1 - 0 + 1) / 2
        ((0.8, 0.8), (0.9, 0.9), 0.5),  # nothing done
        ((0.8, 0.8), (0.9, 0.7), 0.4),  # (0 - 0.2 + 1) / 2
        ((0.9, 0.3), (0.9, 0.8), 0.75),  # (0.6 - 0.1 + 1) / 2
        ((0.0, 0.0), (1.0, 0.0), 0.0),  # all accuracy lost for nothing
        ((0.9, 0.3), (0.7, 0.8), 0.8),  # a rise of accuracy is not paid: (0.6 + 1) / 2
        ((0.3, 0.9), (0.9, 0.9), 0.5),  # a rise of attack success is not charged
    ],
)
def test_defense_effectiveness_by_hand(attack, clean, effectiveness):
    assert metrics.defense_effectiveness(*attack, *clean) == pytest.approx(effectiveness)


@modest
@given(shares, shares, shares, shares, shares)
def test_losing_more_accuracy_never_makes_a_defence_more_effective(a, b, clean, one, other):
    kept, lost = max(one, other), min(one, other)
    more = metrics.defense_effectiveness(a, b, clean, lost)
    assert more <= metrics.defense_effectiveness(a, b, clean, kept)
