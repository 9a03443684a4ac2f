"""Stops on lists of numbers, no network: counts decide, a rise is no drop, something is left.

Fractions are drawn as parts of a thousand, so that the exact threshold is integer arithmetic.
"""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep import BadInput
from sweep.evaluation import ValidCurve, significance
from sweep.evaluation.curve import steps_of
from sweep.stops import (
    Stop,
    accuracy_drop,
    agreement,
    channel_count,
    channel_fraction,
    confident_drop,
    knee,
    outlier,
    relative_drop,
)

modest = settings(max_examples=25, deadline=None)
thousandths = st.integers(1, 999)
keeps = pytest.mark.parametrize("keep", ["breaching", "safe"])
of_shares = [accuracy_drop, relative_drop, agreement, channel_fraction]
stops = pytest.mark.parametrize("stop", of_shares)
drop_stops = pytest.mark.parametrize(
    "stop",
    [
        partial(accuracy_drop, frac=0.02),
        partial(relative_drop, frac=0.02),
        partial(confident_drop, alpha=0.6),
    ],
    ids=lambda stop: stop.func.__name__,
)


def counted(*correct: int, images: int) -> ValidCurve:
    """A curve of which only the correct images are known: 0 stands for all other counts."""
    nothing = np.zeros(len(correct), dtype=np.int64)
    return ValidCurve(images, np.array(correct), nothing, nothing, nothing)


