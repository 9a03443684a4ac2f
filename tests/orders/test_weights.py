"""Orders by hand, against slow loops written from the formulas, and by what each must not see.

`ORDERS` are all functions of the module that take evidence: what holds for any order is tested on
each of them. `evidence()` draws an `Oracle`, which holds whatever an order may need.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep import BadInput, NotApplicable, orders
from sweep.orders import (
    apoz,
    bnp,
    clp,
    ep,
    fpgm,
    l1_norm,
    l2_norm,
    max_activation,
    mean_activation,
    random,
    tac,
    taylor,
)
from sweep.pruning import Evidence, Oracle
from sweep.pruning.evidence import Norm
from sweep.pruning.ranking import ranking

modest = settings(max_examples=25, deadline=None)
LEARNED = {orders.anp, orders.rnp, orders.weight_change, orders.reversed_trigger}
ORDERS = [order for order in orders.CATALOGUE if order not in LEARNED]
values = st.floats(-8, 8, width=32, allow_subnormal=False)
quarters = st.integers(-32, 32).map(lambda value: value / 4)  # sums and products are exact


def seen_as(
    maps: np.ndarray, kernel: np.ndarray | None = None, seed: int = 0, **more: object
) -> Evidence:
    """Evidence of maps (images, ..., channels) in one batch."""
    return Evidence([maps], maps.shape[-1], kernel, seed, **more)


def floats(*nested: object) -> np.ndarray:
    return np.array(nested, np.float32)


def gradients(*batches: np.ndarray) -> Callable[[int], list[np.ndarray]]:
    return lambda batch_size: list(batches)


def with_filters(*filters: object, **more: object) -> Evidence:
    """Evidence with one filter a channel, each of the shape (..., inputs)."""
    kernel = np.moveaxis(floats(*filters), 0, -1)
    return seen_as(np.zeros((1, len(filters)), np.float32), kernel, **more)


def with_norm(inputs: np.ndarray, mean: object, variance: object, gamma: object = None) -> Evidence:
    """Evidence with a BatchNormalization of `inputs`."""
    ones = np.ones(inputs.shape[-1], np.float32)
    gamma = ones if gamma is None else floats(*gamma)
    return seen_as(inputs, norm=Norm(gamma, ones, floats(*mean), floats(*variance), [inputs]))


def with_poison(clean: np.ndarray, poisoned: np.ndarray, seed: int | Sequence[int] = 0) -> Oracle:
    """An oracle's evidence: clean and poisoned maps, which are the preactivations too."""
    of_clean, of_poisoned = (
        Evidence([maps], maps.shape[-1], None, seed, preactivations=[maps])
        for maps in (clean, poisoned)
    )
    return Oracle(
        [clean],
        clean.shape[-1],
        None,
        seed,
        preactivations=[clean],
        poisoned=of_poisoned,
        clean=of_clean,
    )


@st.composite
def evidence(draw: st.DrawFn, elements: st.SearchStrategy[float] = values) -> Oracle:
    """All that any order needs, of a Dense layer or of a convolution; one activation is zero."""
    channels, images = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    places = draw(st.sampled_from([(), (1, 1), (2, 3)]))

    def drawn(*shape: int) -> np.ndarray:
        return draw(arrays(np.float32, shape, elements=elements))

    clean, before, poisoned = (drawn(images, *places, channels) for _ in range(3))
    clean[..., 0] = 0
    kernel, *by_kernel = (drawn(*places, 2, channels) for _ in range(3))
    gamma, beta, mean, variance = (drawn(channels) for _ in range(4))
    norm = Norm(gamma, beta, mean, np.square(variance), [before])
    for array in (clean, before, poisoned, kernel, *by_kernel, gamma, beta, mean, norm.variance):
        array.setflags(write=False)
    seed = draw(st.integers(0, 99))
    pairs = with_poison(clean, poisoned, seed)
    return Oracle(
        maps=[clean],
        channels=channels,
        weights=kernel,
        seed=seed,
        preactivations=[before],
        norm=norm,
        labels=np.zeros(images, np.int64),
        gradients=gradients(*by_kernel),
        poisoned=pairs.poisoned,
        clean=pairs.clean,
    )


