"""What an attack has left at a price in accuracy: against a walk along the curve."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sweep.evaluation import tradeoffs

modest = settings(max_examples=50, deadline=None)


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


def test_the_front_has_no_trial_that_another_beats_in_both():
    rng = np.random.default_rng(0)
    lost, success = rng.uniform(0, 0.1, 60).round(2), rng.uniform(0, 1, 60).round(1)
    front = tradeoffs.front(lost, success)
    beaten = [
        any(
            lost[b] <= lost[a] and success[b] <= success[a]
            and (lost[b], success[b]) != (lost[a], success[a])
            for b in range(60)
        )
        for a in range(60)
    ]  # fmt: skip
    points = {(lost[place], success[place]) for place in range(60) if not beaten[place]}
    assert {(lost[place], success[place]) for place in front} == points
    assert len(front) == len(points)


def test_the_dominated_share_is_that_of_points_drawn_at_random():
    rng = np.random.default_rng(1)
    lost, success = rng.uniform(-0.02, 0.12, 9), rng.uniform(0, 1, 9)
    drawn = rng.uniform(0, 1, (200_000, 2)) * [0.1, 1]
    no_better = ((drawn[:, None, 0] >= lost) & (drawn[:, None, 1] >= success)).any(1)
    share = tradeoffs.dominated_share(lost, success, most=0.1)
    assert share == pytest.approx(no_better.mean(), abs=0.005)


def test_the_dominated_share_of_the_ideal_the_useless_and_of_nothing():
    assert tradeoffs.dominated_share([-0.01], [0.0], most=0.1) == 1
    assert tradeoffs.dominated_share([0.2, 0.0], [0.0, 1.0], most=0.1) == 0
    assert tradeoffs.dominated_share([], [], most=0.1) == 0
