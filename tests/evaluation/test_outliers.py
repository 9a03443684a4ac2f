"""The anomaly index: by hand, and what it does not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.evaluation import outliers

modest = settings(max_examples=50, deadline=None)


def test_an_index_by_hand_counts_deviations_below_the_median():
    told = outliers.anomaly([2, 10, 11, 12, 13, 14, 16])  # median 12, distances 10 2 1 0 1 2 4
    expected = np.array([10, 2, 1, 0, -1, -2, -4]) / (1.4826 * 2)
    np.testing.assert_allclose(told, expected)
    assert told.argmax() == 0


@modest
@given(st.lists(st.integers(1, 99), min_size=3, max_size=20), st.floats(0.01, 100))
def test_the_unit_and_the_order_of_sizes_do_not_matter(sizes, unit):
    told = outliers.anomaly(sizes)
    np.testing.assert_allclose(outliers.anomaly(unit * np.array(sizes)), told, atol=1e-6)
    np.testing.assert_array_equal(outliers.anomaly(sizes[::-1]), told[::-1])
    assert np.all(told[np.argsort(sizes)][:-1] >= told[np.argsort(sizes)][1:])


def test_of_few_sizes_or_equal_ones_nothing_but_what_is_certain_is_told():
    inf = np.inf
    assert outliers.anomaly([]).tolist() == []
    assert outliers.anomaly([1, 100]).tolist() == [0, 0]
    assert outliers.anomaly([4, 4, 4]).tolist() == [0, 0, 0]
    assert outliers.anomaly([4, 4, 4, 1, 5]).tolist() == [0, 0, 0, inf, -inf]


def test_what_was_not_found_is_never_small_and_changes_nothing():
    some = [1.0, 4.0, 5.0, 6.0, 7.0]
    told = outliers.anomaly([*some, np.inf, np.inf])
    np.testing.assert_array_equal(told[:5], outliers.anomaly(some))
    assert told[5:].tolist() == [-np.inf, -np.inf]
    assert outliers.anomaly([np.inf, 3.0, 4.0]).tolist() == [-np.inf, 0, 0]


@pytest.mark.parametrize("sizes", [[1, np.nan, 2], [[1, 2, 3]], [-np.inf, 1, 2]])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ValueError, match="one number for each class"):
        outliers.anomaly(sizes)