def dealt(seen: Oracle, deal: Callable[[np.ndarray], list[np.ndarray]], **more: object) -> Oracle:
    """The same evidence, each array of images given by `deal`."""

    def again(part: Evidence, **more: object) -> Evidence:
        (maps,), (before,) = part.maps, part.preactivations
        return replace(part, maps=deal(maps), preactivations=deal(before), **more)

    norm = replace(seen.norm, inputs=deal(seen.norm.inputs[0]))
    return again(seen, norm=norm, poisoned=again(seen.poisoned), clean=again(seen.clean), **more)


def renumbered(seen: Oracle, places: list[int]) -> Oracle:
    """The same evidence, its channel `places[c]` being channel c."""
    norm = seen.norm
    moved = dealt(seen, lambda maps: [maps[..., places]])
    of = {name: getattr(norm, name)[places] for name in ("gamma", "beta", "mean", "variance")}
    return replace(
        moved,
        weights=seen.weights[..., places],
        gradients=gradients(*(batch[..., places] for batch in seen.gradients(1))),
        norm=replace(moved.norm, **of),
    )


# Of any order


def test_the_orders_here_are_found():
    assert {mean_activation, max_activation, apoz, l1_norm, l2_norm, fpgm} < set(ORDERS)
    assert {taylor, random, clp, bnp, ep, tac} < set(ORDERS)


@modest
@given(evidence())
@pytest.mark.parametrize("order", ORDERS)
def test_any_order_gives_one_score_a_channel_never_nan_and_leaves_the_evidence_alone(order, seen):
    scores = order(seen)
    assert scores.shape == (seen.channels,)
    assert scores.dtype == np.float64
    assert not np.isnan(scores).any()
    np.testing.assert_array_equal(order(seen), scores)


@modest
@given(evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [order for order in ORDERS if order is not random])
def test_renumbering_the_channels_renumbers_the_scores(order, seen, rng):
    places = rng.sample(range(seen.channels), seen.channels)
    moved = order(renumbered(seen, places))
    np.testing.assert_allclose(moved, order(seen)[places], rtol=1e-12, atol=1e-12)


@modest
@given(evidence(), st.integers(1, 3))
@pytest.mark.parametrize("order", ORDERS)
def test_scores_do_not_depend_on_how_the_maps_are_dealt_in_batches(order, seen, size):
    told = []
    batches = dealt(
        seen,
        lambda maps: [maps[start : start + size] for start in range(0, len(maps), size)],
        progress=told.append,
    )
    np.testing.assert_allclose(order(batches), order(seen), rtol=1e-12, atol=1e-12)
    assert sum(told) in (0, len(seen.maps[0]))


@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz, bnp, ep, tac])
def test_an_order_that_reads_maps_tells_of_every_image(order):
    rng = np.random.default_rng(0)
    images = np.maximum(rng.normal(size=(5, 2, 2, 3)), 0).astype(np.float32)
    told = []
    ones = np.ones(3, np.float32)
    norm = Norm(ones, ones, ones, ones, [images])
    order(replace(with_poison(images, images), norm=norm, progress=told.append))
    assert told == [5]


@modest
@given(evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz, bnp, ep, tac])
def test_scores_do_not_depend_on_the_order_of_the_images(order, seen, rng):
    images = len(seen.maps[0])
    places = rng.sample(range(images), images)
    moved = order(dealt(seen, lambda maps: [maps[places]]))
    assume(order is not ep or round(images / 9) in (0, images))  # a draw is by number
    np.testing.assert_allclose(moved, order(seen), rtol=1e-12, atol=1e-9)


@modest
@given(evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [l1_norm, l2_norm, fpgm, clp, taylor])
def test_scores_do_not_depend_on_how_the_kernel_lies(order, seen, rng):
    """Neither on which input is which, nor on rows and columns of the kernel."""
    inputs = rng.sample([0, 1], 2)

    def turned(kernel: np.ndarray) -> np.ndarray:
        axes = list(range(kernel.ndim - 2))
        return kernel.transpose(*axes[::-1], -2, -1)[..., inputs, :]

    moved = replace(
        seen,
        weights=turned(seen.weights),
        gradients=gradients(*(turned(batch) for batch in seen.gradients(1))),
    )
    np.testing.assert_allclose(order(moved), order(seen), rtol=1e-9, atol=1e-9)


