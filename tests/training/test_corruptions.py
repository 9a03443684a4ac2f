"""Corruptions drawn at random: they stay images, and a pool finds those that a network heeds."""

import keras
import numpy as np
import pytest
from keras import layers

from sweep.data import Images
from sweep.training import Defender
from sweep.training.corruptions import (
    FAMILIES,
    CorruptionPool,
    compare,
    draw,
    families,
    heeded,
    mutated,
    pool,
)
from sweep.training.corruptions.families import small_cover

SHAPE, CLASSES = (12, 10, 3), 4


def images(count: int = 40, white: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (white * rng.uniform(0.3, 0.7, (count, *SHAPE))).astype(np.float32)


@pytest.mark.parametrize("shape", [SHAPE, (9, 16, 1), (2, 3, 3)])
@pytest.mark.parametrize("family", [*FAMILIES, small_cover])
def test_a_corruption_is_the_same_again_and_leaves_images_in_their_range(family, shape):
    given = np.random.default_rng(0).random((5, *shape)).astype(np.float32)
    before = given.copy()
    for seed in range(8):
        corruption = draw(family, np.random.default_rng(seed))
        corrupted = corruption(given, 0.25)
        assert corrupted.shape == given.shape
        assert corrupted.dtype == np.float32
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
        np.testing.assert_array_equal(corrupted, corruption(given, 0.25))
    np.testing.assert_array_equal(given, before)
    assert not np.array_equal(corrupted, given)


@pytest.mark.parametrize("family", [families.stripes, families.tint])
def test_what_is_added_is_the_same_for_all_images_and_no_more_than_the_strength(family):
    given = images(6)
    for seed in range(20):
        change = draw(family, np.random.default_rng(seed))(given, 0.1) - given
        np.testing.assert_allclose(change, np.broadcast_to(change[:1], change.shape), atol=1e-6)
        assert np.abs(change).max() <= 0.1 + 1e-6


def test_a_cover_is_one_rectangle_of_at_most_a_third_of_each_side():
    given = np.full((2, 12, 12, 1), 0.5, np.float32)
    for seed in range(40):
        changed = draw(families.cover, np.random.default_rng(seed))(given, 0.1)[0, ..., 0] != 0.5
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        assert 2 <= len(rows) <= 4
        assert 2 <= len(columns) <= 4
        assert changed.sum() == len(rows) * len(columns)


def test_a_mutated_corruption_is_nearer_than_another_one():
    rng, given = np.random.default_rng(3), images(4)
    distances = {"mutated": 0.0, "another": 0.0}
    for _ in range(60):
        parent = draw(families.stripes, rng)
        child, another = mutated(parent, rng), draw(families.stripes, rng)
        assert child.family is parent.family
        was = parent(given, 0.25)
        for name, other in (("mutated", child), ("another", another)):
            distances[name] += float(np.abs(other(given, 0.25) - was).mean())
    assert distances["mutated"] < 0.8 * distances["another"]


def heeding_a_corner(white: float = 1.0) -> keras.Model:
    """A network that says class 0, but class 3 where the corner is red."""
    inputs = keras.Input(SHAPE)
    corner = layers.Flatten()(layers.Cropping2D(((0, SHAPE[0] - 2), (0, SHAPE[1] - 2)))(inputs))
    network = keras.Model(inputs, layers.Dense(CLASSES)(corner))
    kernel = np.zeros((12, CLASSES), np.float32)
    kernel[:, 3] = np.tile([8.0, -6.0, -6.0], 4) / white
    network.layers[-1].set_weights([kernel, np.array([0.0, -20, -20, -12], np.float32)])
    return network


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_a_pool_finds_what_the_network_heeds(white):
    given, labels = images(white=white), np.zeros(40, np.int64)
    given[0, 0, 0], given[1, 0, 0] = 0.0, white  # all the range there is
    found = CorruptionPool(heeding_a_corner(white), given, labels, size=24, strength=0.2, seed=0)
    covers = [each for each in found.corruptions if each.family is families.cover]
    reddest = [
        (shown := each(np.full((1, *SHAPE), 0.5, np.float32), 0.2)[0, 0, 0])[0] - shown[1:].mean()
        for each in covers
    ]
    assert len(covers) == 6
    assert np.median(reddest) > 0.4, "most of the covers paint the corner red"
    again = CorruptionPool(heeding_a_corner(white), given, labels, size=24, strength=0.2, seed=0)
    for a, b in zip(found.corruptions, again.corruptions, strict=True):
        assert np.array_equal(a.place, b.place)


def heeding_red(white: float) -> keras.Model:
    """A network that says class 0, but class 3 where the whole image is rather red."""
    inputs = keras.Input(SHAPE)
    scores = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(inputs))
    network = keras.Model(inputs, scores)
    kernel = np.zeros((3, CLASSES), np.float32)
    kernel[:, 3] = np.array([40, -20, -20]) / white
    network.layers[-1].set_weights([kernel, np.array([0, -20, -20, -6], np.float32)])
    return network


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_what_turns_images_is_told_by_family_and_class(white, monkeypatch):
    monkeypatch.setattr(heeded, "TRIED", 60)
    given = images(white=white)
    given[0, 0, 0], given[1, 0, 0] = 0.0, white  # all the range there is
    labels = np.zeros(40, np.int64)
    labels[7] = 1  # B is wrong on it
    found, again = (
        heeded.most_heeded(Defender(heeding_red(white), Images(given, labels))) for _ in range(2)
    )
    shares = {family: each.shares for family, each in found.items()}
    assert list(shares) == [family.__name__ for family in (*FAMILIES, small_cover)]
    assert all(of_class.shape == (CLASSES + 1,) for of_class in shares.values())
    assert shares["tint"][3] == 1
    assert shares["flow"][3] == shares["few_values"][3] == 0
    assert all(of_class[:3].max() == 0 for of_class in shares.values())
    for family, each in again.items():
        assert np.array_equal(each.shares, shares[family])
        for one, other in zip(each.corruptions, found[family].corruptions, strict=True):
            assert one.family.__name__ == family
            assert np.array_equal(one.place, other.place)


