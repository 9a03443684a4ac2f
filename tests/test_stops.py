"""Stops on lists of numbers, no network: counts decide, a rise is no drop, something is left.

Fractions are drawn as parts of a thousand, so that the exact threshold is integer arithmetic.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep import BadInput
from sweep.stops import Stop, ValidCurve, accuracy_drop, channel_fraction

modest = settings(max_examples=25, deadline=None)
thousandths = st.integers(1, 999)
keeps = pytest.mark.parametrize("keep", ["breaching", "safe"])
stops = pytest.mark.parametrize("stop", [accuracy_drop, channel_fraction])


def counted(*correct: int, images: int) -> ValidCurve:
    """A curve of which only the correct images are known: 0 stands for all other counts."""
    nothing = np.zeros(len(correct), dtype=np.int64)
    return ValidCurve(images, np.array(correct), nothing, nothing, nothing)


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