# Activations


def test_mean_activation_by_hand():
    one = [[[0, 1, 9], [0, 1, 0]]]  # one row of two places, three channels
    other = [[[0, 2, 0], [8, 0, 0]]]
    seen = seen_as(floats(one, other))
    np.testing.assert_allclose(mean_activation(seen), [8 / 4, 4 / 4, 9 / 4])
    assert ranking(mean_activation(seen)).tolist() == [1, 0, 2]


def test_max_activation_by_hand():
    seen = seen_as(floats([[[0, 1, -9], [0, 1, -2]]], [[[0, 2, -3], [8, 0, -4]]]))
    np.testing.assert_array_equal(max_activation(seen), [8, 2, -2])


def test_apoz_by_hand_most_zeros_first():
    seen = seen_as(floats([[[0, 1, 9], [0, -1, 0]]], [[[0, 2, 1], [8, 1e-30, 1]]]))
    np.testing.assert_allclose(apoz(seen), [-3 / 4, 0, -1 / 4])
    assert ranking(apoz(seen)).tolist() == [0, 2, 1]


def test_apoz_does_not_apply_where_nothing_is_zero():
    with pytest.raises(NotApplicable, match="exactly zero, and there is none; take another order"):
        apoz(seen_as(floats([1, -1], [1e-30, 2])))


def test_equal_shares_of_zeros_tie_exactly_wherever_the_zeros_are():
    maps = np.ones((9, 7, 2), np.float32)
    maps[:3, :, 0] = 0  # 21 in three images
    maps[:7, :3, 1] = 0  # 21 in seven images
    assert len(set(apoz(seen_as(maps)))) == 1


@modest
@given(evidence())
@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz])
def test_an_order_by_activations_is_what_a_slow_loop_makes_of_each_channel(order, seen):
    (maps,) = seen.maps
    slow = []
    for channel in range(seen.channels):
        told = [float(maps[place][channel]) for place in np.ndindex(maps.shape[:-1])]
        if order is mean_activation:
            slow.append(math.fsum(told) / len(told))
        elif order is max_activation:
            slow.append(sorted(told)[-1])
        else:
            slow.append(-told.count(0.0) / len(told))
    np.testing.assert_allclose(order(seen), slow, rtol=1e-9, atol=1e-9)


def test_mean_activation_adds_in_double_precision():
    tenth = np.float32(0.1)
    seen = seen_as(np.full((20_000, 2), tenth))
    np.testing.assert_allclose(mean_activation(seen), float(tenth), rtol=1e-10)


@modest
@given(evidence(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_brighter_maps_scale_mean_and_maximum_and_leave_the_share_of_zeros(seen, scale):
    brighter = seen_as(seen.maps[0] * np.float32(scale))
    np.testing.assert_allclose(mean_activation(brighter), scale * mean_activation(seen))
    np.testing.assert_allclose(max_activation(brighter), scale * max_activation(seen))
    np.testing.assert_array_equal(apoz(brighter), apoz(seen))


@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz])
def test_a_channel_that_sleeps_on_clean_images_is_pruned_first(order):
    rng = np.random.default_rng(0)
    maps = np.maximum(rng.normal(size=(50, 4, 4, 8)) + 0.3, 0).astype(np.float32)
    maps[..., 5] *= rng.random((50, 4, 4)) < 0.02
    maps[..., 5] *= 0.1
    assert ranking(order(seen_as(maps)))[0] == 5


# Weights


def test_l1_norm_by_hand_lowest_first_or_highest_first_with_ties_by_number():
    seen = with_filters([-1, 2], [0, 1], [3, 0], [-0.5, 0])  # 3, 1, 3, 0.5
    np.testing.assert_allclose(l1_norm(seen), [3, 1, 3, 0.5])
    assert ranking(l1_norm(seen)).tolist() == [3, 1, 0, 2]
    assert ranking(l1_norm(seen, descending=True)).tolist() == [0, 2, 1, 3]


