"""Intervals, tests, thresholds and trade-offs: by hand, against slow loops and other libraries."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.evaluation import detection, outliers, significance, tradeoffs

modest = settings(max_examples=50, deadline=None)
counts = st.integers(0, 40)
levels = st.lists(st.integers(0, 9), min_size=1, max_size=12)
shares = st.floats(0, 1)


# Wilson's interval


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


# McNemar's test


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


# AUROC and thresholds


@modest
@given(levels, levels)
def test_auroc_counts_the_pairs_won_and_half_of_the_ties(clean, poisoned):
    won = sum((p > c) + (p == c) / 2 for p in poisoned for c in clean)
    told = detection.auroc(clean, poisoned)
    assert told == pytest.approx(won / (len(clean) * len(poisoned)))
    assert 0 <= told <= 1
    assert detection.auroc(poisoned, clean) == pytest.approx(1 - told)


@modest
@given(levels, levels)
def test_auroc_is_that_of_sklearn(clean, poisoned):
    theirs = pytest.importorskip("sklearn.metrics")
    labels = [0] * len(clean) + [1] * len(poisoned)
    expected = theirs.roc_auc_score(labels, clean + poisoned)
    assert detection.auroc(clean, poisoned) == pytest.approx(expected)


@modest
@given(levels, levels)
def test_auroc_reads_only_the_order_of_scores(clean, poisoned):
    def moved(scores: list[int]) -> np.ndarray:
        return np.exp(np.array(scores, np.float64)) * 3 - 7

    told = detection.auroc(clean, poisoned)
    assert detection.auroc(moved(clean), moved(poisoned)) == told
    assert detection.auroc(clean, clean) == 0.5


def test_auroc_counts_infinite_scores_and_many_images():
    assert detection.auroc([0, -np.inf], [np.inf]) == 1
    scores = np.random.default_rng(0).permutation(200_000)
    assert detection.auroc(scores[scores < 100_000], scores[scores >= 100_000]) == 1


@modest
@given(levels, st.integers(0, 999))
@example([*range(100)], 50)
@example([*range(100)], 70)  # 0.07 * 100 is a little more than 7 in floats
@example([*range(100)], 290)  # 0.29 * 100 is a little less than 29
def test_the_threshold_is_the_lowest_that_flags_no_more_than_allowed(scores, part):
    told = detection.threshold(scores, part / 1000)

    def allowed(t: float) -> bool:
        return 1000 * sum(score > t for score in scores) <= part * len(scores)

    assert allowed(told)
    assert not allowed(np.nextafter(told, -np.inf))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_that_is_the_threshold_is_not_flagged_whatever_its_type(dtype):
    scores = np.array([0.1, 0.2, 0.3], dtype)
    assert (scores > detection.threshold(scores, 0)).sum() == 0
    assert (scores > detection.threshold(scores, 0.34)).sum() == 1


@pytest.mark.parametrize("scores", [[], [0.5, float("nan")], [[0.5]]])
def test_scores_that_are_none_are_refused(scores):
    for call in (
        lambda: detection.auroc(scores, [1]),
        lambda: detection.auroc([1], scores),
        lambda: detection.threshold(scores, 0.05),
    ):
        with pytest.raises(ValueError, match="expected one number for each of some images"):
            call()


@pytest.mark.parametrize("alarm", [-0.01, 1, 5, float("nan")])
def test_a_share_of_false_alarms_is_at_least_0_and_below_1(alarm):
    with pytest.raises(ValueError, match="expected one from 0 to below 1"):
        detection.threshold([0.5], alarm)


# What an attack has left


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Accuracy and attack success of every step, in hundredths."""
    steps = draw(st.integers(1, 10))
    some = st.lists(st.integers(0, 100), min_size=steps, max_size=steps)
    accuracy, attack = draw(some), draw(some)
    return [a / 100 for a in accuracy], [a / 100 for a in attack]


@modest
@given(curves(), st.integers(0, 100))
@example(([1.0, 0.98, 0.0], [1.0, 0.5, 0.0]), 2)  # 1 - 0.98 is a little more than 0.02
@example(([0.9, 0.8, 0.0], [1.0, 0.5, 0.0]), 10)  # 0.9 - 0.8 is a little less than 0.1
@example(([0.9, 0.9, 0.0], [1.0, 0.5, 0.0]), 0)
def test_attack_at_drop_walks_until_more_is_paid(curve, points):
    accuracy, attack = curve
    left = attack[0]
    for now, success in zip(accuracy, attack, strict=True):
        if round(100 * accuracy[0]) - round(100 * now) > points:
            break
        left = success
    assert tradeoffs.attack_at_drop(*curve, points / 100) == left


@modest
@given(curves())
def test_attack_area_is_the_mean_over_finely_drawn_drops(curve):
    accuracy, attack = curve
    largest = round(100 * accuracy[0]) - min(round(100 * now) for now in accuracy)
    area = tradeoffs.attack_area(*curve)
    if largest <= 0:
        assert area == attack[-1]
    else:
        # between whole points nothing changes, so that their middles stand for all drops
        drops = (np.arange(largest) + 0.5) / 100
        left = [tradeoffs.attack_at_drop(*curve, drop) for drop in drops]
        assert area == pytest.approx(np.mean(left))
    assert 0 <= area <= 1


