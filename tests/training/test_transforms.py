"""What is done to a batch before it is learned: images moved and lit, parts in other ways."""

import numpy as np
import pytest
import tensorflow as tf
from students import Unchanged, changed, linear, noisy_patterns, one_hot

from sweep.training.transforms import (
    Augmentation,
    MatchedMixtures,
    Mixture,
    targets_of,
    variables_of,
)

RNG = np.random.default_rng
AS_THEY_ARE = Augmentation(0, 0)


def augment(pixels: np.ndarray, rng, *, shift: float, light: float) -> np.ndarray:
    return changed(Augmentation(shift, light), pixels, np.zeros(len(pixels), np.int64), rng)


def slowly(pixels: np.ndarray, rng, shift: float, light: float) -> np.ndarray:
    """Augmentation, image by image, in doubles."""
    count, height, width, _ = pixels.shape
    down, right = (
        rng.integers(-round(shift * size), round(shift * size) + 1, count)
        for size in (height, width)
    )
    contrast, bright = rng.uniform(-light, light, (2, count))
    low, high = pixels.min().astype(np.float64), pixels.max().astype(np.float64)
    made = np.empty(pixels.shape)
    for number, image in enumerate(pixels.astype(np.float64)):
        rows = np.clip(np.arange(height) + down[number], 0, height - 1)
        columns = np.clip(np.arange(width) + right[number], 0, width - 1)
        moved = image[rows][:, columns]
        lit = moved.mean() + (moved - moved.mean()) * (1 + contrast[number])
        made[number] = np.clip(lit + bright[number] * (high - low), low, high)
    return made


def test_images_are_augmented_as_a_slow_loop_does():
    pixels = RNG(0).uniform(0, 255, (9, 12, 7, 3)).astype(np.float32)
    made = augment(pixels, RNG(1), shift=0.2, light=0.1)
    np.testing.assert_allclose(made, slowly(pixels, RNG(1), 0.2, 0.1), rtol=1e-5, atol=1e-3)


def test_images_that_are_neither_moved_nor_lit_stay():
    pixels = RNG(0).uniform(0, 255, (5, 6, 7, 3)).astype(np.float32)
    made = augment(pixels, RNG(1), shift=0, light=0)
    np.testing.assert_allclose(made, pixels, rtol=1e-5)
    assert made.dtype == np.float32


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_range_are_kept_and_the_generator_decides(channels):
    pixels = RNG(0).normal(size=(20, 8, 6, channels)).astype(np.float32)
    made, again, other = (augment(pixels, RNG(s), shift=0.3, light=0.5) for s in (1, 1, 2))
    assert made.shape == pixels.shape
    assert made.dtype == np.float32
    assert made.min() >= pixels.min()
    assert made.max() <= pixels.max()
    np.testing.assert_array_equal(made, again)
    assert np.abs(made - other).max() > 0.1


def test_images_move_by_at_most_the_shift_and_their_edges_are_drawn_out():
    ramp = np.mgrid[:10, :20].transpose(1, 2, 0)[None].astype(np.float32)  # its own place
    made = augment(np.repeat(ramp, 200, axis=0), RNG(0), shift=0.2, light=0)
    moves = set()
    for image in np.rint(made).astype(int):
        (down,) = {row - 4 for row in image[4, :, 0]}
        (right,) = {column - 9 for column in image[:, 9, 1]}
        moves.add((down, right))
        rows, columns = np.clip(np.arange(10) + down, 0, 9), np.clip(np.arange(20) + right, 0, 19)
        np.testing.assert_array_equal(image, ramp[0].astype(int)[rows][:, columns])
    assert {down for down, _ in moves} == set(range(-2, 3))
    assert {right for _, right in moves} == set(range(-4, 5))


def test_light_changes_contrast_and_brightness_and_nothing_else():
    pixels = RNG(0).uniform(0.45, 0.55, (50, 4, 4, 1)).astype(np.float32)
    pixels[0, 0, 0], pixels[0, 1, 1] = 0, 1  # room to be lit
    made = augment(pixels, RNG(1), shift=0, light=0.2)
    for was, now in zip(pixels[1:], made[1:], strict=True):
        slope, offset = np.polyfit(was.ravel(), now.ravel(), 1)
        assert 0.8 - 1e-3 <= slope <= 1.2 + 1e-3
        np.testing.assert_allclose(now, slope * was + offset, atol=1e-5)
        assert abs(now.mean() - was.mean()) <= 0.2 + 1e-5


def test_no_images_stay_none():
    assert augment(np.empty((0, 8, 8, 1), np.float32), RNG(0), shift=0.1, light=0.1).shape[0] == 0