def test_l2_norm_by_hand_lowest_first_or_highest_first():
    seen = with_filters([-3, 4], [0, 1], [0, -6])
    np.testing.assert_allclose(l2_norm(seen), [5, 1, 6])
    assert ranking(l2_norm(seen)).tolist() == [1, 0, 2]
    np.testing.assert_allclose(l2_norm(seen, descending=True), [-5, -1, -6])


def filters_of(seen: Evidence) -> list[list[float]]:
    """The weights of each filter in a list, from the first position and input to the last."""
    places = list(np.ndindex(seen.weights.shape[:-1]))
    return [[float(seen.weights[place][c]) for place in places] for c in range(seen.channels)]


@modest
@given(evidence())
def test_norms_are_what_a_slow_loop_adds_up(seen):
    filters = filters_of(seen)
    np.testing.assert_allclose(l1_norm(seen), [math.fsum(map(abs, f)) for f in filters], rtol=1e-9)
    np.testing.assert_allclose(l2_norm(seen), [math.hypot(*f) for f in filters], rtol=1e-9)


@modest
@given(evidence(), st.data())
@pytest.mark.parametrize("order", [l1_norm, l2_norm])
def test_a_norm_does_not_see_the_signs_of_weights(order, seen, data):
    signs = data.draw(arrays(np.float32, seen.weights.shape, elements=st.sampled_from([-1, 1])))
    np.testing.assert_array_equal(order(replace(seen, weights=seen.weights * signs)), order(seen))


def test_fpgm_by_hand_the_filter_in_the_middle_first():
    seen = with_filters([0, 0], [3, 4], [6, 8])  # distances 5, 5 and 10
    np.testing.assert_allclose(fpgm(seen), [15, 10, 15])
    assert ranking(fpgm(seen)).tolist() == [1, 0, 2]


@modest
@given(evidence())
def test_fpgm_is_what_a_slow_loop_adds_up(seen):
    filters = filters_of(seen)
    slow = [math.fsum(math.dist(one, other) for other in filters) for one in filters]
    np.testing.assert_allclose(fpgm(seen), slow, rtol=1e-9, atol=1e-12)


def test_equal_filters_are_equally_far_to_the_last_bit_also_from_themselves():
    rng = np.random.default_rng(0)
    filters = 1000 + rng.normal(size=(40, 3, 3, 8)).astype(np.float32)
    filters[30:] = filters[:10]
    far = fpgm(with_filters(*filters))
    np.testing.assert_array_equal(far[30:], far[:10])
    # what inner products would not give: 1e6 - 2e6 + 1e6
    np.testing.assert_array_equal(fpgm(with_filters(*[filters[0]] * 9)), np.zeros(9))


def test_fpgm_tells_filters_apart_that_are_close_and_far_from_zero():
    # by inner products the distances would drown in the rounding of 1e6 * 72
    rng = np.random.default_rng(0)
    filters = 1000 + rng.integers(0, 9, size=(5, 3, 3, 8)).astype(np.float32) / 8192
    seen = with_filters(*filters)
    slow = [math.fsum(math.dist(a, b) for b in filters_of(seen)) for a in filters_of(seen)]
    np.testing.assert_allclose(fpgm(seen), slow, rtol=1e-12)


@modest
@given(evidence(quarters), st.data())
def test_fpgm_does_not_see_what_all_filters_share(seen, data):
    shared = data.draw(arrays(np.float32, (*seen.weights.shape[:-1], 1), elements=quarters))
    moved = fpgm(replace(seen, weights=seen.weights + shared))
    np.testing.assert_array_equal(moved, fpgm(seen))


@modest
@given(evidence(), st.randoms(use_true_random=False))
def test_fpgm_keeps_its_ties_under_any_numbering(seen, rng):
    places = rng.sample(range(seen.channels), seen.channels)
    np.testing.assert_array_equal(fpgm(renumbered(seen, places)), fpgm(seen)[places])


