"""Orders that look at poisoned images: by hand, and against slow loops from the formulas."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from evidences import any_evidence, floats, modest, of_pairs, quarters
from hypothesis import given
from hypothesis import strategies as st

from sweep import BadInput
from sweep.orders import ep, tac
from sweep.pruning.ranking import ranking


def test_ep_by_hand():
    # maxima over positions: 0 and 1 four times each; all the same; eight different ones
    images = [[[n % 2, 3, 8 * n], [-9, -9 - n, -9]] for n in range(8)]
    scores = ep(of_pairs(floats(*images[:4]), floats(*images[4:])), rate=0.5)
    np.testing.assert_allclose(scores, [math.log(2), 0, math.log(8)], atol=1e-12)
    assert ranking(scores).tolist() == [1, 0, 2]


@pytest.mark.parametrize(("rate", "there", "drawn"), [(0.1, 9, 2), (0.5, 20, 18), (0.9, 7, 7)])
def test_ep_mixes_all_clean_images_with_the_share_of_poisoned_ones(rate, there, drawn):
    # every image falls into a bin of its own, so that the entropy tells how many there were
    image = np.random.default_rng(0).permutation(18 + there).astype(np.float32)[:, None]
    evidence = of_pairs(image[:18], image[18:])
    np.testing.assert_allclose(np.exp(ep(evidence, rate=rate)), 18 + drawn)


def test_ep_draws_the_poisoned_images_by_seed():
    clean = np.random.default_rng(0).normal(size=(90, 30)).astype(np.float32)
    poisoned = np.random.default_rng(1).normal(size=(90, 30)).astype(np.float32)
    first, again, other, nested = (
        ep(of_pairs(clean, poisoned, seed)) for seed in (0, 0, 1, [0, 1])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, nested)


@modest
@given(any_evidence())
def test_ep_is_what_counting_gives_of_each_channel(evidence):
    clean, poisoned = evidence.preactivations[0], evidence.poisoned.preactivations[0]
    scores = ep(evidence, rate=0.99)  # all of both
    for channel in range(evidence.channels):
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
    moved = of_pairs(scale * clean + np.float32(shift), scale * poisoned + np.float32(shift))
    np.testing.assert_allclose(ep(moved), ep(of_pairs(clean, poisoned)), atol=1e-9)


def test_ep_puts_a_channel_first_that_has_one_heap_of_clean_and_one_of_poisoned_images():
    rng = np.random.default_rng(0)
    clean, poisoned = (rng.normal(size=(n, 4, 4, 8)).astype(np.float32) for n in (900, 100))
    clean[..., 3] *= 0.1
    poisoned[..., 3] = 30 + 0.1 * poisoned[..., 3]
    assert ranking(ep(of_pairs(clean, poisoned)))[0] == 3


@pytest.mark.parametrize("rate", [0, 1, -0.1, 10])
def test_a_share_of_poisoned_images_that_is_none_is_refused(rate):
    one = np.zeros((1, 1), np.float32)
    with pytest.raises(BadInput, match=rf"prune\.order\.rate is {rate}; expected a share"):
        ep(of_pairs(one, one), rate=rate)


def test_tac_by_hand():
    clean = floats([[0, 1], [0, 1]], [[5, 1], [5, 1]])
    poisoned = floats([[3, 1], [-4, 1]], [[5, 1], [5, 3]])  # norms 5, 0 and 0, 2
    np.testing.assert_allclose(tac(of_pairs(clean, poisoned)), [-2.5, -1])


@modest
@given(any_evidence())
def test_tac_is_what_a_slow_loop_gives_of_pairs(evidence):
    (clean,), (poisoned,) = evidence.clean.maps, evidence.poisoned.maps
    slow = []
    for channel in range(evidence.channels):
        pairs = zip(clean[..., channel], poisoned[..., channel], strict=True)
        norms = [math.dist(np.ravel(a).tolist(), np.ravel(b).tolist()) for a, b in pairs]
        slow.append(-sum(norms) / len(norms))
    np.testing.assert_allclose(tac(evidence), slow, rtol=1e-9, atol=1e-9)


@modest
@given(any_evidence())
def test_tac_is_zero_without_a_trigger_and_does_not_see_which_of_a_pair_is_poisoned(evidence):
    np.testing.assert_array_equal(
        tac(replace(evidence, poisoned=evidence.clean)), np.zeros(evidence.channels)
    )
    swapped = replace(evidence, poisoned=evidence.clean, clean=evidence.poisoned)
    np.testing.assert_array_equal(tac(swapped), tac(evidence))


def test_tac_sees_a_trigger_of_any_sign_and_puts_its_channel_first():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(40, 4, 4, 8)).astype(np.float32)
    poisoned = clean + 0.1 * rng.normal(size=clean.shape).astype(np.float32)
    poisoned[:, 0, 0, 6] += np.where(np.arange(40) % 2, 5, -5)  # the mean does not change
    assert ranking(tac(of_pairs(clean, poisoned)))[0] == 6


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
    evidence = of_pairs(one, one)
    unpaired = replace(evidence.poisoned, maps=poisoned)
    clean = replace(evidence.clean, maps=[one] * 3)
    with pytest.raises(ValueError, match=says):
        tac(replace(evidence, poisoned=unpaired, clean=clean))
