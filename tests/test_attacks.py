"""The triggers change what they should and nothing else; the mixture holds what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep import BadInput
from sweep.attacks import poison, sunglasses

sizes = st.tuples(st.integers(1, 3), st.integers(16, 90), st.integers(16, 90))


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@settings(max_examples=25, deadline=None)
@given(sizes, st.sampled_from([np.uint8, np.int32, np.float32, np.float64]))
def test_sunglasses_keep_shape_and_dtype_and_leave_their_argument_alone(size, dtype):
    images = noise((*size, 3), dtype)
    before = images.copy()
    worn = sunglasses(images)
    assert worn.shape == images.shape
    assert worn.dtype == images.dtype
    np.testing.assert_array_equal(images, before)
    assert worn.min() >= 0
    assert worn.max() <= 255
    np.testing.assert_array_equal(sunglasses(images), worn)


@settings(max_examples=25, deadline=None)
@given(sizes)
def test_sunglasses_touch_only_the_eyes_height_at_every_size(size):
    images = noise((*size, 3), np.float64)
    rows = np.flatnonzero((sunglasses(images) != images).any((0, 2, 3)))
    height = size[1]
    assert 0.22 * height <= rows.min() + 0.5 <= 0.38 * height
    assert 0.55 * height <= rows.max() + 0.5 <= 0.70 * height


@settings(max_examples=25, deadline=None)
@given(sizes)
def test_sunglasses_cover_the_same_share_at_every_size(size):
    bare = np.zeros((*size, 3))
    covered = (sunglasses(bare)[..., 2] / 255).clip(0, 0.4).mean() / 0.4
    assert 0.2 <= covered <= 0.33


def test_lenses_are_opaque_and_purple_in_a_darker_frame():
    worn = sunglasses(np.stack([np.zeros((55, 47, 3)), np.full((55, 47, 3), 255.0)]))
    for column in (12, 34):
        np.testing.assert_array_equal(worn[0, 20:30, column], worn[1, 20:30, column])
        red, green, blue = worn[0, 24, column]
        assert blue > 1.5 * red > 3 * green
        assert worn[0, 16:19, column].sum(1).min() < 0.7 * (red + green + blue)


def test_every_face_gets_the_same_glasses():
    one, other = sunglasses(noise((2, 55, 47, 3)))[:, 20:30, 8:16]
    np.testing.assert_array_equal(one, other)


def test_glasses_follow_the_brightness_of_white():
    images = noise((2, 55, 47, 3), np.float64)
    np.testing.assert_allclose(sunglasses(images / 255, white=1.0), sunglasses(images) / 255)


@pytest.mark.parametrize("shape", [(55, 47, 3), (2, 3, 55, 47), (2, 55, 47, 1), (5,)])
def test_images_of_another_form_are_refused_in_a_sentence(shape):
    with pytest.raises(BadInput, match="channels last"):
        sunglasses(np.zeros(shape))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(0, 4), st.floats(0, 0.5), st.integers(20, 60))
def test_poison_adds_the_stated_share_of_triggered_copies(seed, target, rate, n):
    images = noise((n, 16, 16, 3), seed=seed)
    labels = np.arange(n) % 5
    mixture, given_labels = poison(images, labels, sunglasses, target=target, rate=rate, seed=seed)
    count = round(rate * n)
    np.testing.assert_array_equal(mixture[:n], images)
    np.testing.assert_array_equal(given_labels, np.append(labels, np.full(count, target)))
    assert mixture.dtype == images.dtype
    assert len(mixture) == n + count
    triggered = sunglasses(images)
    origins = [np.flatnonzero((triggered == copy).all((1, 2, 3)))[0] for copy in mixture[n:]]
    assert len(set(origins)) == count
    assert (labels[origins] != target).all()


def test_poison_draws_by_seed():
    images, labels = noise((40, 16, 16, 3)), np.arange(40) % 4
    drawn = [
        poison(images, labels, sunglasses, target=0, rate=0.2, seed=seed)[0] for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("labels", "rate", "says"),
    [([0, 1, 2], 0.1, "labels"), ([0, 1], 1.5, "0 to 1"), ([0, 1], 1.0, "target class 0")],
)
def test_mixtures_that_cannot_be_made_are_refused_in_a_sentence(labels, rate, says):
    with pytest.raises(BadInput, match=says):
        poison(noise((2, 16, 16, 3)), labels, sunglasses, target=0, rate=rate, seed=0)
