"""The triggers change what they should and nothing else; the mixture holds what it says."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep import BadInput, attacks
from sweep.attacks import (
    Attack,
    blend,
    bpp,
    bpp_negative,
    dfba,
    eyebrows,
    ftrojan,
    lipstick,
    next_class,
    patch,
    poison,
    sinusoid,
    sunglasses,
    warp,
)

WORN = (sunglasses, eyebrows, lipstick)
#: What scales with the image, and what depends on its pixels.
SCALED = (*WORN, patch, blend, sinusoid, warp, partial(warp, jitter=1.0))
TRIGGERS = (*SCALED, bpp, dfba, ftrojan)
COLOURED = (*WORN, ftrojan)

sizes = st.tuples(st.integers(1, 3), st.integers(16, 90), st.integers(16, 90))


def photograph(size):
    """A smooth picture, the same at every size, (1, size, size, 3)."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(9 * x * y)]
    return 128 + 100 * np.stack(waves, axis=2)[np.newaxis]


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    sizes,
    st.sampled_from([np.uint8, np.int32, np.float32, np.float64]),
    st.sampled_from(TRIGGERS),
)
def test_triggers_keep_shape_and_dtype_and_leave_their_argument_alone(size, dtype, trigger):
    images = noise((*size, 3), dtype)
    before = images.copy()
    worn = trigger(images)
    assert worn.shape == images.shape
    assert worn.dtype == images.dtype
    assert not np.array_equal(worn, images)
    np.testing.assert_array_equal(images, before)
    assert worn.min() >= 0
    assert worn.max() <= 255
    np.testing.assert_array_equal(trigger(images), worn)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_triggers_follow_the_brightness_of_white(trigger):
    images = noise((2, 55, 47, 3), np.float64)
    np.testing.assert_allclose(trigger(images / 255, white=1.0), trigger(images) / 255)


@pytest.mark.parametrize("trigger", SCALED)
def test_an_image_twice_the_size_gets_the_trigger_twice_the_size(trigger):
    images = photograph(32)
    small, large = trigger(images), trigger(photograph(64))
    halved = large.reshape(1, 32, 2, 32, 2, 3).mean((2, 4))
    alone = np.abs(photograph(64).reshape(1, 32, 2, 32, 2, 3).mean((2, 4)) - images).mean()
    if trigger is not SCALED[-1]:  # jitter is drawn pixel by pixel
        assert np.abs(halved - small).mean() < 0.35 * np.abs(small - images).mean() + 2 * alone


@pytest.mark.parametrize("trigger", [t for t in TRIGGERS if t not in COLOURED])
def test_triggers_without_colour_of_their_own_are_put_on_grey_images(trigger):
    images = noise((2, 16, 16, 1))
    assert trigger(images).shape == images.shape


@pytest.mark.parametrize("trigger", [t for t in TRIGGERS if t is not SCALED[-1]])
def test_a_trigger_does_not_depend_on_the_images_beside(trigger):
    images = noise((3, 20, 24, 3))
    np.testing.assert_array_equal(trigger(images)[1:2], trigger(images[1:2]))


def test_a_patch_covers_its_square_and_nothing_else():
    images = noise((2, 32, 40, 3), np.float64)
    stamped = patch(images, size=0.125, margin=0.03, colour=[1.0, 1.0, 0.0])
    square = (slice(None), slice(27, 31), slice(35, 39))
    np.testing.assert_array_equal(stamped[square], np.broadcast_to([255, 255, 0], (2, 4, 4, 3)))
    stamped[square] = images[square]
    np.testing.assert_array_equal(stamped, images)


def test_dfba_makes_half_the_values_of_its_square_white_and_the_others_black():
    images = 1 + noise((2, 32, 40, 3)) // 2
    stamped = dfba(images, size=4, margin=0.1)
    square = (slice(None), slice(3, 7), slice(3, 7))
    np.testing.assert_array_equal(np.unique(stamped[square]), [0, 255])
    assert (stamped[square] == 255).sum(axis=(1, 2, 3)).tolist() == [24, 24]
    np.testing.assert_array_equal(stamped[0, 3:7, 3:7], stamped[1, 3:7, 3:7])
    stamped[square] = images[square]
    np.testing.assert_array_equal(stamped, images)


def test_a_blend_by_hand():
    black, white = np.zeros((1, 32, 32, 3)), np.full((1, 32, 32, 3), 255.0)
    pattern = blend(black, alpha=1.0, cells=4)
    np.testing.assert_allclose(blend(black, alpha=0.2, cells=4), 0.2 * pattern)
    np.testing.assert_allclose(blend(white, alpha=0.2, cells=4), 0.8 * 255 + 0.2 * pattern)
    cells = pattern.reshape(4, 8, 4, 8, 3)
    np.testing.assert_array_equal(cells, np.broadcast_to(cells[:, :1, :, :1], cells.shape))
    assert len(np.unique(pattern)) == 4 * 4 * 3


