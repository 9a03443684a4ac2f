"""Wilson's interval and McNemar's test: by hand, against slow sums and scipy."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweep.evaluation import significance

modest = settings(max_examples=50, deadline=None)
counts = st.integers(0, 40)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_by_newcombes_table(hits, n, low, high):
    # Statistics in Medicine 1998, table I
    assert significance.wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_of_no_images_nothing_is_known_and_at_the_ends_the_interval_is_closed():
    assert significance.wilson(0, 0) == (0, 1)
    assert significance.wilson(0, 7)[0] == 0
    assert significance.wilson(7, 7)[1] == 1


@modest
@given(counts, counts)
def test_wilson_is_that_of_scipy(hits, more):
    stats = pytest.importorskip("scipy.stats")
    assume(hits + more)
    theirs = stats.binomtest(hits, hits + more).proportion_ci(method="wilson")
    assert significance.wilson(hits, hits + more) == pytest.approx(tuple(theirs), abs=1e-7)


@modest
@given(st.integers(0, 20000), st.integers(0, 20000))
def test_wilson_holds_the_rate_mirrors_and_shrinks_with_more_images(hits, more):
    n = hits + more
    assume(n)
    low, high = significance.wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert significance.wilson(more, n) == pytest.approx((1 - high, 1 - low))
    wider = significance.wilson(hits, n, z=3)
    assert wider[0] <= low
    assert high <= wider[1]
    low4, high4 = significance.wilson(4 * hits, 4 * n)
    assert high4 - low4 < high - low


@modest
@given(st.integers(1, 20000), st.floats(0.5, 6))
def test_at_the_ends_the_interval_is_closed_whatever_is_rounded(n, z):
    assert significance.wilson(0, n, z)[0] == 0
    assert significance.wilson(n, n, z)[1] == 1


def test_wilson_takes_arrays():
    low, high = significance.wilson([0, 1, 3], [0, 10, 4])
    for index, pair in enumerate([(0, 0), (1, 10), (3, 4)]):
        assert (low[index], high[index]) == significance.wilson(*pair)


@pytest.mark.parametrize(("hits", "n"), [(5, 4), (-1, 4), ([1, 5], [4, 4]), (float("nan"), 3)])
def test_wilson_refuses_more_hits_than_images(hits, n):
    with pytest.raises(ValueError, match="expected 0 to all of them"):
        significance.wilson(hits, n)


@pytest.mark.parametrize(
    ("lost", "gained", "one", "two"),
    [
        (0, 0, 1, 1),
        (1, 0, 1 / 2, 1),
        (0, 1, 1, 1),
        (4, 1, 6 / 32, 12 / 32),
        (1, 4, 31 / 32, 12 / 32),
        (2, 2, 11 / 16, 1),
        (10, 0, 2**-10, 2**-9),
    ],
)
def test_mcnemar_by_hand(lost, gained, one, two):
    assert significance.mcnemar(lost, gained) == pytest.approx(one, rel=1e-12)
    assert significance.mcnemar(lost, gained, two_sided=True) == pytest.approx(two, rel=1e-12)


@modest
@given(counts, counts)
def test_mcnemar_is_the_binomial_tail_of_whole_numbers(lost, gained):
    n = lost + gained
    tail = Fraction(sum(math.comb(n, k) for k in range(lost, n + 1)), 2**n)
    assert significance.mcnemar(lost, gained) == pytest.approx(float(tail), rel=1e-12)
    other = Fraction(sum(math.comb(n, k) for k in range(max(lost, gained), n + 1)), 2**n)
    two = significance.mcnemar(lost, gained, two_sided=True)
    assert two == pytest.approx(min(1, 2 * float(other)), rel=1e-12)
    assert two == significance.mcnemar(gained, lost, two_sided=True)


@pytest.mark.parametrize(
    ("lost", "gained"), [(10000, 9900), (9900, 10000), (300, 100), (7000, 6000), (20000, 0)]
)
def test_mcnemar_is_that_of_scipy_for_many_images(lost, gained):
    stats = pytest.importorskip("scipy.stats")
    for two_sided, alternative in ((False, "greater"), (True, "two-sided")):
        theirs = stats.binomtest(lost, lost + gained, alternative=alternative).pvalue
        ours = significance.mcnemar(lost, gained, two_sided=two_sided)
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-300)


@modest
@given(counts, counts)
def test_more_lost_images_are_never_less_significant(lost, gained):
    assert significance.mcnemar(lost + 1, gained) <= significance.mcnemar(lost, gained)
    assert significance.mcnemar(lost, gained + 1) >= significance.mcnemar(lost, gained)


def test_mcnemar_takes_counts_of_numpy_and_refuses_negative_ones():
    counted = significance.mcnemar(np.int32(20000), np.int32(19000))
    assert counted == significance.mcnemar(20000, 19000)
    with pytest.raises(ValueError, match="-1 images lost and 2 gained"):
        significance.mcnemar(-1, 2)


@modest
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_two_networks_are_compared_on_the_images_on_which_they_differ(right):
    lost = sum(a and not b for a, b in right)
    gained = sum(b and not a for a, b in right)
    a, b = np.array(right, bool).reshape(-1, 2).T
    p = significance.mcnemar(lost, gained, two_sided=True)
    assert significance.paired(a, b) == (lost, gained, p)
    assert significance.paired(b, a) == (gained, lost, p)


def test_networks_on_other_images_are_not_compared():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\) are not of the same images"):
        significance.paired(np.ones(2, bool), np.ones(3, bool))