def test_clp_by_hand_without_and_with_a_norm():
    # inputs x positions: diagonal 3, 1; rank one of norm 2 * sqrt(3); nothing
    filters = [[[3, 0], [0, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]]
    seen = with_filters(*filters)
    np.testing.assert_allclose(clp(seen), [-3, -2, 0], atol=1e-12)
    norm = Norm(floats(-2, 3, 1), floats(7, 7, 7), floats(5, 5, 5), floats(16, 0.25, 4), [])
    np.testing.assert_allclose(clp(replace(seen, norm=norm)), [-3 * 2 / 4, -2 * 3 / 0.5, 0])
    assert ranking(clp(replace(seen, norm=norm))).tolist() == [1, 0, 2]


def test_clp_of_no_variance_is_infinite_and_first_unless_the_channel_is_dead():
    norm = Norm(floats(1, 1, 0, 1), *(np.zeros(4, np.float32) for _ in range(3)), [])
    seen = with_filters([1, 2], [0, 0], [5, 5], [1e-30, 0], norm=norm)
    assert clp(seen).tolist() == [-np.inf, 0, 0, -np.inf]


@modest
@given(evidence())
def test_clp_is_what_the_power_of_each_filters_own_matrix_gives(seen):
    """The largest eigenvalue of M M^T, where M is filled weight by weight."""
    places = list(np.ndindex(seen.weights.shape[:-2]))
    slow = []
    for channel in range(seen.channels):
        matrix = np.zeros((2, len(places)))
        for column, place in enumerate(places):
            for row in range(2):
                matrix[row, column] = seen.weights[place][row, channel]
        slow.append(-math.sqrt(max(np.linalg.eigvalsh(matrix @ matrix.T)[-1], 0)))
    alone = replace(seen, norm=None)
    np.testing.assert_allclose(clp(alone), slow, rtol=1e-6, atol=1e-6)
    for one, lonely, g, v in zip(
        clp(seen), clp(alone), seen.norm.gamma, seen.norm.variance, strict=True
    ):
        assert v == 0 or one == pytest.approx(lonely * abs(float(g)) / math.sqrt(v), rel=1e-9)


@modest
@given(st.integers(0, 99), st.floats(0, 6))
def test_clp_does_not_see_a_rotation_of_the_inputs(seed, angle):
    kernel = np.random.default_rng(seed).normal(size=(3, 3, 2, 4))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = np.einsum("hwic,ij->hwjc", kernel, turn)
    one, other = (seen_as(np.zeros((1, 4), np.float32), k) for k in (kernel, turned))
    np.testing.assert_allclose(clp(other), clp(one), rtol=1e-9)


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (2, 4)])
def test_clp_of_one_input_or_of_a_dense_layer_is_the_l2_norm(shape):
    """A matrix of one row or of one column has one singular value."""
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    seen = seen_as(np.zeros((1, 4), np.float32), kernel)
    np.testing.assert_allclose(clp(seen), l2_norm(seen, descending=True))


@pytest.mark.parametrize("order", [clp, lambda seen: l2_norm(seen, descending=True)])
def test_a_channel_that_amplifies_one_pattern_is_pruned_first(order):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 20)).astype(np.float32)
    kernel[..., 13] *= 3
    assert ranking(order(seen_as(np.zeros((1, 20), np.float32), kernel)))[0] == 13


# Gradients


def test_taylor_by_hand_sums_then_squares_then_averages():
    kernel = floats([1, 2], [3, -1])  # two inputs, two channels
    first = floats([1, 1], [-1, 1])  # 1 - 3 = -2 and 2 - 1 = 1
    second = floats([2, 0], [0, 3])  # 2 and -3
    seen = seen_as(np.zeros((1, 2), np.float32), kernel, gradients=gradients(first, second))
    np.testing.assert_allclose(taylor(seen), [(4 + 4) / 2, (1 + 9) / 2])


