"""What is done to images so that a network unlearns it: how far it goes, and whether it hurts."""

from math import floor

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers
from students import changed

from sweep.networks import digest, outputs
from sweep.training.inversion import ReversedTriggers
from sweep.training.perturbations import (
    AdaptiveMasks,
    AdversarialPerturbation,
    StampedTriggers,
    UniversalPerturbation,
    displaced,
    limit_area,
)

SHAPE, CLASSES, COUNT = (8, 8, 1), 4, 6
modest = settings(max_examples=20, deadline=None)


def network(activation: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="relu")(x)
    x = layers.Flatten()(layers.BatchNormalization()(x))
    return keras.Model(images, layers.Dense(CLASSES, activation=activation)(x))


def drawn(seed: int = 0, count: int = 64, white: float = 1.0):
    """Images, and the classes that the network gives them: a loss that can only grow."""
    pixels = white * np.random.default_rng(seed).uniform(0, 1, (count, *SHAPE))
    pixels = pixels.astype(np.float32)
    return pixels, np.asarray(network()(pixels)).argmax(axis=1)


def loss(pixels: np.ndarray, labels: np.ndarray) -> float:
    return float(outputs.cross_entropy(network(), pixels, labels))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt((np.asarray(values, np.float64) ** 2).mean(axis=(1, 2, 3)))


# Displaced


