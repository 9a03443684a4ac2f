"""GoodNet and rates against slow loops, GoodNet against B and B'; the target's class never counts.

Predictions are drawn as (steps, images) arrays: what holds for one network holds for a whole curve.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.evaluation import metrics
from sweep.evaluation.rates import hits_on_clean, hits_on_poisoned

CLASSES = 4
NETWORKS = ("badnet", "repaired", "goodnet")
modest = settings(max_examples=30, deadline=None)
shares = st.floats(0, 1)


def classes(*shape: int, high: int = CLASSES - 1) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int64, shape, elements=st.integers(0, high))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of B, of B' at every step, and labels, for the same images."""
    images, steps = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    return draw(classes(images)), draw(classes(steps, images)), draw(classes(images))


@modest
@given(predictions())
def test_goodnet_says_the_common_class_or_one_above_the_classes(drawn):
    badnet, repaired, _ = drawn
    answer = metrics.goodnet(badnet, repaired, CLASSES)
    assert answer.shape == repaired.shape
    for step in range(len(repaired)):
        for image in range(len(badnet)):
            one, other = badnet[image], repaired[step, image]
            assert answer[step, image] == (one if one == other else CLASSES)


@modest
@given(predictions())
def test_goodnet_is_never_more_accurate_than_either_network(drawn):
    badnet, repaired, labels = drawn
    vote = metrics.goodnet(badnet, repaired, CLASSES)
    hits = hits_on_clean(badnet, repaired, vote, labels, CLASSES)
    rates = {name: hit.mean(axis=-1) for name, hit in hits.items()}
    assert np.all(rates["goodnet/clean_accuracy"] <= rates["badnet/clean_accuracy"])
    assert np.all(rates["goodnet/clean_accuracy"] <= rates["repaired/clean_accuracy"])


@modest
@given(predictions(), st.integers(0, CLASSES - 1))
def test_an_attack_on_goodnet_never_succeeds_more_often_than_on_either_network(drawn, target):
    badnet, repaired, true_labels = drawn
    labels = np.full(len(badnet), target)
    counted = metrics.attacked(labels, true_labels)
    assume(counted.any())
    badnet, repaired, labels = badnet[counted], repaired[:, counted], labels[counted]
    vote = metrics.goodnet(badnet, repaired, CLASSES)
    hits = hits_on_poisoned(badnet, repaired, vote, labels, true_labels[counted], CLASSES)
    success = {name: hits[f"{name}/attack_success_rate"].mean(axis=-1) for name in NETWORKS}
    assert np.all(success["goodnet"] <= success["badnet"])
    assert np.all(success["goodnet"] <= success["repaired"])


@modest
@given(predictions(), st.integers(0, CLASSES - 1))
def test_hits_are_those_of_a_loop_over_images_and_steps(drawn, target):
    badnet, repaired, labels = drawn
    target = np.full(len(badnet), target)
    vote = metrics.goodnet(badnet, repaired, CLASSES)
    clean = hits_on_clean(badnet, repaired, vote, labels, CLASSES)
    poisoned = hits_on_poisoned(badnet, repaired, vote, target, labels, CLASSES)
    for step, row in enumerate(repaired.tolist()):
        for image, said in enumerate(row):
            agree = said == badnet[image]
            is_right, is_hit = said == labels[image], said == target[image]
            assert clean["badnet/clean_accuracy"][image] == (badnet[image] == labels[image])
            assert clean["repaired/clean_accuracy"][step, image] == is_right
            assert clean["goodnet/clean_accuracy"][step, image] == (agree and is_right)
            assert clean["goodnet/false_alarm_rate"][step, image] == (not agree)
            assert poisoned["repaired/attack_success_rate"][step, image] == is_hit
            assert poisoned["goodnet/attack_success_rate"][step, image] == (agree and is_hit)
            assert poisoned["repaired/robust_accuracy"][step, image] == is_right
            assert poisoned["goodnet/robust_accuracy"][step, image] == (agree and is_right)
            assert poisoned["goodnet/detection_rate"][step, image] == (not agree)


def test_without_true_labels_nobody_tells_who_is_right_of_poisoned_images():
    hits = hits_on_poisoned(*[np.array([1])] * 4, None, CLASSES)
    assert set(hits) == {f"{name}/attack_success_rate" for name in NETWORKS} | {
        "goodnet/detection_rate"
    }


def test_a_goodnet_of_two_equal_networks_flags_nothing():
    badnet = np.array([0, 3, 1, 3])
    np.testing.assert_array_equal(metrics.goodnet(badnet, badnet, CLASSES), badnet)
    hits = hits_on_clean(*[badnet] * 4, CLASSES)
    assert not hits["goodnet/false_alarm_rate"].any()


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
