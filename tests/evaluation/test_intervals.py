"""A rate's interval, from its name, its value and how many images there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.evaluation.intervals import images_of, interval
from sweep.evaluation.significance import wilson

IMAGES = {"valid": 40, "test": 50, "poisoned": 30}


def test_an_interval_by_hand():
    # 3 of 4, z = 1.96: (3 + 1.9207 -+ 1.96 * sqrt(0.75 + 0.9604)) / (4 + 3.8415)
    low, high = interval("badnet/clean_accuracy", 0.75, {"test": 4})
    assert low == pytest.approx(0.30064, abs=1e-5)
    assert high == pytest.approx(0.95441, abs=1e-5)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("badnet/valid_accuracy", "valid"),
        ("goodnet/clean_accuracy", "test"),
        ("goodnet/false_alarm_rate", "test"),
        ("jensen_shannon/false_alarm_rate_at_5", "test"),
        ("finetune/attack_success_rate", "poisoned"),
        ("repaired/robust_accuracy", "poisoned"),
        ("goodnet/detection_rate", "poisoned"),
        ("goodnet/detection_rate_at_1", "poisoned"),
        ("attack_success_rate", "poisoned"),
        ("repaired/defense_effectiveness", None),
        ("tradeoff/attack_success_rate_at_10", None),
        ("tradeoff/attack_area", None),
        ("prune/channels", None),
        ("time/total", None),
    ],
)
def test_what_a_rate_is_a_share_of_is_told_by_its_name(metric, kind):
    assert images_of(metric) == kind
    assert (interval(metric, 0.5, IMAGES) is None) == (kind is None)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_it_is_the_interval_of_the_images_that_were_counted(counts):
    hits, images = counts
    rate = "repaired/clean_accuracy"
    assert interval(rate, hits / images, {"test": images}) == wilson(hits, images)


def test_of_images_that_nobody_counted_nothing_is_known():
    assert interval("repaired/clean_accuracy", 0.5, {"valid": 3}) is None
    assert interval("repaired/clean_accuracy", 0.5, {"test": 0}) is None
