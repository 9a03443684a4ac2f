"""Orders against slow loops and by hand; a ranking is a permutation whose ties keep their order.

`ORDERS` are all functions of the module that take evidence: what holds for any order is tested on
each of them.
"""

import inspect
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep import BadInput, NotApplicable, orders
from sweep.orders import Evidence, l1_norm, mean_activation, needs, needs_of, random, ranking

modest = settings(max_examples=25, deadline=None)
ORDERS = [
    order
    for _, order in inspect.getmembers(orders, inspect.isfunction)
    if next(iter(inspect.signature(order).parameters), None) == "evidence"
]
values = st.floats(-8, 8, width=32)


def seen_as(maps: np.ndarray, kernel: np.ndarray | None = None, seed: int = 0) -> Evidence:
    """Evidence of maps (images, ..., channels) in one batch."""
    return Evidence([maps], maps.shape[-1], kernel, seed)


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    """Maps of a Dense layer or of a convolution, and a kernel to it."""
    channels = draw(st.integers(1, 5))
    places = draw(st.sampled_from([(), (1, 1), (2, 3)]))
    maps = draw(arrays(np.float32, (draw(st.integers(1, 4)), *places, channels), elements=values))
    kernel = draw(arrays(np.float32, (*places, 2, channels), elements=values))
    for array in (maps, kernel):
        array.setflags(write=False)
    return seen_as(maps, kernel, draw(st.integers(0, 99)))


def seeded(seed: int, channels: int = 60) -> Evidence:
    return seen_as(np.zeros((1, channels), np.float32), None, seed)


def with_kernel(*columns: list[float]) -> Evidence:
    """Evidence with one filter a channel, given weight by weight."""
    kernel = np.array(columns, np.float32).T
    return seen_as(np.zeros((1, len(columns)), np.float32), kernel)


@modest
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12))
def test_a_ranking_is_a_permutation_by_rising_score_whose_ties_break_by_number(scores):
    by_hand = sorted(range(len(scores)), key=lambda channel: (scores[channel], channel))
    assert ranking(scores).tolist() == by_hand
    assert sorted(by_hand) == list(range(len(scores)))


def test_equal_scores_leave_the_channels_in_their_order_however_many():
    # above 16 elements NumPy's default sort is not stable
    np.testing.assert_array_equal(ranking(np.zeros(100)), np.arange(100))


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ([0.0, np.nan], "1 values not finite"),
        ([np.inf, -np.inf, 0.0], "2 values not finite"),
        ([[0.0, 1.0]], r"got shape \(1, 2\)"),
        (1.0, r"got shape \(\)"),
    ],
)
def test_scores_that_rank_nothing_are_refused_in_a_sentence(scores, says):
    with pytest.raises(ValueError, match=f"one finite score a channel, .*{says}"):
        ranking(scores)


@modest
@given(evidence(), st.sampled_from(ORDERS))
def test_any_order_gives_one_finite_score_a_channel_and_leaves_the_evidence_alone(seen, order):
    scores = order(seen)
    assert scores.shape == (seen.channels,)
    assert scores.dtype.kind == "f"
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(order(seen), scores)


def test_the_orders_here_are_found():
    assert {mean_activation, l1_norm, random} <= set(ORDERS)


def test_mean_activation_by_hand():
    one = [[[0, 1, 9], [0, 1, 0]]]  # one row of two places, three channels
    other = [[[0, 2, 0], [8, 0, 0]]]
    seen = seen_as(np.array([one, other], np.float32))
    np.testing.assert_allclose(mean_activation(seen), [8 / 4, 4 / 4, 9 / 4])
    assert ranking(mean_activation(seen)).tolist() == [1, 0, 2]


@modest
@given(evidence())
def test_mean_activation_is_what_a_slow_loop_adds_up(seen):
    sums = [0.0] * seen.channels
    count = 0
    (maps,) = seen.maps
    for place in np.ndindex(maps.shape[:-1]):
        count += 1
        for channel in range(seen.channels):
            sums[channel] += float(maps[place][channel])
    slow = [total / count for total in sums]
    np.testing.assert_allclose(mean_activation(seen), slow, rtol=1e-9, atol=1e-9)