def exchanged(*changes: tuple[int, int], images: int = 1000) -> ValidCurve:
    """A curve of the images newly wrong and newly right at each step; B is right on half."""
    wrong, right = np.array([(0, 0), *changes]).T
    return ValidCurve(images, images // 2 - wrong + right, wrong, right, wrong + right)


def scored(*scores: float) -> ValidCurve:
    """A curve of which the channels' scores are known, in pruning order."""
    nothing = np.zeros(len(scores) + 1, dtype=np.int64)
    return ValidCurve(10, nothing, nothing, nothing, nothing, np.array(scores))


def flat(channels: int) -> ValidCurve:
    return counted(*[5] * (channels + 1), images=10)


def ceiling(part: int, whole: int) -> int:
    """part / 1000 of `whole`, rounded up, without floats."""
    return -(-part * whole // 1000)


@st.composite
def curves(draw: st.DrawFn) -> ValidCurve:
    images = draw(st.integers(1, 4000))
    correct = draw(st.lists(st.integers(0, images), min_size=2, max_size=12))
    return counted(*correct, images=images)


def test_two_percent_of_3000_images_are_60_and_not_59():
    below = counted(2900, 2900 - 59, 2900 - 59, 0, images=3000)
    assert accuracy_drop(below, frac=0.02) == Stop(2, reached=False)
    at = counted(2900, 2900 - 59, 2900 - 60, 0, images=3000)
    assert accuracy_drop(at, frac=0.02) == Stop(2)


# Float products that miss the whole number which they mean, upwards and downwards.
MISSED = [(70, 100), (140, 50), (290, 100), (570, 100), (580, 100), (7, 3000), (35, 200)]


@pytest.mark.parametrize(("part", "images"), MISSED)
def test_a_float_product_beside_a_whole_number_means_the_whole_number(part, images):
    lost = part * images // 1000
    assert part * images % 1000 == 0
    below = counted(images, images - lost + 1, 0, images=images)
    assert not accuracy_drop(below, frac=part / 1000).reached
    assert accuracy_drop(counted(images, images - lost, 0, images=images), frac=part / 1000).reached


def test_the_missed_products_include_some_above_and_some_below():
    above = [part / 1000 * images > part * images // 1000 for part, images in MISSED]
    below = [part / 1000 * images < part * images // 1000 for part, images in MISSED]
    assert any(above)
    assert any(below)


@modest
@given(st.integers(1, 20000), thousandths)
@example(11547, 20)
@example(3000, 20)
def test_exactly_the_fraction_of_the_images_breaches_and_one_image_less_does_not(images, part):
    lost = ceiling(part, images)
    at = counted(images, images - lost, 0, images=images)
    below = counted(images, images - lost + 1, 0, images=images)
    assert accuracy_drop(at, frac=part / 1000) == Stop(1)
    assert accuracy_drop(below, frac=part / 1000) == Stop(1, reached=False)


@modest
@given(curves(), thousandths)
def test_accuracy_drop_takes_the_first_breaching_candidate_of_a_slow_search(curve, part):
    first, last = None, curve.channels - 1
    for step in range(1, last + 1):
        lost = int(curve.correct[0]) - int(curve.correct[step])
        if 1000 * lost >= part * curve.images:
            first = step
            break
    breaching = accuracy_drop(curve, frac=part / 1000, keep="breaching")
    safe = accuracy_drop(curve, frac=part / 1000, keep="safe")
    if first is None:
        assert breaching == safe == Stop(last, reached=False)
    else:
        assert breaching == Stop(first)
        assert safe == Stop(first - 1)


def test_the_first_breaching_step_counts_though_accuracy_recovers():
    curve = counted(100, 99, 90, 100, 95, 0, images=100)
    assert accuracy_drop(curve, frac=0.1) == Stop(2)
    assert accuracy_drop(curve, frac=0.1, keep="safe") == Stop(1)


def test_safe_prunes_nothing_where_the_first_channel_breaches():
    assert accuracy_drop(counted(100, 0, 0, images=100), frac=0.1, keep="safe") == Stop(0)


@modest
@given(st.lists(st.integers(50, 100), min_size=2, max_size=9), thousandths)
def test_a_rise_of_accuracy_is_never_a_drop(risen, part):
    curve = counted(50, *risen, images=100)
    assert accuracy_drop(curve, frac=part / 1000) == Stop(len(risen) - 1, reached=False)


@keeps
def test_pruning_all_channels_is_no_candidate(keep):
    only_the_last_breaches = counted(100, 100, 100, 0, images=100)
    stop = accuracy_drop(only_the_last_breaches, frac=0.04, keep=keep)
    assert stop == Stop(2, reached=False)


@pytest.mark.parametrize("stop", [accuracy_drop, relative_drop, agreement])
def test_however_small_the_fraction_one_image_at_least_must_change(stop):
    assert stop(exchanged((0, 0), (1, 0), (1, 0)), frac=1e-12) == Stop(2)
    assert stop(exchanged((0, 0), (0, 0), (1, 0)), frac=1e-12) == Stop(2, reached=False)


@keeps
@stops
def test_of_a_single_channel_nothing_is_pruned(stop, keep):
    assert stop(counted(100, 0, images=100), frac=0.5, keep=keep).step == 0


def test_the_fraction_is_of_all_images_not_of_those_that_b_gets_right():
    # 5 of 50 right images are a tenth of them, but a twentieth of the 100 images
    curve = counted(50, 45, 40, 0, images=100)
    assert accuracy_drop(curve, frac=0.1) == Stop(2)


@modest
@given(st.integers(2, 400), thousandths)
@example(60, 750)  # exactly 45
@example(100, 70)  # 0.07 * 100 is a little more than 7 in floats
@example(100, 290)  # 0.29 * 100 is a little less than 29
def test_channel_fraction_rounds_breaching_up_and_safe_down(channels, part):
    curve, last = flat(channels), channels - 1
    up = channel_fraction(curve, frac=part / 1000, keep="breaching")
    down = channel_fraction(curve, frac=part / 1000, keep="safe")
    assert up == Stop(min(ceiling(part, channels), last))
    assert down == Stop(min(part * channels // 1000, last))
    if part * channels % 1000 == 0:
        assert up == down


@keeps
def test_channel_fraction_does_not_look_at_accuracy(keep):
    one = channel_fraction(counted(10, 0, 0, 0, 0, images=10), frac=0.3, keep=keep)
    assert one == channel_fraction(counted(10, 9, 8, 7, 6, images=10), frac=0.3, keep=keep)


@stops
@pytest.mark.parametrize("frac", [0, 1, -0.02, 2, float("nan"), float("inf")])
def test_a_fraction_outside_zero_and_one_is_refused_in_a_sentence(stop, frac):
    with pytest.raises(BadInput, match=r"^prune\.frac is .*; expected a fraction between 0 and 1"):
        stop(flat(4), frac=frac)


@stops
def test_an_unknown_keep_is_refused_in_a_sentence(stop):
    with pytest.raises(BadInput, match=r"prune\.keep is 'last'; expected 'breaching' or 'safe'"):
        stop(flat(4), frac=0.1, keep="last")


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    images, steps = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    some = st.integers(0, 2)
    predicted = draw(arrays(np.int64, (steps, images), elements=some))
    return predicted, draw(arrays(np.int64, images, elements=some))


@modest
@given(predictions())
def test_a_curve_counts_what_a_slow_loop_counts(drawn):
    predicted, labels = drawn
    curve = ValidCurve.of(predicted, labels)
    assert curve.images == len(labels)
    assert curve.channels == len(predicted) - 1
    for step in range(len(predicted)):
        correct = newly_wrong = newly_right = differ = 0
        for image, label in enumerate(labels):
            before, after = predicted[0, image], predicted[step, image]
            correct += after == label
            newly_wrong += before == label != after
            newly_right += before != label == after
            differ += before != after
        counts = (curve.correct, curve.newly_wrong, curve.newly_right, curve.differ)
        assert tuple(count[step] for count in counts) == (correct, newly_wrong, newly_right, differ)


def test_a_class_changed_from_wrong_to_wrong_differs_and_is_neither_newly_wrong_nor_right():
    curve = ValidCurve.of(np.array([[1, 0], [2, 0]]), np.array([0, 0]))
    assert [count[1] for count in (curve.differ, curve.newly_wrong, curve.newly_right)] == [1, 0, 0]


def test_a_larger_fraction_never_stops_earlier():
    correct = np.random.default_rng(0).integers(0, 100, 40)
    curve = counted(100, *correct.tolist(), images=100)
    steps = [accuracy_drop(curve, frac=part / 100).step for part in range(1, 100)]
    assert all(one <= other for one, other in pairwise(steps))
    assert len(set(steps)) > 2


# Drops against what B gets right


def test_a_relative_drop_is_of_the_images_that_b_gets_right():
    curve = counted(50, 46, 45, 40, 0, images=100)
    assert relative_drop(curve, frac=0.1) == Stop(2)
    assert relative_drop(curve, frac=0.1, keep="safe") == Stop(1)
    assert accuracy_drop(curve, frac=0.1) == Stop(3)


@modest
@given(curves(), thousandths)
def test_a_relative_drop_is_an_accuracy_drop_on_the_images_that_b_gets_right(curve, part):
    first, last = None, curve.channels - 1
    for step in range(1, last + 1):
        lost = int(curve.correct[0]) - int(curve.correct[step])
        if lost > 0 and 1000 * lost >= part * int(curve.correct[0]):
            first = step
            break
    expected = Stop(last, reached=False) if first is None else Stop(first)
    assert relative_drop(curve, frac=part / 1000) == expected
    assert accuracy_drop(curve, frac=part / 1000).step >= expected.step


@pytest.mark.parametrize(("part", "right"), MISSED)
def test_a_relative_drop_counts_images_too(part, right):
    lost = part * right // 1000
    below = counted(right, right - lost + 1, 0, images=2 * right)
    assert not relative_drop(below, frac=part / 1000).reached
    at = counted(right, right - lost, 0, images=2 * right)
    assert relative_drop(at, frac=part / 1000).reached


@keeps
def test_of_a_network_that_gets_nothing_right_nothing_drops(keep):
    nothing = counted(0, 0, 0, 0, images=10)
    assert relative_drop(nothing, frac=0.5, keep=keep) == Stop(2, reached=False)


# Drops beyond chance


def test_five_lost_images_and_none_gained_are_beyond_one_in_twenty_and_four_are_not():
    # 1 / 32 and 1 / 16
    curve = exchanged((1, 0), (4, 0), (5, 0), (9, 0), (9, 0))
    assert confident_drop(curve, alpha=0.05) == Stop(3)
    assert confident_drop(curve, alpha=0.05, keep="safe") == Stop(2)
    assert confident_drop(curve, alpha=1 / 16) == Stop(2)
    assert confident_drop(curve, alpha=0.0019) == Stop(4, reached=False)


def test_the_same_drop_counts_for_less_where_more_images_are_exchanged():
    # 8 of 8 are beyond chance; 28 against 20 are not: p = 0.156
    assert confident_drop(exchanged((8, 0), (9, 9)), alpha=0.05) == Stop(1)
    assert confident_drop(exchanged((28, 20), (9, 9)), alpha=0.05) == Stop(1, reached=False)


@modest
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=9),
    thousandths,
)
def test_confident_drop_takes_the_first_step_that_the_test_rejects(changes, part):
    first, last = None, len(changes) - 1
    for step, (wrong, right) in enumerate(changes[:-1], start=1):
        if wrong > right and significance.mcnemar(wrong, right) <= part / 1000:
            first = step
            break
    expected = Stop(last, reached=False) if first is None else Stop(first)
    curve = exchanged(*changes)
    assert confident_drop(curve, alpha=part / 1000) == expected
    safe = expected.step - expected.reached
    assert confident_drop(curve, alpha=part / 1000, keep="safe").step == safe


def test_a_stricter_level_never_stops_earlier():
    changes = np.random.default_rng(0).integers(0, 40, (60, 2)) + np.array([3, 0])
    curve = exchanged(*changes.tolist())
    steps = [confident_drop(curve, alpha=alpha).step for alpha in (0.4, 0.1, 0.01, 1e-4, 1e-9)]
    assert all(one <= other for one, other in pairwise(steps))
    assert len(set(steps)) > 2


def test_a_level_that_chance_always_meets_does_not_make_a_rise_a_drop():
    # p of as many lost as gained is more than a half
    level = exchanged((9, 9), (1, 2), (5, 4), (0, 0))
    assert confident_drop(level, alpha=0.999) == Stop(3)


# Drops of all kinds


@drop_stops
@modest
@given(st.lists(st.integers(500, 1000), min_size=2, max_size=9))
def test_a_curve_that_only_rises_never_stops_a_drop(stop, risen):
    curve = exchanged(*[(0, correct - 500) for correct in sorted(risen)])
    assert stop(curve) == Stop(len(risen) - 1, reached=False)


@drop_stops
@modest
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=9))
def test_safe_is_the_step_before_breaching_and_both_leave_a_channel(stop, changes):
    curve = exchanged(*changes)
    breaching, safe = stop(curve, keep="breaching"), stop(curve, keep="safe")
    assert 0 <= safe.step <= breaching.step <= curve.channels - 1
    assert breaching.reached == safe.reached
    assert breaching.step - safe.step == breaching.reached


# Agreement


def test_agreement_counts_images_of_another_class_and_no_labels():
    differ, nothing = np.array([0, 3, 5, 2, 10]), np.zeros(5, int)
    curve = ValidCurve(100, nothing, nothing, nothing, differ)
    assert agreement(curve, frac=0.05) == Stop(2)
    assert agreement(curve, frac=0.05, keep="safe") == Stop(1)
    assert agreement(curve, frac=0.051) == Stop(3, reached=False)


@modest
@given(st.data(), thousandths)
def test_agreement_takes_the_first_step_at_which_enough_differ(data, part):
    images = data.draw(st.integers(1, 4000))
    differ = [0, *data.draw(st.lists(st.integers(0, images), min_size=1, max_size=9))]
    nothing = np.zeros(len(differ), int)
    curve = ValidCurve(images, nothing, nothing, nothing, np.array(differ))
    enough = [1000 * count >= part * images for count in differ[1:-1]]
    expected = Stop(enough.index(True) + 1) if any(enough) else Stop(len(enough), reached=False)
    assert agreement(curve, frac=part / 1000) == expected


@pytest.mark.parametrize(("part", "images"), MISSED)
def test_agreement_reads_a_float_product_as_the_whole_number(part, images):
    whole, nothing = part * images // 1000, np.zeros(3, int)
    at, below = (
        ValidCurve(images, nothing, nothing, nothing, np.array([0, count, images]))
        for count in (whole, whole - 1)
    )
    assert agreement(at, frac=part / 1000).reached
    assert not agreement(below, frac=part / 1000).reached


@pytest.mark.parametrize("stop", of_shares)
def test_a_larger_fraction_never_stops_any_of_them_earlier(stop):
    correct = np.random.default_rng(1).integers(0, 100, 40)
    curve = exchanged(*[(100 - count, 0) for count in correct.tolist()], images=200)
    for keep in ("breaching", "safe"):
        steps = [stop(curve, frac=part / 100, keep=keep).step for part in range(1, 100)]
        assert all(one <= other for one, other in pairwise(steps))
        assert len(set(steps)) > 2


# The knee


def test_the_knee_is_the_step_that_lies_farthest_above_the_chord():
    # the chord falls by 20 a step: 100 80 60 40 20 0; above it by 18, 36, 30, 5
    assert knee(counted(100, 98, 96, 70, 25, 0, images=100)) == Stop(2)


def test_of_equal_heights_the_first_is_the_knee():
    # the chord falls by 25 a step: above it by 5, 5, 5
    assert knee(counted(100, 80, 55, 30, 0, images=100)) == Stop(1)
    # by thirds, which floats miss: 2 * 10 / 3 at the first two steps
    assert knee(counted(10, 10, 10, 0, images=10)) == Stop(2)
    assert knee(counted(7, 7, 5, 3, 0, images=10)) == knee(counted(7, 7, 5, 2, 0, images=10))


@pytest.mark.parametrize("correct", [[100, 75, 50, 25, 0], [100, 60, 30, 10, 0], [5, 5, 5, 5, 5]])
def test_a_curve_that_is_nowhere_above_its_chord_has_no_knee(correct):
    assert knee(counted(*correct, images=100)) == Stop(3, reached=False)


def test_the_knee_of_a_curve_that_ends_higher_is_read_from_its_rising_chord():
    # the chord rises by 10 a step: 50 60 70 80; the last step is no candidate
    assert knee(counted(50, 55, 75, 80, images=100)) == Stop(2)
    assert knee(counted(50, 55, 65, 80, images=100)) == Stop(2, reached=False)


@modest
@given(curves())
def test_the_knee_is_that_of_a_slow_search_in_fractions(curve):
    first, last = int(curve.correct[0]), int(curve.correct[-1])
    best, height = None, Fraction(0)
    for step in range(1, curve.channels):
        chord = first + Fraction(step * (last - first), curve.channels)
        if curve.correct[step] - chord > height:
            best, height = step, curve.correct[step] - chord
    expected = Stop(curve.channels - 1, reached=False) if best is None else Stop(best)
    assert knee(curve) == expected


@modest
@given(curves(), st.integers(1, 50), st.integers(1, 9))
def test_the_knee_does_not_depend_on_the_scale_of_the_counts(curve, more, times):
    moved = counted(*(curve.correct * times + more), images=curve.images * times + more)
    assert knee(moved) == knee(curve)


def test_a_single_channel_has_no_knee():
    assert knee(counted(100, 0, images=100)) == Stop(0, reached=False)


# Outliers


def test_channels_are_pruned_as_long_as_the_next_one_lies_far_off():
    assert outlier(scored(-5, -3.1, -3, -1, 0), u=3) == Stop(2)  # -3 is not more than 3 off
    assert outlier(scored(-5, -3.1, -3, -1, 0), u=4) == Stop(1)
    assert outlier(scored(-5, -3.1, -3, -1, 0), u=0.5) == Stop(4)


def test_an_outlier_behind_one_that_is_none_is_not_reached():
    assert outlier(scored(-5, 0, -4, 1), u=3) == Stop(1)


def test_without_an_outlier_nothing_is_pruned():
    assert outlier(scored(-2, -1, 0, 9), u=3) == Stop(0, reached=False)


def test_one_channel_is_left_though_all_are_outliers():
    assert outlier(scored(-9, -9, -9), u=3) == Stop(2)
    assert outlier(scored(-9), u=3) == Stop(0, reached=False)


def test_infinite_scores_are_outliers_or_none():
    assert outlier(scored(-np.inf, -np.inf, 0, np.inf), u=3) == Stop(2)
    assert outlier(scored(np.inf, np.inf), u=3) == Stop(0, reached=False)


@modest
@given(st.lists(st.floats(0, 100), min_size=2, max_size=40), st.floats(0.1, 3))
def test_ranked_by_a_score_these_are_the_channels_that_were_published(norms, u):
    # CLP: score > mean + u * std, pruned highest first
    norms = np.array(norms)
    assume(norms.std() > 1e-3)
    limit = norms.mean() + u * norms.std(ddof=1)
    assume(np.abs(norms - limit).min() > 1e-6)
    stop = outlier(scored(*ranked(-norms)), u=u)
    assert stop.step == np.count_nonzero(norms > limit)
    assert stop.reached == (stop.step > 0)


def ranked(scores: np.ndarray) -> np.ndarray:
    return np.sort((scores - scores.mean()) / scores.std(ddof=1))


@modest
@given(st.lists(st.floats(-9, 9), min_size=1, max_size=12))
def test_more_deviations_never_prune_more(scores):
    steps = [outlier(scored(*scores), u=u).step for u in (0.5, 1, 3, 8)]
    assert steps == sorted(steps, reverse=True)
    assert all(0 <= step < len(scores) for step in steps)


def test_of_ten_channels_none_lies_three_deviations_off_and_of_eleven_one_may():
    for channels, step in ((10, 0), (11, 1)):
        scores = np.zeros(channels)
        scores[0] = -1
        assert outlier(scored(*ranked(scores)), u=3).step == step


@pytest.mark.parametrize("u", [0, -3, float("nan"), float("inf")])
def test_a_number_of_deviations_that_is_none_is_refused_in_a_sentence(u):
    with pytest.raises(BadInput, match=r"^prune\.u is .*; expected a number of deviations above 0"):
        outlier(scored(-5, 0), u=u)


def test_a_curve_without_scores_has_no_outliers_to_tell():
    with pytest.raises(ValueError, match="reads the channels' scores; this curve has none"):
        outlier(flat(4), u=3)


def test_scores_of_another_number_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"scores \(3,\) of 1 channels"):
        ValidCurve.of(np.zeros((2, 4), int), np.zeros(4, int), np.zeros(3))


def test_a_curve_keeps_the_scores_that_it_is_given():
    curve = ValidCurve.of(np.zeros((3, 4), int), np.zeros(4, int), np.array([-5.0, 0]))
    assert outlier(curve, u=3) == Stop(1)


# A number of channels


def test_as_many_channels_are_pruned_as_are_counted():
    for count in (1, 2, 3):
        assert channel_count(flat(4), count=count) == Stop(count)


@pytest.mark.parametrize("count", [-1, 4, 5, 2.0, True, "2", None])
def test_a_count_that_leaves_no_channel_is_refused_in_a_sentence(count):
    with pytest.raises(BadInput, match=r"^prune\.count is .* expected a whole number from 0 to 3"):
        channel_count(flat(4), count=count)


def test_of_a_single_channel_none_can_be_pruned():
    assert channel_count(flat(1), count=0) == Stop(0)
    with pytest.raises(BadInput, match=r"^prune\.count is 1, of 1 channels that can be pruned;"):
        channel_count(flat(1), count=1)


@pytest.mark.parametrize("alpha", [0, 1, -0.05, 5, float("nan")])
def test_a_level_outside_zero_and_one_is_refused_in_a_sentence(alpha):
    with pytest.raises(BadInput, match=r"^prune\.alpha is .*; expected a fraction between 0 and 1"):
        confident_drop(flat(4), alpha=alpha)


def test_an_unknown_keep_is_refused_by_confident_drop_too():
    with pytest.raises(BadInput, match=r"prune\.keep is 'last'; expected 'breaching' or 'safe'"):
        confident_drop(flat(4), alpha=0.1, keep="last")


# Curves of fewer steps


EVERY = [
    *(partial(stop, frac=0.1) for stop in (accuracy_drop, relative_drop, agreement)),
    partial(accuracy_drop, frac=0.1, keep="safe"),
    partial(confident_drop, alpha=0.2),
    knee,
    partial(outlier, u=0.5),
    partial(channel_fraction, frac=0.3),
    partial(channel_fraction, frac=0.3, keep="safe"),
    partial(channel_count, count=1),
]


@st.composite
def coarse_curves(draw: st.DrawFn) -> ValidCurve:
    """Of 2 to 40 channels, a step after some of them, and any counts."""
    channels = draw(st.integers(2, 40))
    steps = steps_of(channels, draw(st.integers(1, 45)))
    counts = [draw(arrays(np.int64, len(steps), elements=st.integers(0, 99))) for _ in range(3)]
    for count in counts:
        count[0] = 0
    wrong, right, differ = counts
    scores = np.sort(draw(arrays(np.float64, channels, elements=st.floats(-3, 3))))
    return ValidCurve(200, 100 - wrong + right, wrong, right, differ, scores, steps)


@pytest.mark.parametrize("stop", EVERY)
@modest
@given(coarse_curves())
def test_every_stop_chooses_a_step_of_the_curve_that_leaves_a_channel(stop, curve):
    assert stop(curve).step in curve.steps[:-1]


@pytest.mark.parametrize("stop", EVERY)
@modest
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=9))
def test_a_curve_of_all_steps_is_the_same_whether_they_are_named_or_not(stop, changes):
    scores = np.linspace(-1, 1, len(changes))
    unnamed = replace(exchanged(*changes), scores=scores)
    named = replace(unnamed, steps=np.arange(len(changes) + 1))
    assert stop(named) == stop(unnamed)


