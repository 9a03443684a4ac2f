"""Orders by weights: by hand, and against slow loops written from the formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from evidences import (
    any_evidence,
    floats,
    gradients,
    modest,
    of_filters,
    of_maps,
    quarters,
    renumbered,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep import BadInput
from sweep.orders import clp, fpgm, l1_norm, l2_norm, taylor
from sweep.pruning import Evidence
from sweep.pruning.evidence import Norm
from sweep.pruning.ranking import ranking


def test_l1_norm_by_hand_lowest_first_or_highest_first_with_ties_by_number():
    evidence = of_filters([-1, 2], [0, 1], [3, 0], [-0.5, 0])  # 3, 1, 3, 0.5
    np.testing.assert_allclose(l1_norm(evidence), [3, 1, 3, 0.5])
    assert ranking(l1_norm(evidence)).tolist() == [3, 1, 0, 2]
    assert ranking(l1_norm(evidence, descending=True)).tolist() == [0, 2, 1, 3]


def test_l2_norm_by_hand_lowest_first_or_highest_first():
    evidence = of_filters([-3, 4], [0, 1], [0, -6])
    np.testing.assert_allclose(l2_norm(evidence), [5, 1, 6])
    assert ranking(l2_norm(evidence)).tolist() == [1, 0, 2]
    np.testing.assert_allclose(l2_norm(evidence, descending=True), [-5, -1, -6])


def filters_of(evidence: Evidence) -> list[list[float]]:
    """The weights of each filter in a list, from the first position and input to the last."""
    places = list(np.ndindex(evidence.weights.shape[:-1]))
    return [
        [float(evidence.weights[place][c]) for place in places] for c in range(evidence.channels)
    ]


@modest
@given(any_evidence())
def test_norms_are_what_a_slow_loop_adds_up(evidence):
    filters = filters_of(evidence)
    np.testing.assert_allclose(
        l1_norm(evidence), [math.fsum(map(abs, f)) for f in filters], rtol=1e-9
    )
    np.testing.assert_allclose(l2_norm(evidence), [math.hypot(*f) for f in filters], rtol=1e-9)


@modest
@given(any_evidence(), st.data())
@pytest.mark.parametrize("order", [l1_norm, l2_norm])
def test_a_norm_does_not_see_the_signs_of_weights(order, evidence, data):
    signs = data.draw(arrays(np.float32, evidence.weights.shape, elements=st.sampled_from([-1, 1])))
    np.testing.assert_array_equal(
        order(replace(evidence, weights=evidence.weights * signs)), order(evidence)
    )


def test_fpgm_by_hand_the_filter_in_the_middle_first():
    evidence = of_filters([0, 0], [3, 4], [6, 8])  # distances 5, 5 and 10
    np.testing.assert_allclose(fpgm(evidence), [15, 10, 15])
    assert ranking(fpgm(evidence)).tolist() == [1, 0, 2]


@modest
@given(any_evidence())
def test_fpgm_is_what_a_slow_loop_adds_up(evidence):
    filters = filters_of(evidence)
    slow = [math.fsum(math.dist(one, other) for other in filters) for one in filters]
    np.testing.assert_allclose(fpgm(evidence), slow, rtol=1e-9, atol=1e-12)


def test_equal_filters_are_equally_far_to_the_last_bit_also_from_themselves():
    rng = np.random.default_rng(0)
    filters = 1000 + rng.normal(size=(40, 3, 3, 8)).astype(np.float32)
    filters[30:] = filters[:10]
    far = fpgm(of_filters(*filters))
    np.testing.assert_array_equal(far[30:], far[:10])
    # what inner products would not give: 1e6 - 2e6 + 1e6
    np.testing.assert_array_equal(fpgm(of_filters(*[filters[0]] * 9)), np.zeros(9))


def test_fpgm_tells_filters_apart_that_are_close_and_far_from_zero():
    # by inner products the distances would drown in the rounding of 1e6 * 72
    rng = np.random.default_rng(0)
    filters = 1000 + rng.integers(0, 9, size=(5, 3, 3, 8)).astype(np.float32) / 8192
    evidence = of_filters(*filters)
    slow = [math.fsum(math.dist(a, b) for b in filters_of(evidence)) for a in filters_of(evidence)]
    np.testing.assert_allclose(fpgm(evidence), slow, rtol=1e-12)


@modest
@given(any_evidence(quarters), st.data())
def test_fpgm_does_not_see_what_all_filters_share(evidence, data):
    shared = data.draw(arrays(np.float32, (*evidence.weights.shape[:-1], 1), elements=quarters))
    moved = fpgm(replace(evidence, weights=evidence.weights + shared))
    np.testing.assert_array_equal(moved, fpgm(evidence))


@modest
@given(any_evidence(), st.randoms(use_true_random=False))
def test_fpgm_keeps_its_ties_under_any_numbering(evidence, rng):
    places = rng.sample(range(evidence.channels), evidence.channels)
    np.testing.assert_array_equal(fpgm(renumbered(evidence, places)), fpgm(evidence)[places])


def test_clp_by_hand_without_and_with_a_norm():
    # inputs x positions: diagonal 3, 1; rank one of norm 2 * sqrt(3); nothing
    filters = [[[3, 0], [0, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]]
    evidence = of_filters(*filters)
    np.testing.assert_allclose(clp(evidence), [-3, -2, 0], atol=1e-12)
    norm = Norm(floats(-2, 3, 1), floats(7, 7, 7), floats(5, 5, 5), floats(16, 0.25, 4), [])
    np.testing.assert_allclose(clp(replace(evidence, norm=norm)), [-3 * 2 / 4, -2 * 3 / 0.5, 0])
    assert ranking(clp(replace(evidence, norm=norm))).tolist() == [1, 0, 2]


def test_clp_of_no_variance_is_infinite_and_first_unless_the_channel_is_dead():
    norm = Norm(floats(1, 1, 0, 1), *(np.zeros(4, np.float32) for _ in range(3)), [])
    evidence = of_filters([1, 2], [0, 0], [5, 5], [1e-30, 0], norm=norm)
    assert clp(evidence).tolist() == [-np.inf, 0, 0, -np.inf]


@modest
@given(any_evidence())
def test_clp_is_what_the_power_of_each_filters_own_matrix_gives(evidence):
    """The largest eigenvalue of M M^T, where M is filled weight by weight."""
    places = list(np.ndindex(evidence.weights.shape[:-2]))
    slow = []
    for channel in range(evidence.channels):
        matrix = np.zeros((2, len(places)))
        for column, place in enumerate(places):
            for row in range(2):
                matrix[row, column] = evidence.weights[place][row, channel]
        slow.append(-math.sqrt(max(np.linalg.eigvalsh(matrix @ matrix.T)[-1], 0)))
    alone = replace(evidence, norm=None)
    np.testing.assert_allclose(clp(alone), slow, rtol=1e-6, atol=1e-6)
    for one, lonely, g, v in zip(
        clp(evidence), clp(alone), evidence.norm.gamma, evidence.norm.variance, strict=True
    ):
        assert v == 0 or one == pytest.approx(lonely * abs(float(g)) / math.sqrt(v), rel=1e-9)


@modest
@given(st.integers(0, 99), st.floats(0, 6))
def test_clp_does_not_see_a_rotation_of_the_inputs(seed, angle):
    kernel = np.random.default_rng(seed).normal(size=(3, 3, 2, 4))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = np.einsum("hwic,ij->hwjc", kernel, turn)
    one, other = (of_maps(np.zeros((1, 4), np.float32), k) for k in (kernel, turned))
    np.testing.assert_allclose(clp(other), clp(one), rtol=1e-9)


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (2, 4)])
def test_clp_of_one_input_or_of_a_dense_layer_is_the_l2_norm(shape):
    """A matrix of one row or of one column has one singular value."""
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    evidence = of_maps(np.zeros((1, 4), np.float32), kernel)
    np.testing.assert_allclose(clp(evidence), l2_norm(evidence, descending=True))


@pytest.mark.parametrize("order", [clp, lambda evidence: l2_norm(evidence, descending=True)])
def test_a_channel_that_amplifies_one_pattern_is_pruned_first(order):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 20)).astype(np.float32)
    kernel[..., 13] *= 3
    assert ranking(order(of_maps(np.zeros((1, 20), np.float32), kernel)))[0] == 13


def test_taylor_by_hand_sums_then_squares_then_averages():
    kernel = floats([1, 2], [3, -1])  # two inputs, two channels
    first = floats([1, 1], [-1, 1])  # 1 - 3 = -2 and 2 - 1 = 1
    second = floats([2, 0], [0, 3])  # 2 and -3
    evidence = of_maps(np.zeros((1, 2), np.float32), kernel, gradients=gradients(first, second))
    np.testing.assert_allclose(taylor(evidence), [(4 + 4) / 2, (1 + 9) / 2])


@modest
@given(any_evidence())
def test_taylor_is_what_a_slow_loop_adds_up(evidence):
    batches = evidence.gradients(1)
    slow = np.zeros(evidence.channels)
    for channel in range(evidence.channels):
        for batch in batches:
            change = 0.0
            for place in np.ndindex(batch.shape[:-1]):
                change += float(evidence.weights[place][channel]) * float(batch[place][channel])
            slow[channel] += change**2 / len(batches)
    np.testing.assert_allclose(taylor(evidence), slow, rtol=1e-9, atol=1e-9)


def test_taylor_asks_for_batches_of_its_size():
    asked = []
    kernel = np.ones((2, 3), np.float32)
    evidence = of_maps(kernel, kernel, gradients=lambda size: asked.append(size) or [kernel])
    taylor(evidence)
    taylor(evidence, batch_size=7)
    assert asked == [128, 7]


@modest
@given(any_evidence())
def test_taylor_does_not_see_the_sign_of_the_loss(evidence):
    against = gradients(*(-batch for batch in evidence.gradients(1)))
    np.testing.assert_array_equal(taylor(replace(evidence, gradients=against)), taylor(evidence))


@pytest.mark.parametrize("size", [0, -3, 2.5, "all"])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(BadInput, match=r"prune\.order\.batch_size is .*; expected 1 or more"):
        taylor(of_filters([1, 2], gradients=gradients()), batch_size=size)