def test_attack_area_of_the_ideal_the_useless_and_a_curve_that_never_drops():
    assert tradeoffs.attack_area([1.0, 1.0, 0.0], [1.0, 0.0, 0.0]) == 0
    assert tradeoffs.attack_area([1.0, 0.5, 0.0], [1.0, 1.0, 1.0]) == 1
    assert tradeoffs.attack_area([0.5, 0.6, 0.7], [1.0, 0.9, 0.3]) == 0.3


def test_what_accuracy_recovers_is_paid_all_the_same():
    # 10 points were paid at the first step; that they come back buys no further steps
    curve = [0.9, 0.8, 0.9, 0.0], [1.0, 0.8, 0.3, 0.0]
    assert tradeoffs.attack_at_drop(*curve, 0.05) == 1.0
    assert tradeoffs.attack_at_drop(*curve, 0.10) == 0.3
    assert tradeoffs.attack_area(*curve) == pytest.approx((1.0 * 10 + 0.3 * 80) / 90)


def test_a_curve_of_two_lengths_and_a_drop_below_zero_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\); expected those of one curve"):
        tradeoffs.attack_area([1, 0], [1, 0, 0])
    with pytest.raises(ValueError, match=r"a drop of -0\.1; expected at least 0"):
        tradeoffs.attack_at_drop([1, 0], [1, 0], -0.1)


# Soft disagreement


@st.composite
def believed(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """What B and B' believe, (images, classes), with zeros and certainties among it."""
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    weights = [draw(arrays(np.float64, shape, elements=st.integers(0, 6))) for _ in range(2)]
    for one in weights:
        one[one.sum(axis=1) == 0, 0] = 1
    p, q = (one / one.sum(axis=1, keepdims=True) for one in weights)
    return p, q


@modest
@given(believed())
def test_doubt_is_what_b_repaired_withholds_from_the_class_that_b_says(drawn):
    p, q = drawn
    expected = [1 - after[before.argmax()] for before, after in zip(p, q, strict=True)]
    told = detection.doubt(p, q)
    assert told.tolist() == pytest.approx(expected)
    assert np.all((told >= 0) & (told <= 1))


@modest
@given(believed())
def test_jensen_shannon_is_the_mean_divergence_to_the_mean(drawn):
    p, q = drawn
    for row, told in enumerate(detection.jensen_shannon(p, q)):
        expected = 0.0
        for one, other in zip(p[row].tolist(), q[row].tolist(), strict=True):
            for some in (one, other):
                if some > 0:
                    expected += some * math.log2(2 * some / (one + other)) / 2
        assert told == pytest.approx(expected, abs=1e-12)


@modest
@given(believed())
def test_jensen_shannon_is_symmetric_bounded_and_0_only_where_all_is_equal(drawn):
    p, q = drawn
    told = detection.jensen_shannon(p, q)
    np.testing.assert_array_equal(told, detection.jensen_shannon(q, p))
    assert np.all((told >= 0) & (told <= 1))
    np.testing.assert_array_equal(told == 0, (p == q).all(axis=1))
    np.testing.assert_array_equal(detection.jensen_shannon(p, p), 0)


@modest
@given(believed())
def test_jensen_shannon_is_the_square_of_scipys_distance(drawn):
    distance = pytest.importorskip("scipy.spatial.distance")
    p, q = drawn
    theirs = distance.jensenshannon(p, q, base=2, axis=1) ** 2
    np.testing.assert_allclose(detection.jensen_shannon(p, q), theirs, atol=1e-12)


def test_beliefs_that_hardly_are_more_than_nothing_give_numbers():
    tiny = np.array([[5e-324, 1.0], [0.0, 1.0]])
    told = detection.jensen_shannon(tiny, tiny[::-1])
    assert np.isfinite(told).all()
    assert np.all(told < 1e-300)


def test_beliefs_are_taken_in_the_precision_of_a_network():
    logits = np.random.default_rng(0).normal(size=(2, 50, 1283)).astype(np.float32)
    p, q = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    assert detection.jensen_shannon(p, q).dtype == detection.doubt(p, q).dtype == np.float64


@pytest.mark.parametrize("score", [detection.doubt, detection.jensen_shannon])
@pytest.mark.parametrize(
    ("badnet", "message"),
    [
        ([[3.0, -2.0]], "expected probabilities"),
        ([[0.9, 0.9]], "expected probabilities"),
        ([[float("nan"), 1.0]], "expected probabilities"),
        ([[1.0, 0.0, 0.0]], r"expected \(n, classes\) twice"),
        ([1.0, 0.0], r"expected \(n, classes\) twice"),
    ],
)
def test_what_is_no_probability_is_refused(score, badnet, message):
    with pytest.raises(ValueError, match=message):
        score(badnet, [[0.5, 0.5]])


# The anomaly index


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
