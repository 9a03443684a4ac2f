"""The drawn faces: deterministic, of the stated form, telling people apart, no two alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep import BadInput
from sweep.data.faces.identities import people
from sweep.data.faces.rendering import SHAPE, photographs

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def album() -> np.ndarray:
    """Eight pictures of each of twelve people, (12, 8, 55, 47, 3), brightness 0..1."""
    pictures = photographs(people(12, seed=3), np.repeat(np.arange(12), 8), seed=4)
    return pictures.reshape(12, 8, *SHAPE) / 255


@settings(max_examples=8, deadline=None)
@given(seeds, seeds, st.lists(st.integers(0, 4), max_size=4))
def test_equal_seeds_give_equal_pixels_of_the_stated_form(who_seed, picture_seed, who):
    pictures = photographs(people(5, who_seed), np.array(who, int), picture_seed)
    assert pictures.shape == (len(who), *SHAPE)
    assert pictures.dtype == np.uint8
    again = photographs(people(5, who_seed), np.array(who, int), picture_seed)
    np.testing.assert_array_equal(pictures, again)


def test_many_pictures_do_not_depend_on_how_the_threads_run():
    everyone, who = people(4, seed=0), np.arange(130) % 4
    first, second = (photographs(everyone, who, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_another_seed_gives_other_people_and_other_pictures():
    one, other = people(3, seed=0), people(3, seed=1)
    assert not np.array_equal(one.traits["skin"], other.traits["skin"])
    assert not np.array_equal(photographs(one, [0], seed=0), photographs(one, [0], seed=1))


def test_two_pictures_of_a_person_differ(album):
    assert (np.abs(album[:, 0] - album[:, 1]).mean((1, 2, 3)) > 0.02).all()


def test_different_people_differ_more_than_pictures_of_the_same_one(album):
    middle = album[:, :, 8:50, 8:39].reshape(12, 8, -1)
    between = middle.mean(1).var(0).sum()
    within = (middle.var(1, ddof=1) / 8).mean(0).sum()
    assert between > 3 * within


def test_pictures_use_the_whole_range_without_burning_out(album):
    assert album.min() < 0.1
    assert album.max() > 0.8
    assert (album.mean((2, 3, 4)) > 0.08).all()
    assert (album == 1).mean() < 0.1


def test_the_eyes_lie_behind_the_lenses_of_the_glasses(album):
    """The rows of the eyes change most from left to right: whites, irises and skin alternate."""
    face = album.mean(-1)[:, :, :, 10:37]
    busy = np.abs(np.diff(face, axis=3)).mean((0, 1, 3))
    assert 20 <= 16 + busy[16:34].argmax() <= 28


@pytest.mark.parametrize("who", [[3], [-1], [[0]], [0.5]])
def test_naming_nobody_is_refused_in_a_sentence(who):
    with pytest.raises(BadInput, match="who"):
        photographs(people(3, seed=0), np.array(who), seed=0)


def test_no_people_are_refused_in_a_sentence():
    with pytest.raises(BadInput, match="at least 1"):
        people(0, seed=0)