@pytest.mark.parametrize("stop", EVERY[:5])
@modest
@given(coarse_curves())
def test_what_reads_counts_takes_the_step_at_the_place_where_they_say_so(stop, curve):
    by_place = stop(replace(curve, scores=None, steps=np.arange(len(curve.steps))))
    assert stop(curve) == Stop(int(curve.steps[by_place.step]), by_place.reached)


def test_of_fewer_steps_safe_is_the_one_before_and_what_never_breaches_the_last_but_one():
    curve = replace(counted(100, 99, 90, 80, 0, images=100), steps=steps_of(14, 4))
    assert accuracy_drop(curve, frac=0.1) == Stop(8)
    assert accuracy_drop(curve, frac=0.1, keep="safe") == Stop(4)
    assert accuracy_drop(curve, frac=0.01, keep="safe") == Stop(0)
    assert accuracy_drop(curve, frac=0.5) == Stop(12, reached=False)


@modest
@given(coarse_curves())
def test_the_knee_of_fewer_steps_is_that_of_a_slow_search_along_the_channels(curve):
    first, last = int(curve.correct[0]), int(curve.correct[-1])
    best, height = None, Fraction(0)
    for step, correct in zip(curve.steps[:-1].tolist(), curve.correct.tolist(), strict=False):
        chord = first + Fraction(step * (last - first), curve.channels)
        if correct - chord > height:
            best, height = step, correct - chord
    expected = Stop(int(curve.steps[-2]), reached=False) if best is None else Stop(best)
    assert knee(curve) == expected


