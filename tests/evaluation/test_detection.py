"""Detection scores: against slow loops, scikit-learn and scipy."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.evaluation import detection

modest = settings(max_examples=50, deadline=None)
levels = st.lists(st.integers(0, 9), min_size=1, max_size=12)


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
def test_the_confidence_drop_is_what_b_repaired_takes_from_the_class_that_b_says(drawn):
    p, q = drawn
    expected = [before.max() - after[before.argmax()] for before, after in zip(p, q, strict=True)]
    drops = detection.confidence_drop(p, q)
    assert drops.tolist() == pytest.approx(expected)
    assert np.all(abs(drops) <= 1)
    np.testing.assert_array_equal(detection.confidence_drop(p, p), 0)


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
    assert (
        detection.jensen_shannon(p, q).dtype == detection.confidence_drop(p, q).dtype == np.float64
    )


@pytest.mark.parametrize("score", [detection.confidence_drop, detection.jensen_shannon])
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


@pytest.mark.parametrize("area", [0.0, 0.03, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("clean", "poisoned"), [(20, 30), (2000, 500)])
def test_the_ends_of_an_aurocs_interval_are_1_96_of_their_own_errors_away(area, clean, poisoned):
    low, high = detection.auroc_interval(area, clean, poisoned)
    assert 0 <= low <= area <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        spread = (1 - end) / (2 - end) + end / (1 + end)
        variance = end * (1 - end) * (1 + ((clean + poisoned) / 2 - 1) * spread)
        error = math.sqrt(variance / (clean * poisoned))
        assert abs(end - area) / error == pytest.approx(1.959964, abs=1e-4)
    assert (low == 0) == (area == 0)
    assert (high == 1) == (area == 1)


def test_an_aurocs_interval_holds_the_true_one_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        clean, poisoned = rng.normal(size=40), rng.normal(1.0, size=40)
        low, high = detection.auroc_interval(detection.auroc(clean, poisoned), 40, 40)
        held += low <= 0.7602 <= high  # of two normals a standard deviation apart
    assert 0.92 <= held / 300 <= 0.99