def slowly(pixels: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Bilinear reading, pixel by pixel."""
    made = np.empty_like(pixels, dtype=np.float64)
    _, height, width, _ = pixels.shape
    for image, row, column in np.ndindex(pixels.shape[:3]):
        down = min(max(row + float(field[image, row, column, 0]), 0), height - 1)
        right = min(max(column + float(field[image, row, column, 1]), 0), width - 1)
        top, left = floor(down), floor(right)
        below, beside = min(top + 1, height - 1), min(left + 1, width - 1)
        parts = (
            (top, left, (1 - down + top) * (1 - right + left)),
            (top, beside, (1 - down + top) * (right - left)),
            (below, left, (down - top) * (1 - right + left)),
            (below, beside, (down - top) * (right - left)),
        )
        made[image, row, column] = sum(w * pixels[image, y, x] for y, x, w in parts)
    return made


@st.composite
def moved(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count, height, width, colours = (
        draw(st.integers(low, high)) for low, high in ((1, 2), (2, 5), (2, 5), (1, 3))
    )
    pixels = draw(
        arrays(np.float32, (count, height, width, colours), elements=st.floats(0, 1, width=32))
    )
    some = st.one_of(st.floats(-9, 9, width=32), st.integers(-9, 9).map(float))
    return pixels, draw(arrays(np.float32, (count, height, width, 2), elements=some))


@modest
@given(moved())
def test_displaced_reads_what_a_slow_loop_reads_also_beyond_edges(both):
    np.testing.assert_allclose(displaced(*both), slowly(*both), atol=1e-5)


def test_no_displacement_and_whole_steps_read_the_very_pixels():
    pixels = rng().uniform(size=(2, 5, 4, 3)).astype(np.float32)
    field = np.zeros((2, 5, 4, 2), np.float32)
    np.testing.assert_array_equal(displaced(pixels, field), pixels)
    field[..., 0], field[..., 1] = 1, -1
    made = np.asarray(displaced(pixels, field))
    np.testing.assert_array_equal(made[:, :4, 1:], pixels[:, 1:, :3])
    np.testing.assert_array_equal(made[:, 4, 0], pixels[:, 4, 0])


# UniversalPerturbation


def universal(white: float = 1.0, net: keras.Model | None = None, **given) -> UniversalPerturbation:
    how = {"count": COUNT, "strength": 0.1, "flow": 0.05, "seed": 0} | given
    return UniversalPerturbation(net or network(), *drawn(white=white), **how)


def each(there: UniversalPerturbation, pixels: np.ndarray) -> list[np.ndarray]:
    """What each change makes of the images."""
    return [np.asarray(there._changed(pixels, np.full(len(pixels), n))) for n in range(COUNT)]


def test_universal_changes_make_the_loss_of_a_network_grow_that_stays_as_it_is():
    net, (pixels, labels) = network(), drawn(1)
    before = digest(net)
    there = universal(net=net)
    noise = rng().normal(size=SHAPE)
    noise = np.clip(pixels + 0.1 * noise / rms(noise[None]), 0, 1).astype(np.float32)
    added, flowing = ([loss(p, labels) for p in each(there, pixels)[s::2]] for s in (1, 0))
    assert np.mean(added) > 2 * loss(noise, labels) - loss(pixels, labels)
    assert min(*added, *flowing) > loss(pixels, labels)
    assert digest(net) == before


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_universal_changes_go_as_far_as_they_may_and_no_further(white):
    there = universal(white)
    for _ in range(3):
        changed(there, *drawn(2, white=white), rng())
    assert np.all(rms(there._additions) <= 0.1 * white * (1 + 1e-5))
    assert np.all(rms(there._flows) <= 0.05 * 8 * (1 + 1e-5))
    assert rms(there._additions)[1::2].min() > 0.09 * white
    assert rms(there._flows)[0::2].min() > 0.045 * 8
    middle = np.full((1, *SHAPE), white / 2, np.float32)
    ramp = np.mgrid[:8, :8][0][None, ..., None].astype(np.float32)
    for number, made in enumerate(each(there, middle)):
        if number % 2:
            assert 0.09 * white < rms(made - middle)[0] <= 0.1 * white * (1 + 1e-5)
            continue
        np.testing.assert_allclose(made, middle, rtol=1e-5)  # what is flat has nowhere to flow
        down = each(there, white * ramp / 7)[number] * 7 / white - ramp  # pixels that it flowed
        assert 0 < rms(down)[0] <= 1.5 * 0.05 * 8 * np.sqrt(2)


def test_universal_images_keep_their_range_and_each_gets_one_change():
    there, (pixels, labels) = universal(strength=0.5), drawn(3)
    made = changed(there, pixels, labels, rng())
    assert made.shape == pixels.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    which = rng().integers(COUNT, size=len(labels))
    expected = np.stack(each(there, pixels))[which, np.arange(len(labels))]
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_the_seeds_decide_a_universal_change():
    pixels, labels = drawn(1)
    one, same, other = (changed(universal(seed=seed), pixels, labels, rng()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_universal_changes_are_found_anew_as_the_network_changes():
    net, (pixels, labels) = network(), drawn(1)
    there = universal(net=net)
    for variable in net.trainable_variables:
        variable.assign(-variable)
    added = there._additions.numpy().copy()
    for _ in range(20):
        changed(there, pixels, labels, rng())
    assert np.corrcoef(added[1].ravel(), there._additions.numpy()[1].ravel())[0, 1] < 0.5


def test_a_network_of_any_input_size_is_changed_too():
    x = images = keras.Input((None, None, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(x))
    there = universal(net=keras.Model(images, layers.Dense(CLASSES)(x)))
    made = changed(there, *drawn(1), rng())
    assert made.shape == drawn(1)[0].shape
    assert np.isfinite(made).all()


def test_a_network_without_finite_scores_leaves_a_universal_change_finite():
    net, (pixels, labels) = network(), drawn(1)
    there = universal(net=net)
    net.layers[-1].bias.assign([np.nan] * CLASSES)
    assert np.isfinite(changed(there, pixels, labels, rng())).all()


# AdversarialPerturbation


@pytest.mark.parametrize("white", [1.0, 255.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_adversarial_images_lie_near_and_within_the_range_and_the_loss_grows(white, steps):
    pixels, labels = drawn(1, white=white)
    net = network()
    there = AdversarialPerturbation(net, drawn(white=white)[0], strength=0.05, steps=steps)
    made = changed(there, pixels, labels, rng())
    assert made.shape == pixels.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= white
    assert np.abs(made - pixels).max() <= 0.05 * white * (1 + 1e-4)
    noise = rng(1).uniform(-0.05, 0.05, pixels.shape) * white
    noise = np.clip(pixels + noise, 0, white).astype(np.float32)
    assert loss(made, labels) - loss(pixels, labels) > 2 * abs(
        loss(noise, labels) - loss(pixels, labels)
    )
    np.testing.assert_array_equal(made, changed(there, pixels, labels, rng()))
    assert not np.array_equal(made, changed(there, pixels, labels, rng(1)))


def test_adversarial_strength_is_a_share_of_the_range_wherever_that_lies():
    pixels, labels = drawn(1)
    there = AdversarialPerturbation(network(), drawn()[0] - 0.5, strength=0.05, steps=2)
    far = np.abs(changed(there, pixels - 0.5, labels, rng()) - (pixels - 0.5)).max()
    assert far == pytest.approx(0.05, rel=0.05)


def test_adversarial_images_follow_the_network_as_it_changes():
    net, (pixels, labels) = network(), drawn(1)
    there = AdversarialPerturbation(net, pixels, strength=0.05, steps=2)
    before = changed(there, pixels, labels, rng())
    for variable in net.trainable_variables:
        variable.assign(-variable)
    assert not np.array_equal(before, changed(there, pixels, labels, rng()))


# StampedTriggers


def triggers(classes: list[int]) -> ReversedTriggers:
    """A trigger a class that paints the whole image with the number of its class."""
    one, shape = np.ones(len(classes)), (len(classes), *SHAPE)
    paints = np.broadcast_to(np.array(classes, np.float32)[:, None, None, None], shape)
    limits = np.array([-1, 9], np.float32)
    return ReversedTriggers(
        "mask", np.array(classes), one, np.ones(shape, np.float32), paints, limits
    )


def test_no_image_is_stamped_with_the_trigger_of_its_own_class():
    pixels, labels = np.full((400, *SHAPE), -1, np.float32), np.arange(400) % CLASSES
    made = changed(StampedTriggers(triggers([0, 2, 3]), [0, 2]), pixels, labels, rng())
    told = made.reshape(400, -1)
    assert (told == told[:, :1]).all()
    assert set(told[:, 0]) == {-1, 0, 2}
    assert not (told[:, 0] == labels).any()
    for cls, expected in ((0, {-1, 2}), (1, {0, 2}), (2, {-1, 0}), (3, {0, 2})):
        assert set(told[labels == cls, 0]) == expected
    assert (pixels == -1).all(), "the images that came are as they were"


def test_the_generator_decides_which_trigger_each_image_gets():
    pixels, labels = np.full((40, *SHAPE), -1, np.float32), np.ones(40, np.int64)
    there = StampedTriggers(triggers([0, 2]), [0, 2])
    one, same, other = (changed(there, pixels, labels, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


# AdaptiveMasks

AREA = 0.2


def pursued(net=None, goals=(1, 3), seed=0, white=1.0, start=0.01) -> AdaptiveMasks:
    """Masks that start with a corner, of a pattern that is black."""
    shape = (CLASSES, *SHAPE)
    masks, one = np.zeros(shape, np.float32), np.ones(CLASSES)
    masks[:, 0, 0] = start
    paints, limits = np.zeros(shape, np.float32), np.array([0, white], np.float32)
    found = ReversedTriggers("mask", np.arange(CLASSES), one, masks, paints, limits)
    images = drawn(1, white=white)
    where = {"stamped": StampedTriggers(found, list(goals)), "area": AREA, "seed": seed}
    return AdaptiveMasks(net or network(), *images, **where)


def covered(there: AdaptiveMasks) -> np.ndarray:
    return np.asarray(there._masks).mean(axis=(1, 2, 3))


def share(net: keras.Model, pixels: np.ndarray, goal: int) -> float:
    return float((np.asarray(net(pixels)).argmax(axis=1) == goal).mean())


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_masks_that_are_pursued_turn_images_into_their_class_and_cover_no_more(white):
    net, (pixels, labels) = network(), drawn(2, white=white)
    before = digest(net)
    there = pursued(net, white=white)
    assert np.all(covered(there) <= AREA * (1 + 1e-4))
    for place, goal in enumerate((1, 3)):
        made = np.asarray(there._changed(pixels, np.full(len(pixels), place)))
        assert share(net, made, goal) > share(net, pixels, goal) + 0.2
        assert made.min() >= 0
        assert made.max() <= white
        area = (np.abs(made - pixels) > 1e-3 * white).any(axis=(0, 3)).mean()
        assert 0 < area < 1
    assert digest(net) == before
    made = changed(there, pixels, labels, rng())
    assert made.dtype == np.float32
    assert made.shape == pixels.shape


def test_no_image_is_pursued_by_the_mask_of_its_own_class():
    there, (pixels, _) = pursued(), drawn(2, 200)
    labels = np.arange(200) % CLASSES
    told = np.asarray(there._changed(pixels, np.zeros(200, np.int64)))  # that of class 1
    made = changed(there, pixels, labels, rng())
    assert not np.isclose(made, told, atol=1e-3).all(axis=(1, 2, 3))[labels == 1].any()
    alone = pursued(goals=(1,))
    np.testing.assert_array_equal(changed(alone, pixels, np.ones(200, np.int64), rng()), pixels)


def test_masks_are_pursued_as_the_network_changes():
    net, (pixels, labels) = network(), drawn(1)
    there = pursued(net)
    first = np.zeros(len(pixels), np.int64)
    for variable in net.trainable_variables:
        variable.assign(-variable)
    before = share(net, np.asarray(there._changed(pixels, first)), 1)
    for _ in range(20):
        changed(there, pixels, labels, rng())
    assert share(net, np.asarray(there._changed(pixels, first)), 1) > before + 0.2
    assert np.all(covered(there) <= AREA * (1 + 1e-4))


def test_the_seeds_decide_what_is_pursued():
    pixels, labels = drawn(1)
    one, same, other = (changed(pursued(seed=seed), pixels, labels, rng()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_a_network_without_finite_scores_leaves_masks_finite():
    net, (pixels, labels) = network(), drawn(1)
    there = pursued(net)
    net.layers[-1].bias.assign([np.nan] * CLASSES)
    assert np.isfinite(changed(there, pixels, labels, rng())).all()


@modest
@given(
    arrays(np.float32, (3, 4, 5, 1), elements=st.floats(-2, 2, width=32)),
    st.floats(0.01, 0.9),
)
def test_masks_within_an_area_are_the_nearest_there_are(masks, area):
    made = np.asarray(limit_area(masks, area), np.float64)
    assert np.all((made >= 0) & (made <= 1))
    assert np.all(made.mean(axis=(1, 2, 3)) <= area + 1e-4)
    for one, before in zip(made, masks.astype(np.float64), strict=True):
        if np.clip(before, 0, 1).mean() <= area:
            np.testing.assert_allclose(one, np.clip(before, 0, 1), atol=1e-6)
            continue
        slow = min(
            (np.clip(before - lower, 0, 1) for lower in np.linspace(0, 2, 4001)),
            key=lambda mask: abs(mask.mean() - area),
        )
        np.testing.assert_allclose(one, slow, atol=2e-3)