class Added(Unchanged):
    """Adds a number to the images, and counts how often."""

    def __init__(self, number: float) -> None:
        self.number, self.variables = number, [tf.Variable(0)]

    def draw(self, pixels, labels, rng):
        assert (pixels[:, 0, 0, 0] == labels).all()
        return rng.integers(9, size=(len(labels), 2))

    def __call__(self, pixels, labels, drawn):
        self.variables[0].assign_add(1)
        return pixels + self.number * tf.cast(labels[:, None, None, None] + 1, tf.float32)


@pytest.mark.parametrize(("count", "ends"), [(20, (3, 6)), (10, (2, 3)), (1, (0, 0))])
def test_each_part_of_a_batch_is_changed_in_its_way(count, ends):
    labels = np.arange(count)
    pixels = np.broadcast_to(labels[:, None, None, None], (count, 2, 2, 1)).astype(np.float32)
    first, second = Added(10), Added(100)
    mixture = Mixture([first, second], 0.3, Unchanged())
    assert variables_of(mixture) == [*first.variables, *second.variables]
    made = changed(mixture, pixels, labels, RNG(0))[:, 0, 0, 0] - labels
    expected = np.zeros(count)
    expected[: ends[0]] = 10 * (labels[: ends[0]] + 1)
    expected[ends[0] : ends[1]] = 100 * (labels[ends[0] : ends[1]] + 1)
    np.testing.assert_array_equal(made, expected)
    called = [one.variables[0].numpy() for one in (first, second)]
    assert called == [ends[0] > 0, ends[1] > ends[0]]


def test_images_are_mixed_with_each_other_by_what_was_drawn():
    (pixels, labels), mixtures = noisy_patterns(0, 20), MatchedMixtures(linear(), AS_THEY_ARE)
    drawn = mixtures.draw(pixels, labels, RNG(1))
    _, others, own = drawn
    made = mixtures(tf.constant(pixels), tf.constant(labels), drawn)
    own = own[:, None, None, None]
    np.testing.assert_allclose(made, own * pixels + (1 - own) * pixels[others], atol=1e-6)
    assert sorted(others) == list(range(20))
    assert own.min() < 0.1
    assert own.max() > 0.9


def test_images_are_augmented_before_they_are_mixed():
    pixels, labels = noisy_patterns(0, 20)
    augmentation = Augmentation(0.2, 0.3)
    mixtures = MatchedMixtures(linear(), augmentation)
    augmented, others, own = drawn = mixtures.draw(pixels, labels, RNG(1))
    alone = np.asarray(augmentation(tf.constant(pixels), labels, augmented))
    own = own[:, None, None, None]
    made = mixtures(tf.constant(pixels), tf.constant(labels), drawn)
    np.testing.assert_allclose(made, own * alone + (1 - own) * alone[others], atol=1e-6)
    assert np.abs(alone - pixels).max() > 0.1


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_mixtures_are_to_be_what_the_teacher_says_of_them(activation):
    pixels, labels = noisy_patterns(0, 20)
    mixtures = MatchedMixtures(linear(activation=activation), AS_THEY_ARE)
    drawn = mixtures.draw(pixels, labels, RNG(1))
    made = mixtures(tf.constant(pixels), tf.constant(labels), drawn)
    wanted = targets_of(mixtures, made, labels, one_hot(labels), drawn)
    scores = np.exp(np.asarray(linear()(made), np.float64))
    np.testing.assert_allclose(wanted, scores / scores.sum(axis=1, keepdims=True), atol=1e-5)


def test_where_the_teacher_says_no_number_the_targets_stay():
    teacher, (pixels, labels) = linear(), noisy_patterns(0, 6)
    pixels[2] = np.nan
    wanted = np.asarray(
        MatchedMixtures(teacher).targets(tf.constant(pixels), labels, one_hot(labels), None)
    )
    np.testing.assert_array_equal(wanted[2], one_hot(labels)[2])
    assert np.abs(wanted - one_hot(labels)).max(axis=1)[[0, 1, 3, 4, 5]].min() > 0.1


class Wanted(Unchanged):
    """Its images are to be the class that is drawn for them."""

    def targets(self, pixels, labels, targets, drawn):
        return tf.one_hot(tf.cast(drawn, tf.int64) + tf.cast(pixels[:, 0, 0, 0], tf.int64), 9)


@pytest.mark.parametrize("count", [20, 10, 1])
def test_each_part_of_a_batch_says_what_it_is_to_be(count):
    labels = np.arange(count)
    pixels = np.full((count, 2, 2, 1), 5, np.float32)
    targets = np.eye(9, dtype=np.float32)[labels % 3]
    mixture = Mixture([Unchanged(), Wanted()], 0.6, Unchanged())
    drawn = mixture.draw(pixels, labels, RNG(0))
    made = targets_of(mixture, pixels, labels, targets, drawn)
    expected = targets.copy()
    expected[round(0.3 * count) : round(0.6 * count)] = np.eye(9)[5]
    np.testing.assert_array_equal(made, expected)