def test_a_shorter_last_step_does_not_move_the_knee():
    # along the channels the chord falls by 10 each: 100 60 20 10; by places 100 70 40 10
    curve = replace(counted(100, 75, 45, 10, images=100), steps=np.array([0, 4, 8, 9]))
    assert knee(curve) == Stop(8)  # above by 15 and 25; by places it were by 5 and 5
    assert knee(replace(curve, steps=np.arange(4))) == Stop(1)


@pytest.mark.parametrize(
    ("outliers", "step", "expected"),
    [
        (5, 1, Stop(5)),
        (5, 2, Stop(4)),
        (5, 5, Stop(5)),
        (5, 6, Stop(0, reached=False)),
        (0, 2, Stop(0, reached=False)),
        (12, 5, Stop(10)),
        (12, 6, Stop(6)),  # one is left, though all are outliers
    ],
)
def test_outliers_are_pruned_up_to_the_last_step_that_prunes_no_other(outliers, step, expected):
    scores = np.where(np.arange(12) < outliers, -4.0, 1.0)
    steps = steps_of(12, step)
    nothing = np.zeros(len(steps), int)
    curve = ValidCurve(10, nothing, nothing, nothing, nothing, scores, steps)
    assert outlier(curve, u=3) == expected


@pytest.mark.parametrize(
    ("frac", "step", "breaching", "safe"),
    [
        (0.5, 4, Stop(8), Stop(4)),  # 7 of 14
        (0.6, 4, Stop(12), Stop(8)),  # 8.4
        (4 / 14, 4, Stop(4), Stop(4)),
        (0.01, 4, Stop(4), Stop(0)),
        (0.95, 4, Stop(12, reached=False), Stop(12)),  # 13.3, and at the next step none is left
        (0.5, 14, Stop(0, reached=False), Stop(0)),
        (0.99, 1, Stop(13), Stop(13)),
    ],
)
def test_a_share_of_the_channels_is_rounded_to_a_step(frac, step, breaching, safe):
    curve = of_steps(14, step)
    assert channel_fraction(curve, frac=frac) == breaching
    assert channel_fraction(curve, frac=frac, keep="safe") == safe


def of_steps(channels: int, step: int) -> ValidCurve:
    """A curve of which only the steps are known."""
    steps = steps_of(channels, step)
    return replace(flat(len(steps) - 1), steps=steps)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, Stop(4)), (4, Stop(4)), (5, Stop(8)), (12, Stop(12)), (13, Stop(12, reached=False))],
)
def test_a_count_is_reached_at_the_first_step_that_prunes_as_many(count, expected):
    assert channel_count(of_steps(14, 4), count=count) == expected


def test_a_count_of_all_channels_is_refused_however_few_the_steps():
    with pytest.raises(BadInput, match=r"^prune\.count is 14, of 14 channels"):
        channel_count(of_steps(14, 4), count=14)