def test_mean_activation_adds_in_double_precision():
    tenth = np.float32(0.1)
    seen = seen_as(np.full((20_000, 2), tenth))
    np.testing.assert_allclose(mean_activation(seen), float(tenth), rtol=1e-10)


@modest
@given(evidence())
def test_l1_norm_is_what_a_slow_loop_adds_up(seen):
    slow = [0.0] * seen.channels
    for place in np.ndindex(seen.weights.shape[:-1]):
        for channel in range(seen.channels):
            slow[channel] += abs(float(seen.weights[place][channel]))
    np.testing.assert_allclose(l1_norm(seen), slow, rtol=1e-9, atol=1e-9)


def test_l1_norm_by_hand_lowest_first_or_highest_first_with_ties_by_number():
    seen = with_kernel([-1, 2], [0, 1], [3, 0], [-0.5, 0])  # 3, 1, 3, 0.5
    np.testing.assert_allclose(l1_norm(seen), [3, 1, 3, 0.5])
    assert ranking(l1_norm(seen)).tolist() == [3, 1, 0, 2]
    assert ranking(l1_norm(seen, descending=True)).tolist() == [0, 2, 1, 3]


@modest
@given(evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [mean_activation, l1_norm])
def test_renumbering_the_channels_renumbers_the_scores(order, seen, rng):
    places = rng.sample(range(seen.channels), seen.channels)
    (maps,) = seen.maps
    renumbered = seen_as(maps[..., places], seen.weights[..., places], seen.seed)
    np.testing.assert_allclose(order(renumbered), order(seen)[places], rtol=1e-12, atol=1e-12)


def test_mean_activation_does_not_depend_on_the_order_of_the_images():
    maps = np.random.default_rng(0).normal(size=(6, 2, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(mean_activation(seen_as(maps[::-1])), mean_activation(seen_as(maps)))


@modest
@given(evidence(), st.integers(1, 3))
@pytest.mark.parametrize("order", ORDERS)
def test_scores_do_not_depend_on_how_the_maps_are_dealt_in_batches(order, seen, size):
    (maps,) = seen.maps
    told = []
    dealt = [maps[start : start + size] for start in range(0, len(maps), size)]
    batches = Evidence(dealt, seen.channels, seen.weights, seen.seed, told.append)
    np.testing.assert_allclose(order(batches), order(seen), rtol=1e-12, atol=1e-12)
    assert sum(told) in (0, len(maps))


def test_random_is_equal_by_seed_and_different_by_seed():
    np.testing.assert_array_equal(random(seeded(7)), random(seeded(7)))
    assert not np.array_equal(random(seeded(7)), random(seeded(8)))


@modest
@given(evidence())
def test_random_is_a_permutation_that_does_not_look_at_the_network(seen):
    assert sorted(random(seen)) == list(range(seen.channels))
    (maps,) = seen.maps
    other = seen_as(maps + 1, None, seen.seed)
    np.testing.assert_array_equal(random(seen), random(other))


def test_random_can_put_every_channel_first():
    firsts = {int(ranking(random(seeded(seed, channels=4)))[0]) for seed in range(50)}
    assert firsts == {0, 1, 2, 3}


def test_an_order_declares_what_it_needs_also_behind_partials():
    assert needs_of(mean_activation) == needs_of(random) == frozenset()
    assert needs_of(l1_norm) == {"weights"}
    assert needs_of(partial(partial(l1_norm, descending=True), descending=False)) == {"weights"}


def test_declaring_a_need_that_nobody_knows_fails_at_once():
    with pytest.raises(ValueError, match="moonlight"):
        needs("weights", "moonlight")


def test_an_order_without_what_it_needs_is_not_applicable_and_says_why():
    with pytest.raises(NotApplicable, match=r"needs the weights of .* at 'add_1' there is none"):
        orders.require(partial(l1_norm), "add_1", {"weights": None})
    assert issubclass(NotApplicable, BadInput)


@pytest.mark.parametrize(
    ("order", "weights"), [(l1_norm, np.ones((2, 3))), (mean_activation, None), (random, None)]
)
def test_an_order_with_what_it_needs_is_applicable(order, weights):
    orders.require(order, "conv_3", {"weights": weights})