@modest
@given(evidence())
def test_taylor_is_what_a_slow_loop_adds_up(seen):
    batches = seen.gradients(1)
    slow = np.zeros(seen.channels)
    for channel in range(seen.channels):
        for batch in batches:
            change = 0.0
            for place in np.ndindex(batch.shape[:-1]):
                change += float(seen.weights[place][channel]) * float(batch[place][channel])
            slow[channel] += change**2 / len(batches)
    np.testing.assert_allclose(taylor(seen), slow, rtol=1e-9, atol=1e-9)


def test_taylor_asks_for_batches_of_its_size():
    asked = []
    kernel = np.ones((2, 3), np.float32)
    seen = seen_as(kernel, kernel, gradients=lambda size: asked.append(size) or [kernel])
    taylor(seen)
    taylor(seen, batch_size=7)
    assert asked == [128, 7]


@modest
@given(evidence())
def test_taylor_does_not_see_the_sign_of_the_loss(seen):
    against = gradients(*(-batch for batch in seen.gradients(1)))
    np.testing.assert_array_equal(taylor(replace(seen, gradients=against)), taylor(seen))


@pytest.mark.parametrize("size", [0, -3, 2.5, "all"])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(BadInput, match=r"prune\.order\.batch_size is .*; expected 1 or more"):
        taylor(with_filters([1, 2], gradients=gradients()), batch_size=size)


# Running statistics


def test_bnp_by_hand():
    inputs = floats([[[0, 1, 3]]], [[[2, 1, 5]]])  # means 1, 1, 4; deviations 1, 0, 1
    seen = with_norm(inputs, mean=[1, 1, 0], variance=[1, 1, 4])
    third = math.log(2) + (1 + 16) / 8 - 1 / 2
    np.testing.assert_allclose(bnp(seen), [0, -np.inf, -third])
    assert ranking(bnp(seen)).tolist() == [1, 2, 0]


@modest
@given(evidence())
def test_bnp_is_what_the_formula_gives_of_each_channel(seen):
    (inputs,) = seen.norm.inputs
    scores = bnp(seen)
    for channel in range(seen.channels):
        told = [float(inputs[place][channel]) for place in np.ndindex(inputs.shape[:-1])]
        mean = math.fsum(told) / len(told)
        variance = math.fsum((x - mean) ** 2 for x in told) / len(told)
        running = float(seen.norm.variance[channel])
        if len(set(told)) == 1 or running == 0:
            assert scores[channel] == -np.inf
            continue
        away = (mean - float(seen.norm.mean[channel])) ** 2
        divergence = (
            0.5 * math.log(running) - 0.5 * math.log(variance) + (variance + away) / (2 * running)
        ) - 0.5
        np.testing.assert_allclose(scores[channel], -divergence, rtol=1e-9, atol=1e-9)


@modest
@given(evidence(quarters), quarters)
@pytest.mark.parametrize("scale", [-2, 0.5, 4])
def test_bnp_does_not_see_unit_and_zero_of_data_and_running_statistics(scale, seen, shift):
    moved = with_norm(
        np.float32(scale) * seen.norm.inputs[0] + np.float32(shift),
        np.float32(scale) * seen.norm.mean + np.float32(shift),
        np.float32(scale**2) * seen.norm.variance,
    )
    np.testing.assert_allclose(bnp(moved), bnp(seen), rtol=1e-9, atol=1e-9)


def test_bnp_is_never_negative_and_zero_where_the_statistics_are_the_images_own():
    inputs = np.random.default_rng(0).normal(3, 2, size=(30, 4, 4, 5)).astype(np.float32)
    flat = inputs.reshape(-1, 5).astype(np.float64)
    own = bnp(with_norm(inputs, flat.mean(axis=0), flat.var(axis=0)))
    np.testing.assert_allclose(own, 0, atol=1e-12)
    assert (bnp(with_norm(inputs, flat.mean(axis=0), 1.1 * flat.var(axis=0))) < -1e-4).all()


def test_bnp_takes_a_small_variance_far_from_zero_and_none_of_a_constant_channel():
    rng = np.random.default_rng(0)
    inputs = np.full((500, 3, 3, 2), 0.1, np.float32)
    inputs[..., 1] = 4096 + rng.choice([-0.5, 0.5], (500, 3, 3))
    inputs[0, 0, 0, 1] = 4096.5  # no pivot that one image gives
    seen = with_norm(inputs, mean=[0.1, 4096], variance=[1, 0.25])
    constant, far = bnp(seen)
    assert constant == -np.inf
    assert -1e-3 < far <= 0