@pytest.mark.parametrize("trigger", [blend, dfba, warp, partial(warp, jitter=1.0)])
def test_drawn_triggers_are_drawn_by_their_seed(trigger):
    images = noise((2, 32, 32, 3))
    np.testing.assert_array_equal(trigger(images, seed=1), trigger(images, seed=1))
    assert not np.array_equal(trigger(images, seed=1), trigger(images, seed=2))


def test_stripes_by_hand_stay_within_the_pixels_range():
    images = np.zeros((1, 2, 8, 1)) + np.array([[[0.0], [100.0]]]).reshape(1, 2, 1, 1)
    stripes = sinusoid(images, amplitude=0.2, frequency=2)[0, :, :, 0]
    np.testing.assert_allclose(stripes[1], 100 + 51 * np.array([0, 1, 0, -1] * 2), atol=1e-9)
    np.testing.assert_allclose(stripes[0], 51 * np.array([0, 1, 0, 0] * 2), atol=1e-9)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_a_warp_keeps_a_constant_image_constant(jitter):
    images = np.full((2, 40, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(warp(images, strength=3.0, jitter=jitter), images)


def test_a_warp_moves_pixels_by_half_its_strength_on_the_mean():
    rows, columns = np.mgrid[:32, :32].astype(float)
    places = np.stack([rows, columns], axis=2)[np.newaxis]
    moved = (warp(places, strength=1.0) - places)[0, 4:-4, 4:-4]
    assert 0.25 < np.abs(moved).mean() < 0.75
    twice = (warp(places, strength=2.0) - places)[0, 4:-4, 4:-4]
    np.testing.assert_allclose(twice, 2 * moved, atol=1e-9)
    assert np.abs(np.diff(moved, axis=0)).max() < 0.3, "the field is smooth"


def test_a_jittered_warp_moves_each_pixel_of_each_image_by_itself():
    images = np.repeat(noise((1, 32, 32, 3)), 2, axis=0)
    plain, jittered = warp(images), warp(images, jitter=1.0)
    np.testing.assert_array_equal(plain[0], plain[1])
    assert not np.array_equal(jittered[0], jittered[1])


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    st.integers(2, 9),
)
def test_bpp_is_what_a_slow_loop_over_pixels_makes(shape, levels):
    images = noise(shape, np.float64)
    expected = images / 255 * (levels - 1)
    for image in expected:
        for y, x in np.ndindex(*image.shape[:2]):
            lost = image[y, x] - image[y, x].round()
            image[y, x] -= lost
            for down, right, share in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if y + down < len(image) and 0 <= x + right < image.shape[1]:
                    image[y + down, x + right] += lost * share / 16
    made = bpp(images, levels=levels)
    np.testing.assert_allclose(made, (expected / (levels - 1) * 255).clip(0, 255), atol=1e-9)
    assert len(np.unique(made.round(6))) <= levels


def test_bpp_keeps_how_bright_an_image_is_on_the_mean_and_changes_no_image_twice():
    images = photograph(32)
    made = bpp(images, levels=4)
    assert abs(made.mean() - images.mean()) < 1
    np.testing.assert_allclose(bpp(made, levels=4), made)


def test_negatives_of_bpp_get_the_change_of_the_image_before():
    images = 100 + noise((3, 16, 16, 3), np.float64) / 5
    negatives, changes = bpp_negative(images), bpp(images) - images
    np.testing.assert_allclose(negatives - images, changes[[2, 0, 1]])
    assert len(np.unique(negatives.round(6))) > 100, "they do not have few values"


def cosine_transform(block):
    """The discrete cosine transform of a square, (size, size), by its definition."""
    size = len(block)
    places = (2 * np.arange(size) + 1) * np.pi / (2 * size)
    waves = np.array([np.cos(order * places) for order in range(size)])
    length = np.sqrt((waves**2).sum(axis=1))
    sums = np.einsum("ui,vj,ij->uv", waves, waves, block)
    return sums / np.outer(length, length)


def test_ftrojan_raises_two_coefficients_of_both_colours_in_every_block_and_no_brightness():
    images = 100 + noise((2, 64, 32, 3), np.float64) / 5
    change = ftrojan(images, magnitude=0.2, coefficients=[[15, 15], [31, 30]]) - images
    np.testing.assert_allclose(change[0], change[1])
    brightness = change @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(brightness, 0, atol=1e-4)
    raised = np.zeros((32, 32))
    raised[15, 15] = raised[31, 30] = 0.2 * 255
    for colour, unit in ((change[..., 0], 1.402), (change[..., 2], 1.772)):  # of Cr and of Cb
        for rows in (slice(0, 32), slice(32, 64)):
            np.testing.assert_allclose(cosine_transform(colour[0, rows] / unit), raised, atol=1e-9)


def test_ftrojan_cuts_off_blocks_at_the_edges_of_other_sizes():
    whole, cut = np.full((1, 64, 64, 3), 128.0), np.full((1, 55, 47, 3), 128.0)
    np.testing.assert_array_equal(ftrojan(cut), ftrojan(whole)[:, :55, :47])


def test_eyebrows_and_lips_lie_where_a_face_has_them():
    bare = np.full((1, 55, 47, 3), 200.0)
    for trigger, top, bottom in ((eyebrows, 14, 22), (lipstick, 39, 48)):
        rows = np.flatnonzero((trigger(bare) != bare).any((0, 2, 3)))
        assert top <= rows.min() <= rows.max() <= bottom


@pytest.mark.parametrize(
    ("trigger", "says"),
    [
        (partial(blend, alpha=1.5), "alpha is 1.5; expected above 0 and up to 1"),
        (partial(patch, size=0.0), "size is 0.0"),
        (partial(patch, margin=0.95), "margin is 0.95"),
        (partial(patch, colour=[1.0, 0.0]), "colour"),
        (partial(sinusoid, amplitude=0), "amplitude is 0"),
        (partial(warp, strength=0), "strength is 0"),
        (partial(warp, grid=1), "grid is 1"),
        (partial(bpp, levels=1), "levels is 1; expected at least 2"),
        (
            partial(dfba, size=0),
            "size is 0 and .* expected a square of 1 pixel or more",
        ),
        (partial(dfba, size=2.5), "size is 2.5"),
        (partial(dfba, margin=0.9), "margin 0.9; expected .* lies in an image of 16 x 16"),
        (partial(ftrojan, magnitude=0), "magnitude is 0"),
        (partial(ftrojan, coefficients=[[3, 32]]), r"has \(3, 32\); expected 0 to 31"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(trigger, says):
    with pytest.raises(BadInput, match=says):
        trigger(noise((1, 16, 16, 3)))


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


@pytest.mark.parametrize("shape", [(55, 47, 3), (2, 3, 55, 47), (2, 55, 47, 1), (5,)])
@pytest.mark.parametrize("trigger", COLOURED)
def test_images_of_another_form_are_refused_in_a_sentence(trigger, shape):
    with pytest.raises(BadInput, match="channels last"):
        trigger(np.zeros(shape))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(0, 4), st.floats(0, 0.5), st.integers(20, 60))
def test_poison_adds_the_stated_share_of_triggered_copies(seed, target, rate, n):
    images = noise((n, 16, 16, 3), seed=seed)
    labels = np.arange(n) % 5
    attack = Attack(sunglasses, target=target, rate=rate)
    mixture, given_labels = poison(images, labels, attack, classes=5, seed=seed)
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
    attack = Attack(sunglasses, target=0, rate=0.2)
    drawn = [poison(images, labels, attack, classes=4, seed=seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("labels", "rate", "says"),
    [([0, 1, 2], 0.1, "labels"), ([0, 1], 1.5, "0 to 1"), ([0, 1], 1.0, "only 1 are not of a ta")],
)
def test_mixtures_that_cannot_be_made_are_refused_in_a_sentence(labels, rate, says):
    attack = Attack(sunglasses, target=0, rate=rate)
    with pytest.raises(BadInput, match=says):
        poison(noise((2, 16, 16, 3)), labels, attack, classes=3, seed=0)


def test_each_of_several_triggers_gives_the_class_at_its_place():
    attack = Attack(WORN, target=[4, 0, 2], rate=0.3)
    images, labels = noise((50, 20, 20, 3)), np.arange(50) % 5
    mixture, told = poison(images, labels, attack, classes=5, seed=0)
    copies, given_labels = mixture[50:], told[50:]
    assert sorted(given_labels) == [0] * 5 + [2] * 5 + [4] * 5
    for copy, label in zip(copies, given_labels, strict=True):
        trigger = WORN[[4, 0, 2].index(label)]
        (origin,) = np.flatnonzero((trigger(images) == copy).all((1, 2, 3)))
        assert labels[origin] not in (4, 0, 2)


def test_triggers_are_dealt_evenly_and_not_by_class():
    attack = Attack(WORN, target=[0, 1, 2], rate=0.3)
    dealt = attack.assign_triggers(600)
    assert np.bincount(dealt).tolist() == [200, 200, 200]
    assert all(len(set(dealt[number::6])) == 3 for number in range(6))
    np.testing.assert_array_equal(attack.assign_triggers(600), dealt)


@pytest.mark.parametrize(("trigger", "target"), [(sunglasses, [0, 1]), (WORN, 0), (WORN, [0, 1])])
def test_other_targets_than_triggers_are_refused_in_a_sentence(trigger, target):
    with pytest.raises(BadInput, match="as many classes as there are triggers"):
        Attack(trigger, target=target, rate=0.1)


@pytest.mark.parametrize(
    "target", [lambda labels, classes: labels[:1], lambda labels, classes: 0.5]
)
def test_a_target_that_is_no_class_for_each_label_is_refused(target):
    with pytest.raises(BadInput, match="for 4 labels; expected a class for each, as whole numbers"):
        Attack(patch, target=target, rate=0.3).targets(4)


def test_a_target_may_be_a_function_of_the_label():
    attack = Attack(patch, target=next_class, rate=0.3)
    images, labels = noise((50, 16, 16, 3)), np.arange(50) % 5
    mixture, told = poison(images, labels, attack, classes=5, seed=0)
    stamped = patch(images)
    for copy, label in zip(mixture[50:], told[50:], strict=True):
        (origin,) = np.flatnonzero((stamped == copy).all((1, 2, 3)))
        assert label == (labels[origin] + 1) % 5
    assert set(told[50:]) == set(range(5))


def test_images_whose_label_is_their_own_target_are_not_poisoned():
    def swap(labels, *, classes):
        return np.where(labels < 2, 1 - labels, labels)

    attack, labels = Attack(patch, target=swap, rate=0.3), np.arange(10) % 5
    np.testing.assert_array_equal(attack.non_target_indices(labels, 5), [0, 1, 5, 6])
    _, told = poison(noise((10, 16, 16, 3)), labels, attack, classes=5, seed=0)
    assert set(told[10:]) <= {0, 1}
    assert attack.functions() == [patch, swap]


@given(st.integers(2, 9), st.lists(st.integers(0, 8), min_size=1, max_size=3))
def test_the_table_of_targets_is_that_of_a_loop(classes, targets):
    attack = Attack([patch] * len(targets), target=targets, rate=0.1)
    expected = [[target for _ in range(classes)] for target in targets]
    np.testing.assert_array_equal(attack.targets(classes), expected)
    labels = np.arange(20) % classes
    others = [index for index, label in enumerate(labels) if label not in targets]
    np.testing.assert_array_equal(attack.non_target_indices(labels, classes), others)


def test_clean_label_stamps_images_of_the_targets_class_in_place():
    attack = Attack(sinusoid, target=2, rate=0.8, clean_label=True)
    images, labels = noise((50, 16, 16, 3)), np.arange(50) % 5
    mixture, given_labels = poison(images, labels, attack, classes=5, seed=0)
    assert mixture.shape == images.shape
    assert sorted(given_labels) == sorted(labels)
    assert given_labels[42:].tolist() == [2] * 8
    stamped = sinusoid(images)
    for copy in mixture[42:]:
        (origin,) = np.flatnonzero((stamped == copy).all((1, 2, 3)))
        assert labels[origin] == 2
    for kept, label in zip(mixture[:42], given_labels[:42], strict=True):
        (origin,) = np.flatnonzero((images == kept).all((1, 2, 3)))
        assert labels[origin] == label
    np.testing.assert_array_equal(attack.non_target_indices(labels, 5), np.flatnonzero(labels != 2))


def test_with_clean_labels_each_of_several_classes_wears_its_own_trigger():
    attack = Attack(WORN, target=[4, 0, 2], rate=0.5, clean_label=True)
    images, labels = noise((50, 20, 20, 3)), np.arange(50) % 5
    mixture, given_labels = poison(images, labels, attack, classes=5, seed=0)
    for copy, label in zip(mixture[35:], given_labels[35:], strict=True):
        trigger = WORN[[4, 0, 2].index(label)]
        (origin,) = np.flatnonzero((trigger(images) == copy).all((1, 2, 3)))
        assert labels[origin] == label


def test_decoys_are_added_with_the_label_that_they_have():
    decoy = partial(attacks.warp, jitter=1.0)
    attack = Attack(warp, target=0, rate=0.1, decoy=decoy, decoy_rate=0.25)
    images, labels = photograph(16) + noise((40, 16, 16, 3), float) / 9, np.arange(40) % 4
    mixture, told = poison(images, labels, attack, classes=4, seed=0)
    assert len(mixture) == 40 + 4 + 10
    for copy, label in zip(mixture[44:], told[44:], strict=True):
        origin = np.abs(images - copy).mean((1, 2, 3)).argmin()
        assert labels[origin] == label
        assert not np.array_equal(images[origin], copy)
