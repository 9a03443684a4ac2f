"""What settings explain of the differences between trials."""

import numpy as np
import pytest

from sweep.search import importances


def test_what_makes_the_difference_explains_it_and_what_is_of_no_meaning_nothing():
    rng = np.random.default_rng(0)
    trials = [{"repair": "ab"[place % 2], "order": "xyz"[rng.integers(3)]} for place in range(60)]
    outcomes = [0.9 * (values["repair"] == "a") + rng.normal(0, 0.01) for values in trials]
    found = importances(trials, outcomes)
    assert [*found] == ["repair", "order"]
    assert found["repair"] > 0.99
    assert found["order"] < 0.05


def test_by_hand():
    trials = [{"by": "a"}, {"by": "a"}, {"by": "b"}, {"by": "b"}]
    # mean 0.5; between: 4 * 0.3^2 = 0.36; within: 4 * 0.1^2 = 0.04, of 2 free; total 0.4
    found = importances(trials, [0.1, 0.3, 0.7, 0.9])
    assert found == {"by": pytest.approx((0.36 - 0.04 / 2) / 0.4)}


def test_what_hangs_on_another_setting_is_not_credited_with_what_that_one_does():
    trials, outcomes = [], []
    for place in range(30):
        strength = place / 30
        trials += [{"repair": "none"}, {"repair": "unlearn", "strength": strength}]
        outcomes += [0.9, 0.1 + 0.02 * strength]
    found = importances(trials, outcomes)
    assert found["repair"] > 0.9
    assert found["strength"] < 0.01


def test_many_numbers_are_cut_into_parts():
    trials = [{"strength": place / 30} for place in range(30)]
    found = importances(trials, [float(place >= 20) for place in range(30)])
    assert found["strength"] == pytest.approx(1)


@pytest.mark.parametrize("outcomes", [[], [0.5], [0.5, 0.5, 0.5]])
def test_without_differences_nothing_is_explained(outcomes):
    trials = [{"by": str(place)} for place in range(len(outcomes))]
    assert set(importances(trials, outcomes).values()) <= {0.0}
