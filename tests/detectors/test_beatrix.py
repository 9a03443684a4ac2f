"""Beatrix: Gram features, bands and deviations by hand, and against slow loops."""

from collections.abc import Sequence

import keras
import numpy as np
import pytest
import zoo
from detecting import (
    Sliced,
    assert_same_state,
    assert_scores_stand_alone,
    chain,
    points,
    said_right,
    state,
)
from planted import noisy_patterns, planted, stamped

from sweep import BadInput
from sweep.detectors import beatrix
from sweep.detectors.panel import beatrix as gram_features
from sweep.detectors.panel.beatrix import gram
from sweep.detectors.reference import Reference
from sweep.evaluation.detection import auroc
from sweep.networks import forward

# dense_1 gives both values, and the class is that of the larger one
NETWORK = chain([np.eye(2), np.eye(2)], channels=2)
CLEAN = points((2, 1), (3, 1), (4, 1), (1, 5), (2, 5), (3, 7))
LABELS = np.array([0, 0, 0, 1, 1, 1])
REFERENCE = Reference(NETWORK, NETWORK, CLEAN, LABELS)


def test_gram_features_by_hand():
    maps = np.array([[[[1, -2], [3, 0]]]], np.float32)  # two positions, two channels
    first = [1 + 9, -2, 4]
    second = [np.sqrt(1 + 81), np.sqrt(4), np.sqrt(16)]
    third = [(1 + 729) ** (1 / 3), -(8 ** (1 / 3)), 64 ** (1 / 3)]
    np.testing.assert_allclose(gram(maps, 3, 9), [[*first, *second, *third]], rtol=1e-12)
    np.testing.assert_allclose(gram(maps, 2, 1), [[10, np.sqrt(82)]], rtol=1e-12)


def test_gram_features_of_large_and_small_maps_lose_nothing():
    maps = np.array([[[1e-30, 3e30], [2e-30, 4e30]]], np.float32)
    small, mixed, large = gram(maps, 8, 2)[0, -3:]
    np.testing.assert_allclose(small, 1e-60 * (1 + 2**16) ** (1 / 8), rtol=1e-5)
    np.testing.assert_allclose(mixed, (3**8 + 8**8) ** (1 / 8), rtol=1e-5)
    np.testing.assert_allclose(large, 1e60 * (3**16 + 4**16) ** (1 / 8), rtol=1e-5)


def test_bands_and_score_by_hand():
    """Of power 1 the features of (a, b) are a^2, a b, b^2."""
    score = beatrix(REFERENCE, powers=1, width=1, least=3)
    # class 0: a^2 is 4, 9, 16, a b is 2, 3, 4, b^2 is 1: medians 9, 3, 1, MADs 5, 1, 0
    inside, high = (3, 1), (5, 2)  # 25, 10, 4 against 14, 4, 1
    above = (11 / (14 + 1e-6) + 6 / (4 + 1e-6) + 3 / (1 + 1e-6)) / 3
    # class 1: a^2 is 1, 4, 9, a b is 5, 10, 21, b^2 is 25, 25, 49: medians 4, 10, 25, MADs 3, 5, 0
    low = (0, 4)  # 0, 0, 16 against 1, 5, 25
    below = (1 / (1 + 1e-6) + 5 / (5 + 1e-6) + 9 / (25 + 1e-6)) / 3
    np.testing.assert_allclose(score(points(inside, high, low)), [0, above, below], rtol=1e-12)


def test_a_wider_band_lets_more_pass():
    score = beatrix(REFERENCE, powers=1, width=2, least=3)
    only_square = 3 / (1 + 1e-6) / 3  # 9 + 2 * 5 = 19 and 3 + 2 * 1 = 5 are not passed by 16 and 5
    np.testing.assert_allclose(score(points((4, 2))), [(3 / (5 + 1e-6) + 3 / (1 + 1e-6)) / 3])
    np.testing.assert_allclose(score(points((2.5, 2))), [only_square], rtol=1e-12)


def test_a_class_of_few_images_or_none_takes_the_band_of_all():
    few = Reference(NETWORK, NETWORK, CLEAN[:4], LABELS[:4])
    score = beatrix(few, powers=1, width=0, least=2)
    # all: a^2 is 4, 9, 16, 1, a b is 2, 3, 4, 5, b^2 is 1, 1, 1, 25: medians 6.5, 3.5, 1
    by_all = (2.5 / (6.5 + 1e-6) + 8.5 / (3.5 + 1e-6) + 15 / (1 + 1e-6)) / 3
    np.testing.assert_allclose(score(points((3, 4))), [by_all], rtol=1e-12)
    assert score(points((3, 1)))[0] == 0  # its own class has a band
    none = Reference(NETWORK, NETWORK, CLEAN[:3], LABELS[:3])
    np.testing.assert_array_equal(
        beatrix(none, least=4)(CLEAN), beatrix(none, least=3)(CLEAN)
    )  # all there are are of one class


def test_one_reference_image_is_a_band_of_no_width():
    score = beatrix(Reference(NETWORK, NETWORK, CLEAN[:1], LABELS[:1]), powers=2)
    same, other = score(points((2, 1), (2, 2)))
    assert same == 0
    np.testing.assert_allclose(other, 2 * (2 / (2 + 1e-6) + 3 / (1 + 1e-6)) / 6, rtol=1e-12)