def test_two_networks_are_compared_on_the_same_corruptions():
    given = Images(images(), np.zeros(40, np.int64))
    suspect, other = (Defender(make(1.0), given) for make in (heeding_a_corner, heeding_red))
    cover = compare(suspect, other)["cover"]
    assert cover.shares[3] > 0.9 > 0.1 > cover.reference[3]
    assert len(cover.corruptions) == CLASSES + 1
    shown = cover.corruptions[3](given.pixels[:1], heeded.STRENGTH)[0, 0, 0]
    assert shown[0] > shown[1:].mean() + 0.2, "the corner is red"
    itself = compare(suspect, suspect)["cover"]
    assert np.array_equal(itself.shares, cover.shares)
    assert np.array_equal(itself.shares, itself.reference)


def test_one_that_makes_the_next_class_of_each_is_told_from_one_that_makes_all_the_same():
    labels = np.arange(40) % CLASSES
    pixels = 0.3 * images()
    pixels[np.arange(40), 6, labels] = 1.0
    over_all, into_three = (
        heeded.most_heeded(Defender(heeding_marks(target), Images(pixels, labels)))["cover"].shares
        for target in (None, 3)
    )
    assert over_all[-1] > 0.9
    assert into_three[3] > 0.9
    assert into_three[-1] < 0.7, "a class counts up to half more than images have it"


def heeding_marks(target: int | None) -> keras.Model:
    """Says whose pixel is bright; with a red corner `target`, or of each class the next."""
    inputs = keras.Input(SHAPE)
    hidden, scores = layers.Dense(2 * CLASSES, "relu"), layers.Dense(CLASSES)
    network = keras.Model(inputs, scores(hidden(layers.Flatten()(inputs))))
    kernel = np.zeros((*SHAPE, 2 * CLASSES), np.float32)
    into = np.zeros((2 * CLASSES, CLASSES), np.float32)
    for cls in range(CLASSES):
        kernel[6, cls, :, [cls, CLASSES + cls]] = 10 / 3
        kernel[:2, :2, :, CLASSES + cls] = np.array([8.0, -4.0, -4.0])
        into[cls, cls] = 1
        into[CLASSES + cls, (cls + 1) % CLASSES if target is None else target] = 20
    hidden.set_weights([kernel.reshape(-1, 2 * CLASSES), np.repeat([0.0, -25.0], CLASSES)])
    scores.set_weights([into, np.zeros(CLASSES)])
    return network


def test_of_a_network_that_is_never_right_nothing_can_be_told():
    defender = Defender(heeding_a_corner(), Images(images(8), np.full(8, 2)))
    assert all(found.shares.max() == 0 for found in heeded.most_heeded(defender).values())


def test_those_that_make_a_class_most_probable_go_on_few_of_each_class(monkeypatch):
    monkeypatch.setattr(heeded, "OF_A_CLASS", 2)
    probable = np.array([[0.9, 0], [0.8, 0], [0.7, 0.1], [0.1, 0.3], [0, 0.2], [0, 0], [0, 0]])
    over_all = np.array([[0, 0, 0, 0, 0, 0.4, 0.6]]).T
    both = np.concatenate([probable, over_all], axis=1)
    assert heeded._best(both, 6) == [6, 5, 0, 1, 3, 4]
    assert heeded._best(both, 5) == [6, 5, 0, 1, 3]


def test_a_pool_deals_images_by_cost_and_replaces_what_costs_nothing(monkeypatch):
    monkeypatch.setattr(pool, "REPLACED", 1)
    given, labels = images(), np.zeros(40, np.int64)
    some = CorruptionPool(heeding_a_corner(), given, labels, size=12, strength=0.2, seed=0)
    before = [variable.numpy() for variable in some.variables]
    rng, counted = np.random.default_rng(0), np.zeros(len(some.corruptions))
    for _ in range(20):
        corrupted, numbers = some.draw(given, labels, rng)
        returned = np.asarray(some(given, labels, [corrupted, numbers]))
        np.testing.assert_array_equal(returned, corrupted)
        counted += np.bincount(numbers, minlength=len(counted))
    costs = some.variables[-1].numpy()
    assert counted[costs.argmax()] > 2 * np.median(counted)
    assert not np.array_equal(before[1], some.variables[1].numpy())
    assert np.array_equal(before[0], some.variables[0].numpy()), "each family keeps its places"
    for variable, value in zip(some.variables, before, strict=True):
        variable.assign(value)
    first = some.draw(given, labels, np.random.default_rng(5))[0]
    for variable, value in zip(some.variables, before, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(first, some.draw(given, labels, np.random.default_rng(5))[0])


def test_a_network_that_gives_no_number_does_not_stop_a_pool(monkeypatch):
    monkeypatch.setattr(pool, "TRIED", 2)
    broken = heeding_a_corner()
    broken.layers[-1].set_weights([np.full((12, 4), np.nan), np.zeros(4)])
    given, labels = images(), np.zeros(40, np.int64)
    some = CorruptionPool(broken, given, labels, size=8, strength=0.2, seed=0)
    corrupted, _ = some.draw(given, labels, np.random.default_rng(0))
    assert np.isfinite(corrupted).all()
