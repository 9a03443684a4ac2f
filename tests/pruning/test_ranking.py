"""A ranking is a permutation by score, of one layer or of several, whose ties keep their order."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweep.pruning.ranking import ranking, standardised, together

modest = settings(max_examples=25, deadline=None)
few = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.inf])  # few values, so that many tie
layer = st.lists(few, min_size=1, max_size=9)
layers = st.lists(layer, min_size=1, max_size=4)
scopes = st.sampled_from(["global", "layer"])


def numbered(scores: list[list[float]]) -> list[tuple[int, int]]:
    """(layer, channel of that layer) for each number of a channel."""
    return [(i, c) for i, layer in enumerate(scores) for c in range(len(layer))]


# One layer


@modest
@given(layer)
def test_a_ranking_is_a_permutation_by_rising_score_whose_ties_break_by_number(scores):
    by_hand = sorted(range(len(scores)), key=lambda channel: (scores[channel], channel))
    assert ranking(scores).tolist() == by_hand
    assert sorted(by_hand) == list(range(len(scores)))


def test_equal_scores_leave_the_channels_in_their_order_however_many():
    # above 16 elements NumPy's default sort is not stable
    np.testing.assert_array_equal(ranking(np.zeros(100)), np.arange(100))
    np.testing.assert_array_equal(ranking(np.tile([1.0, 0.0], 50))[:50], np.arange(1, 100, 2))


def test_infinite_scores_are_first_and_last():
    assert ranking([np.inf, 3, -np.inf, np.inf, -np.inf]).tolist() == [2, 4, 1, 0, 3]


@pytest.mark.parametrize("rank", [ranking, standardised, lambda scores: together([scores])])
@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ([0.0, np.nan], r"got shape \(2,\) with 1 values that are no number"),
        ([np.nan, np.inf, np.nan], "with 2 values that are no number"),
        ([[0.0, 1.0]], r"got shape \(1, 2\)"),
        (1.0, r"got shape \(\)"),
    ],
)
def test_scores_that_rank_nothing_are_refused_in_a_sentence(rank, scores, says):
    with pytest.raises(ValueError, match=f"one score a channel, .*{says}"):
        rank(scores)


# Standard deviations


def test_scores_are_told_in_standard_deviations_of_the_sample():
    np.testing.assert_allclose(
        standardised([1, 3, 5, 7]), np.array([-3, -1, 1, 3]) / np.sqrt(20 / 3)
    )


@pytest.mark.parametrize("scores", [[4.0], [2.0, 2.0, 2.0], [0.1, 0.1, 0.1], [np.pi] * 7])
def test_scores_that_are_all_equal_are_zero(scores):
    np.testing.assert_array_equal(standardised(scores), np.zeros(len(scores)))


def test_infinite_scores_stay_and_do_not_move_the_others():
    told = standardised([1, np.inf, 2, -np.inf, 3])
    np.testing.assert_allclose(told, [-1, np.inf, 0, -np.inf, 1])
    np.testing.assert_array_equal(standardised([np.inf, 5.0]), [np.inf, 0])
    np.testing.assert_array_equal(standardised([np.inf, np.inf]), [np.inf, np.inf])


@modest
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=9), st.integers(-9, 9))
@pytest.mark.parametrize("scale", [0.25, 8])
def test_standard_deviations_know_neither_unit_nor_zero(scale, scores, shift):
    scores = np.array(scores, float)
    moved = standardised(scale * scores + shift)
    np.testing.assert_allclose(moved, standardised(scores), rtol=1e-9, atol=1e-9)
    assume(np.ptp(scores))
    assert np.mean(moved) == pytest.approx(0, abs=1e-12)
    assert np.std(moved, ddof=1) == pytest.approx(1)


# Several layers


@modest
@given(layers, scopes)
def test_layers_together_give_a_permutation_and_the_scores_in_its_order(scores, scope):
    ranked = together(scores, scope)
    assert sorted(ranked.channels) == list(range(sum(map(len, scores))))
    standard = np.concatenate([standardised(layer) for layer in scores])
    np.testing.assert_array_equal(ranked.scores, standard[ranked.channels])


@modest
@given(layers, scopes)
def test_in_each_layer_its_own_order_is_kept(scores, scope):
    pruned = [numbered(scores)[channel] for channel in together(scores, scope).channels]
    for number, layer in enumerate(scores):
        assert [c for i, c in pruned if i == number] == ranking(layer).tolist()


@modest
@given(layer, scopes)
def test_one_layer_together_is_its_ranking(scores, scope):
    assert together([scores], scope).channels.tolist() == ranking(scores).tolist()


@modest
@given(layers)
def test_by_layer_each_has_lost_the_same_share_but_for_one_channel_at_any_step(scores):
    pruned = [numbered(scores)[channel] for channel in together(scores, "layer").channels]
    for step in range(len(pruned) + 1):
        lost = [sum(i == number for i, _ in pruned[:step]) for number in range(len(scores))]
        share = [n / len(layer) for n, layer in zip(lost, scores, strict=True)]
        one = max(1 / len(layer) for layer in scores)
        assert max(share) - min(share) <= one + 1e-12


@modest
@given(layers)
def test_globally_the_scores_rise_through_all_layers(scores):
    assume(len(scores) > 1)
    ranked = together(scores)
    assert (ranked.scores[1:] >= ranked.scores[:-1]).all()


def test_globally_and_by_layer_by_hand():
    one, other = [0, 10, 20], [1, 3, 2, 2]  # -1, 0, 1; mean 2, deviation sqrt(2 / 3) = 0.8
    ranked = together([one, other])
    # -1.22 (channel 3), -1 (0), 0 (1, 5, 6), 1 (2), 1.22 (4)
    assert ranked.channels.tolist() == [3, 0, 1, 5, 6, 2, 4]
    np.testing.assert_allclose(ranked.scores, [-(1.5**0.5), -1, 0, 0, 0, 1, 1.5**0.5], atol=1e-12)
    # shares 1/3, 2/3, 1 and 1/4, 1/2, 3/4, 1
    assert together([one, other], "layer").channels.tolist() == [3, 0, 5, 1, 6, 2, 4]


def test_ties_of_layers_break_by_layer_then_by_channel():
    equal = [[5.0, 5.0], [7.0, 7.0], [0.0]]
    assert together(equal).channels.tolist() == [0, 1, 2, 3, 4]
    assert together(equal, "layer").channels.tolist() == [0, 2, 1, 3, 4]


def test_a_layer_of_large_scores_is_not_pruned_last_for_that():
    small, large = [0.1, 0.2, 0.3], [1000.0, 2000.0, 3000.0]
    assert set(together([small, large]).channels[:2]) == {0, 3}


def test_infinite_scores_of_any_layer_are_first_and_last():
    assert together([[1.0, np.inf, 2.0], [3.0, -np.inf]]).channels.tolist() == [4, 0, 3, 2, 1]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_one_score_that_is_no_number_refuses_all_layers(scope):
    with pytest.raises(ValueError, match="no number"):
        together([[0.0, 1.0], [np.nan, 1.0]], scope)


# Where some are pruned already


@modest
@given(layers, st.data())
def test_what_is_left_goes_on_by_layer_where_the_whole_ranking_would(scores, data):
    """Of layers whose scores stay, a ranking of what is left ends as the whole ranking does."""
    whole = together(scores, "layer").channels
    step = data.draw(st.integers(0, len(whole)))
    gone = [numbered(scores)[channel] for channel in whole[:step]]
    left = [
        [channel for channel in range(len(of)) if (layer, channel) not in gone]
        for layer, of in enumerate(scores)
    ]
    scores_left = [[of[c] for c in kept] for of, kept in zip(scores, left, strict=True)]
    pruned = [sum(layer == number for layer, _ in gone) for number in range(len(scores))]
    ranked = together(scores_left, "layer", pruned)
    names = [(layer, channel) for layer, kept in enumerate(left) for channel in kept]
    expected = [numbered(scores)[channel] for channel in whole[step:]]
    assert [names[number] for number in ranked.channels] == expected


@modest
@given(layers, st.data())
def test_globally_it_does_not_matter_how_many_of_a_layer_are_pruned(scores, data):
    pruned = data.draw(st.lists(st.integers(0, 9), min_size=len(scores), max_size=len(scores)))
    found = together(scores, "global", pruned)
    np.testing.assert_array_equal(found.channels, together(scores, "global").channels)