def test_bnp_puts_a_channel_first_whose_statistics_were_taken_with_poisoned_images():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(200, 4, 4, 10)).astype(np.float32)
    training = clean.copy()
    training[:20, ..., 7] += 6  # the trigger, in a tenth of them
    flat = training.reshape(-1, 10)
    assert ranking(bnp(with_norm(clean, flat.mean(axis=0), flat.var(axis=0))))[0] == 7


# Oracles


def test_ep_by_hand():
    # maxima over positions: 0 and 1 four times each; all the same; eight different ones
    images = [[[n % 2, 3, 8 * n], [-9, -9 - n, -9]] for n in range(8)]
    scores = ep(with_poison(floats(*images[:4]), floats(*images[4:])), rate=0.5)
    np.testing.assert_allclose(scores, [math.log(2), 0, math.log(8)], atol=1e-12)
    assert ranking(scores).tolist() == [1, 0, 2]


@pytest.mark.parametrize(("rate", "there", "drawn"), [(0.1, 9, 2), (0.5, 20, 18), (0.9, 7, 7)])
def test_ep_mixes_all_clean_images_with_the_share_of_poisoned_ones(rate, there, drawn):
    # every image falls into a bin of its own, so that the entropy tells how many there were
    image = np.random.default_rng(0).permutation(18 + there).astype(np.float32)[:, None]
    seen = with_poison(image[:18], image[18:])
    np.testing.assert_allclose(np.exp(ep(seen, rate=rate)), 18 + drawn)


def test_ep_draws_the_poisoned_images_by_seed():
    clean = np.random.default_rng(0).normal(size=(90, 30)).astype(np.float32)
    poisoned = np.random.default_rng(1).normal(size=(90, 30)).astype(np.float32)
    first, again, other, nested = (
        ep(with_poison(clean, poisoned, seed)) for seed in (0, 0, 1, [0, 1])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, nested)


@modest
@given(evidence())
def test_ep_is_what_counting_gives_of_each_channel(seen):
    clean, poisoned = seen.preactivations[0], seen.poisoned.preactivations[0]
    scores = ep(seen, rate=0.99)  # all of both
    for channel in range(seen.channels):
        largest = [float(image[..., channel].max()) for image in (*clean, *poisoned)]
        mean = sum(largest) / len(largest)
        spread = math.sqrt(sum((x - mean) ** 2 for x in largest) / len(largest))
        if 0 < spread < 1e-12:
            continue  # so small that squares are rounded to nothing
        standard = [(x - mean) / spread if spread else 0.0 for x in largest]
        edges = [abs(100 * x - round(100 * x)) for x in standard]
        if spread and min(edges) < 1e-6:
            continue  # on the edge of a bin, where rounding decides
        bins = Counter(math.floor(100 * x) for x in standard)
        entropy = -sum(n / len(largest) * math.log(n / len(largest)) for n in bins.values())
        np.testing.assert_allclose(scores[channel], entropy, rtol=1e-9, atol=1e-9)


@modest
@given(st.integers(0, 99), quarters)
@pytest.mark.parametrize("scale", [0.5, 4])
def test_ep_does_not_see_unit_and_zero_of_a_channel(scale, seed, shift):
    rng = np.random.default_rng(seed)
    # so many images that some share a bin, in whatever unit
    clean, poisoned = (
        (rng.integers(-9999, 9999, (n, 2, 3)) / 1024).astype(np.float32) for n in (600, 90)
    )
    moved = with_poison(scale * clean + np.float32(shift), scale * poisoned + np.float32(shift))
    np.testing.assert_allclose(ep(moved), ep(with_poison(clean, poisoned)), atol=1e-9)


def test_ep_puts_a_channel_first_that_has_one_heap_of_clean_and_one_of_poisoned_images():
    rng = np.random.default_rng(0)
    clean, poisoned = (rng.normal(size=(n, 4, 4, 8)).astype(np.float32) for n in (900, 100))
    clean[..., 3] *= 0.1
    poisoned[..., 3] = 30 + 0.1 * poisoned[..., 3]
    assert ranking(ep(with_poison(clean, poisoned)))[0] == 3


