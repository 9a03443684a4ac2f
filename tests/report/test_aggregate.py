"""Intervals, means over seeds, tests and the front, against numbers known otherwise."""

import pytest

from sweep.evaluation.significance import holm, wilson
from sweep.report.aggregate import (
    Rate,
    front,
    in_every_seed,
    over_seeds,
    overlap,
    rate,
    versus,
)


def test_the_interval_of_a_rate_is_wilsons_by_the_count_of_images():
    low, high = wilson(45, 50)
    one = rate(0.9, 50)
    assert (one.low, one.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("images", [None, 0])
def test_without_a_count_there_is_no_interval(images):
    assert rate(0.9, images) == Rate(0.9)


def test_a_mean_over_seeds_reaches_from_the_lowest_to_the_highest_end():
    assert over_seeds([Rate(0.2, 0.1, 0.3), Rate(0.4, 0.35, 0.6)]) == Rate(
        pytest.approx(0.3), 0.1, 0.6
    )
    assert over_seeds([Rate(0.2, 0.1, 0.3), Rate(0.4)]) == Rate(pytest.approx(0.3))


def test_intervals_overlap_where_they_share_a_value_or_are_not_known():
    assert overlap(Rate(0.1, 0.0, 0.2), Rate(0.3, 0.2, 0.4))
    assert not overlap(Rate(0.1, 0.0, 0.2), Rate(0.3, 0.21, 0.4))
    assert overlap(Rate(0.1), Rate(0.9, 0.8, 1.0))


def test_a_difference_of_seeds_is_as_sure_as_its_least_sure_seed():
    assert in_every_seed([(-0.1, 0.001), (-0.2, 0.2), (-0.1, 0.01)]) == 0.2
    assert in_every_seed([(-0.1, 0.001), (0.1, 0.001)]) == 1
    assert in_every_seed([]) == 1


def test_the_best_is_compared_with_every_other_raised_for_their_number():
    best, others = Rate(0.1, 0.05, 0.15), [Rate(0.2), Rate(0.3), Rate(0.9, 0.8, 1.0)]
    compared = versus(best, others, [(0.03, 100, 1), (0.001, 100, 1), None])
    assert [one.p for one in compared] == [*holm([0.03, 0.001]), None]
    assert [one.chance for one in compared] == [False, False, False]
    assert versus(best, others[:2], [(0.03, 100, 1), (0.03, 100, 1)])[0].chance


def test_the_front_leaves_out_whatever_another_point_beats_in_both():
    points = [(0.9, 0.5), (0.9, 0.4), (0.8, 0.4), (0.7, 0.3), (0.99, 1.0), (0.6, 0.35)]
    assert front(points) == [4, 1, 3]
    assert front([]) == []
