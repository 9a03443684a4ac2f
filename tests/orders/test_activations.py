"""Orders by activations: by hand, and against slow loops written from the formulas."""

import math

import numpy as np
import pytest
from evidences import any_evidence, floats, modest, of_maps, of_norm, quarters
from hypothesis import given
from hypothesis import strategies as st

from sweep import NotApplicable
from sweep.orders import apoz, bnp, max_activation, mean_activation
from sweep.pruning.ranking import ranking


def test_mean_activation_by_hand():
    one = [[[0, 1, 9], [0, 1, 0]]]  # one row of two places, three channels
    other = [[[0, 2, 0], [8, 0, 0]]]
    evidence = of_maps(floats(one, other))
    np.testing.assert_allclose(mean_activation(evidence), [8 / 4, 4 / 4, 9 / 4])
    assert ranking(mean_activation(evidence)).tolist() == [1, 0, 2]


def test_max_activation_by_hand():
    evidence = of_maps(floats([[[0, 1, -9], [0, 1, -2]]], [[[0, 2, -3], [8, 0, -4]]]))
    np.testing.assert_array_equal(max_activation(evidence), [8, 2, -2])


def test_apoz_by_hand_most_zeros_first():
    evidence = of_maps(floats([[[0, 1, 9], [0, -1, 0]]], [[[0, 2, 1], [8, 1e-30, 1]]]))
    np.testing.assert_allclose(apoz(evidence), [-3 / 4, 0, -1 / 4])
    assert ranking(apoz(evidence)).tolist() == [0, 2, 1]


def test_apoz_does_not_apply_where_nothing_is_zero():
    with pytest.raises(NotApplicable, match="exactly zero, and there is none; take another order"):
        apoz(of_maps(floats([1, -1], [1e-30, 2])))


def test_equal_shares_of_zeros_tie_exactly_wherever_the_zeros_are():
    maps = np.ones((9, 7, 2), np.float32)
    maps[:3, :, 0] = 0  # 21 in three images
    maps[:7, :3, 1] = 0  # 21 in seven images
    assert len(set(apoz(of_maps(maps)))) == 1


@modest
@given(any_evidence())
@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz])
def test_an_order_by_activations_is_what_a_slow_loop_makes_of_each_channel(order, evidence):
    (maps,) = evidence.maps
    slow = []
    for channel in range(evidence.channels):
        values = [float(maps[place][channel]) for place in np.ndindex(maps.shape[:-1])]
        if order is mean_activation:
            slow.append(math.fsum(values) / len(values))
        elif order is max_activation:
            slow.append(sorted(values)[-1])
        else:
            slow.append(-values.count(0.0) / len(values))
    np.testing.assert_allclose(order(evidence), slow, rtol=1e-9, atol=1e-9)


def test_mean_activation_adds_in_double_precision():
    tenth = np.float32(0.1)
    evidence = of_maps(np.full((20_000, 2), tenth))
    np.testing.assert_allclose(mean_activation(evidence), float(tenth), rtol=1e-10)


@modest
@given(any_evidence(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_brighter_maps_scale_mean_and_maximum_and_leave_the_share_of_zeros(evidence, scale):
    brighter = of_maps(evidence.maps[0] * np.float32(scale))
    np.testing.assert_allclose(mean_activation(brighter), scale * mean_activation(evidence))
    np.testing.assert_allclose(max_activation(brighter), scale * max_activation(evidence))
    np.testing.assert_array_equal(apoz(brighter), apoz(evidence))


@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz])
def test_a_channel_that_sleeps_on_clean_images_is_pruned_first(order):
    rng = np.random.default_rng(0)
    maps = np.maximum(rng.normal(size=(50, 4, 4, 8)) + 0.3, 0).astype(np.float32)
    maps[..., 5] *= rng.random((50, 4, 4)) < 0.02
    maps[..., 5] *= 0.1
    assert ranking(order(of_maps(maps)))[0] == 5


def test_bnp_by_hand():
    inputs = floats([[[0, 1, 3]]], [[[2, 1, 5]]])  # means 1, 1, 4; deviations 1, 0, 1
    evidence = of_norm(inputs, mean=[1, 1, 0], variance=[1, 1, 4])
    third = math.log(2) + (1 + 16) / 8 - 1 / 2
    np.testing.assert_allclose(bnp(evidence), [0, -np.inf, -third])
    assert ranking(bnp(evidence)).tolist() == [1, 2, 0]


@modest
@given(any_evidence())
def test_bnp_is_what_the_formula_gives_of_each_channel(evidence):
    (inputs,) = evidence.norm.inputs
    scores = bnp(evidence)
    for channel in range(evidence.channels):
        values = [float(inputs[place][channel]) for place in np.ndindex(inputs.shape[:-1])]
        mean = math.fsum(values) / len(values)
        variance = math.fsum((x - mean) ** 2 for x in values) / len(values)
        running = float(evidence.norm.variance[channel])
        if len(set(values)) == 1 or running == 0:
            assert scores[channel] == -np.inf
            continue
        away = (mean - float(evidence.norm.mean[channel])) ** 2
        divergence = (
            0.5 * math.log(running) - 0.5 * math.log(variance) + (variance + away) / (2 * running)
        ) - 0.5
        np.testing.assert_allclose(scores[channel], -divergence, rtol=1e-9, atol=1e-9)


@modest
@given(any_evidence(quarters), quarters)
@pytest.mark.parametrize("scale", [-2, 0.5, 4])
def test_bnp_does_not_see_unit_and_zero_of_data_and_running_statistics(scale, evidence, shift):
    moved = of_norm(
        np.float32(scale) * evidence.norm.inputs[0] + np.float32(shift),
        np.float32(scale) * evidence.norm.mean + np.float32(shift),
        np.float32(scale**2) * evidence.norm.variance,
    )
    np.testing.assert_allclose(bnp(moved), bnp(evidence), rtol=1e-9, atol=1e-9)


def test_bnp_is_never_negative_and_zero_where_the_statistics_are_the_images_own():
    inputs = np.random.default_rng(0).normal(3, 2, size=(30, 4, 4, 5)).astype(np.float32)
    flat = inputs.reshape(-1, 5).astype(np.float64)
    own = bnp(of_norm(inputs, flat.mean(axis=0), flat.var(axis=0)))
    np.testing.assert_allclose(own, 0, atol=1e-12)
    assert (bnp(of_norm(inputs, flat.mean(axis=0), 1.1 * flat.var(axis=0))) < -1e-4).all()


def test_bnp_takes_a_small_variance_far_from_zero_and_none_of_a_constant_channel():
    rng = np.random.default_rng(0)
    inputs = np.full((500, 3, 3, 2), 0.1, np.float32)
    inputs[..., 1] = 4096 + rng.choice([-0.5, 0.5], (500, 3, 3))
    inputs[0, 0, 0, 1] = 4096.5  # no pivot that one image gives
    evidence = of_norm(inputs, mean=[0.1, 4096], variance=[1, 0.25])
    constant, far = bnp(evidence)
    assert constant == -np.inf
    assert -1e-3 < far <= 0


def test_bnp_puts_a_channel_first_whose_statistics_were_taken_with_poisoned_images():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(200, 4, 4, 10)).astype(np.float32)
    training = clean.copy()
    training[:20, ..., 7] += 6  # the trigger, in a tenth of them
    flat = training.reshape(-1, 10)
    assert ranking(bnp(of_norm(clean, flat.mean(axis=0), flat.var(axis=0))))[0] == 7