@pytest.mark.parametrize("rate", [0, 1, -0.1, 10])
def test_a_share_of_poisoned_images_that_is_none_is_refused(rate):
    one = np.zeros((1, 1), np.float32)
    with pytest.raises(BadInput, match=rf"prune\.order\.rate is {rate}; expected a share"):
        ep(with_poison(one, one), rate=rate)


def test_tac_by_hand():
    clean = floats([[0, 1], [0, 1]], [[5, 1], [5, 1]])
    poisoned = floats([[3, 1], [-4, 1]], [[5, 1], [5, 3]])  # norms 5, 0 and 0, 2
    np.testing.assert_allclose(tac(with_poison(clean, poisoned)), [-2.5, -1])


@modest
@given(evidence())
def test_tac_is_what_a_slow_loop_gives_of_pairs(seen):
    (clean,), (poisoned,) = seen.clean.maps, seen.poisoned.maps
    slow = []
    for channel in range(seen.channels):
        pairs = zip(clean[..., channel], poisoned[..., channel], strict=True)
        norms = [math.dist(np.ravel(a).tolist(), np.ravel(b).tolist()) for a, b in pairs]
        slow.append(-sum(norms) / len(norms))
    np.testing.assert_allclose(tac(seen), slow, rtol=1e-9, atol=1e-9)


@modest
@given(evidence())
def test_tac_is_zero_without_a_trigger_and_does_not_see_which_of_a_pair_is_poisoned(seen):
    np.testing.assert_array_equal(tac(replace(seen, poisoned=seen.clean)), np.zeros(seen.channels))
    swapped = replace(seen, poisoned=seen.clean, clean=seen.poisoned)
    np.testing.assert_array_equal(tac(swapped), tac(seen))


def test_tac_sees_a_trigger_of_any_sign_and_puts_its_channel_first():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(40, 4, 4, 8)).astype(np.float32)
    poisoned = clean + 0.1 * rng.normal(size=clean.shape).astype(np.float32)
    poisoned[:, 0, 0, 6] += np.where(np.arange(40) % 2, 5, -5)  # the mean does not change
    assert ranking(tac(with_poison(clean, poisoned)))[0] == 6


@pytest.mark.parametrize(
    ("poisoned", "says"),
    [
        ([np.zeros((2, 3), np.float32)], "maps of pairs differ"),
        ([np.zeros((1, 3), np.float32)] * 4, r"zip\(\)"),
        ([np.zeros((1, 3), np.float32)] * 2, r"zip\(\)"),
    ],
)
def test_tac_refuses_maps_that_are_no_pairs(poisoned, says):
    one = np.zeros((1, 3), np.float32)
    seen = with_poison(one, one)
    unpaired = replace(seen.poisoned, maps=poisoned)
    clean = replace(seen.clean, maps=[one] * 3)
    with pytest.raises(ValueError, match=says):
        tac(replace(seen, poisoned=unpaired, clean=clean))


# The control


def seeded(seed: int | Sequence[int], channels: int = 60) -> Evidence:
    return seen_as(np.zeros((1, channels), np.float32), None, seed)


def test_random_is_equal_by_seed_and_different_by_seed():
    np.testing.assert_array_equal(random(seeded(7)), random(seeded(7)))
    assert not np.array_equal(random(seeded(7)), random(seeded(8)))
    assert not np.array_equal(random(seeded([7, 0])), random(seeded([7, 1])))


@modest
@given(evidence())
def test_random_is_a_permutation_that_does_not_look_at_the_network(seen):
    assert sorted(random(seen)) == list(range(seen.channels))
    np.testing.assert_array_equal(random(seen), random(seeded(seen.seed, seen.channels)))


def test_random_can_put_every_channel_first():
    firsts = {int(ranking(random(seeded(seed, channels=4)))[0]) for seed in range(50)}
    assert firsts == {0, 1, 2, 3}