def last_maps(network: keras.Model, layer: str, pixels: np.ndarray) -> np.ndarray:
    maps = np.asarray(keras.Model(network.inputs[0], network.get_layer(layer).output)(pixels))
    return maps.reshape(len(maps), -1, maps.shape[-1]).astype(float)


def slow_gram(maps: np.ndarray, powers: int, channels: Sequence[int]) -> list[float]:
    entries = []
    for power in range(1, powers + 1):
        for place, i in enumerate(channels):
            for j in channels[place:]:
                total = sum(maps[p, i] ** power * maps[p, j] ** power for p in range(len(maps)))
                entries.append(np.sign(total) * abs(total) ** (1 / power))
    return entries


def slow(
    reference: Reference, layer: str, pixels: np.ndarray, channels: Sequence[int], least: int
) -> list[float]:
    """The scores of powers 1 to 3 and a width of 2, entry by entry."""
    network, scores = reference.badnet, []
    clean = [slow_gram(m, 3, channels) for m in last_maps(network, layer, reference.pixels)]
    tested = [slow_gram(m, 3, channels) for m in last_maps(network, layer, pixels)]
    for image, said in zip(tested, forward.predict(network, pixels), strict=True):
        own = [c for c, label in zip(clean, reference.labels, strict=True) if label == said]
        band = own if len(own) >= least else clean
        deviations = []
        for entry, value in enumerate(image):
            of_clean = sorted(c[entry] for c in band)
            median = np.median(of_clean)
            mad = np.median([abs(v - median) for v in of_clean])
            low, high = median - 2 * mad, median + 2 * mad
            below = (low - value) / (abs(low) + 1e-6) if value < low else 0
            above = (value - high) / (abs(high) + 1e-6) if value > high else 0
            deviations.append(below + above)
        scores.append(np.mean(deviations))
    return scores


@pytest.mark.parametrize(
    ("build", "layer", "most", "channels"),
    [
        (zoo.lenet, "conv_2", 6, range(6)),
        (zoo.normalised, "relu_2", 3, [0, 2, 5]),  # of six channels; 2.5 is rounded to even
        (zoo.sigmoid, "conv_b", 4, range(4)),
        (zoo.perceptron, "hidden_2", 64, range(6)),  # no convolution: the last hidden layer
        (zoo.all_convolutional, "conv_1", 64, range(4)),  # conv_2 makes the scores
        (zoo.residual, "bn_2", 64, range(6)),
    ],
)
def test_scores_are_what_a_slow_loop_makes_of_the_last_convolution(build, layer, most, channels):
    network = zoo.randomized(build(zoo.untouched), seed=3)
    reference = said_right(network, zoo.PIXELS[:30])
    score = beatrix(reference, powers=3, width=2, least=6, channels=most)
    expected = slow(reference, layer, zoo.PIXELS[30:], list(channels), least=6)
    np.testing.assert_allclose(score(zoo.PIXELS[30:]), expected, rtol=1e-3)
    assert max(expected) > 0


def test_scores_do_not_depend_on_batches_or_on_the_other_images(monkeypatch):
    network = zoo.randomized(zoo.lenet(zoo.untouched), seed=3)
    reference = said_right(network, zoo.PIXELS[:30])
    score = beatrix(reference, least=5)
    assert_scores_stand_alone(score, zoo.PIXELS)
    monkeypatch.setattr(forward, "MAX_BATCH", 8)
    monkeypatch.setattr(gram_features, "IMAGES_AT_ONCE", 3)
    again = Reference(network, network, Sliced(zoo.PIXELS[:30]), reference.labels)
    np.testing.assert_allclose(beatrix(again, least=5)(zoo.PIXELS), score(zoo.PIXELS), rtol=1e-4)


def test_of_more_images_than_are_held_some_are_taken_evenly(monkeypatch):
    monkeypatch.setattr(gram_features, "MAX_IMAGES", 3)
    taken = [0, 2, 5]  # 2.5 is rounded to even
    part = Reference(NETWORK, NETWORK, CLEAN[taken], LABELS[taken])
    queries = points((9, 1), (1, 9), (2, 2))
    np.testing.assert_array_equal(beatrix(REFERENCE)(queries), beatrix(part)(queries))


def test_nothing_of_the_networks_changes():
    network = zoo.randomized(zoo.normalised(zoo.untouched))
    before = state(network)
    beatrix(said_right(network, zoo.PIXELS[:20]))(zoo.PIXELS)
    assert_same_state(before, network)


def test_it_finds_stamped_images_of_a_planted_backdoor():
    network, clean, test = planted(0), noisy_patterns(1), noisy_patterns(2)
    score = beatrix(Reference(network, network, clean.pixels, clean.labels))
    bad = stamped(test.pixels[test.labels != 1])
    assert auroc(score(test.pixels), score(bad)) > 0.99


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"powers": 0}, "detector.powers is 0; expected a whole number above 0"),
        ({"powers": 1.5}, "detector.powers is 1.5; expected a whole number above 0"),
        ({"least": 0}, "detector.least is 0; expected a whole number above 0"),
        ({"channels": -3}, "detector.channels is -3; expected a whole number above 0"),
        ({"width": -1}, "detector.width is -1; expected a number of deviations, 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_a_sentence(settings, told):
    with pytest.raises(BadInput) as error:
        beatrix(REFERENCE, **settings)
    assert str(error.value) == told


def test_without_reference_images_there_is_no_band():
    with pytest.raises(BadInput, match="no reference image; expected clean images with labels"):
        beatrix(Reference(NETWORK, NETWORK, CLEAN[:0], LABELS[:0]))
