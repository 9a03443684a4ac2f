"""TED: ranks counted by hand, and against slow loops written from the formula."""

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
from sweep.detectors import ted
from sweep.detectors.panel import ted as layer_ranks
from sweep.detectors.panel.hidden import hidden_ends
from sweep.detectors.panel.ted import pooled
from sweep.detectors.reference import Reference
from sweep.evaluation.detection import auroc
from sweep.networks import forward

# dense_1 gives both values, dense_2 the second, and the class is 1 where that is above 0
NETWORK = chain([np.eye(2), [[0], [1]], [[-1, 1]]], channels=2)
CLEAN = points((0, -0.25), (1, -0.5), (2, -0.75), (10, 1), (11, 2), (0, 1))
LABELS = np.array([0, 0, 0, 1, 1, 1])
# each other clean image has one of its class nearest; of the last one these are 3 away and 0
MEAN, VARIANCE = 3 / 6, (5 * 0.5**2 + 2.5**2) / 6


def of_ranks(first: float, second: float, ridge: float = 1.0) -> float:
    return (first - MEAN) ** 2 / (VARIANCE + ridge) + second**2 / ridge


def test_ranks_and_distance_by_hand():
    score = ted(Reference(NETWORK, NETWORK, CLEAN, LABELS))
    wanted = {
        (2, -2.5): of_ranks(0, 0),
        (4, 0.5): of_ranks(2, 0),  # (1, -0.5) and (2, -0.75) are nearer than (0, 1)
        (1, 0.1): of_ranks(3, 3),  # all of class 0 are
        (1, 0.3): of_ranks(2, 1),  # in the last layer (0, -0.25) alone is
        (30, -9): of_ranks(2, 0),  # nearer than (2, -0.75) are (10, 1) and (11, 2)
    }
    np.testing.assert_allclose(score(points(*wanted)), list(wanted.values()), rtol=1e-12)


def test_the_variance_that_is_added_is_the_setting():
    score = ted(Reference(NETWORK, NETWORK, CLEAN, LABELS), ridge=0.25)
    np.testing.assert_allclose(score(points((1, 0.3))), [of_ranks(2, 1, ridge=0.25)], rtol=1e-12)


def test_of_one_layer_it_is_the_last():
    score = ted(Reference(NETWORK, NETWORK, CLEAN, LABELS), layers=1)
    np.testing.assert_allclose(score(points((4, 0.5), (1, 0.3))), [0, 1], rtol=1e-12)


def test_an_image_that_b_takes_for_another_is_not_ranked_among():
    wrong = np.concatenate([CLEAN, points((4, 0.5), (1, 0.1))])
    labels = np.append(LABELS, [0, 0])
    queries = points((2, -2.5), (4, 0.6), (1, 0.2))
    expected = ted(Reference(NETWORK, NETWORK, CLEAN, LABELS))(queries)
    np.testing.assert_array_equal(
        ted(Reference(NETWORK, NETWORK, wrong, labels))(queries), expected
    )


def test_of_a_class_without_reference_images_all_others_are_nearer():
    score = ted(Reference(NETWORK, NETWORK, CLEAN[:3], LABELS[:3]))
    np.testing.assert_allclose(score(points((0, 1), (0, -1))), [3**2 + 3**2, 0], rtol=1e-12)


def test_an_image_that_is_alone_in_its_class_is_ranked_among_and_has_no_part_in_the_mean():
    score = ted(Reference(NETWORK, NETWORK, CLEAN[:4], LABELS[:4]))
    np.testing.assert_allclose(score(points((10, 1), (1, 0.1))), [0, 3**2 + 3**2], rtol=1e-12)


def test_one_reference_image_tells_its_class_from_others():
    score = ted(Reference(NETWORK, NETWORK, CLEAN[:1], LABELS[:1]))
    np.testing.assert_allclose(score(points((7, -5), (7, 5))), [0, 2], rtol=1e-12)


def slow(reference: Reference, pixels: np.ndarray) -> np.ndarray:
    """The scores, image by image, layer by layer, distance by distance."""
    network = reference.badnet
    models = [keras.Model(network.inputs[0], end.output_tensors[0]) for end in hidden_ends(network)]
    said = forward.predict(network, reference.pixels)
    kept = [i for i in range(len(said)) if said[i] == reference.labels[i]]

    def values(images):
        return [np.asarray(model(images)).reshape(len(images), -1) for model in models]

    bank = values(reference.pixels)

    def rank(image, layer, label, others):
        distances = {i: np.linalg.norm(image - bank[layer][i].astype(float)) for i in others}
        same = [distances[i] for i in others if said[i] == label]
        return sum(d < min(same, default=np.inf) - 1e-6 for d in distances.values())

    clean = []
    for i in kept:
        others = [j for j in kept if j != i]
        if any(said[j] == said[i] for j in others):
            clean.append([rank(bank[k][i], k, said[i], others) for k in range(len(models))])
    mean = np.mean(clean, axis=0)
    covariance = sum(np.outer(k - mean, k - mean) for k in clean) / len(clean)
    scores = []
    images = zip(*values(pixels), strict=True)
    for image, label in zip(images, forward.predict(network, pixels), strict=True):
        away = [rank(image[k], k, label, kept) for k in range(len(models))] - mean
        scores.append(away @ np.linalg.solve(covariance + np.eye(len(mean)), away))
    return np.array(scores)


@pytest.mark.parametrize("build", [zoo.lenet, zoo.residual, zoo.perceptron, zoo.branches])
def test_scores_are_what_a_slow_loop_makes_of_each_image(build):
    network = zoo.randomized(build(zoo.untouched), seed=3)
    said = forward.predict(network, zoo.PIXELS[:30])
    labels = np.where(np.arange(30) % 5 == 0, (said + 1) % 5, said)
    reference = Reference(network, network, zoo.PIXELS[:30], labels)
    scores = ted(reference, layers=100)(zoo.PIXELS[30:])
    np.testing.assert_allclose(scores, slow(reference, zoo.PIXELS[30:]), rtol=1e-6)
    assert len(set(scores.round(6))) > 3


def test_scores_do_not_depend_on_batches_or_on_the_other_images(monkeypatch):
    monkeypatch.setattr(forward, "MAX_BATCH", 8)
    network = zoo.randomized(zoo.lenet(zoo.untouched))
    reference = said_right(network, zoo.PIXELS[:30])
    score = ted(reference)
    assert_scores_stand_alone(score, zoo.PIXELS)
    monkeypatch.setattr(layer_ranks, "MAX_DISTANCES", 60)
    again = Reference(network, network, Sliced(zoo.PIXELS[:30]), reference.labels)
    np.testing.assert_allclose(ted(again)(zoo.PIXELS), score(zoo.PIXELS), rtol=1e-6)


def test_nothing_of_the_networks_changes():
    network = zoo.randomized(zoo.normalised(zoo.untouched))
    before = state(network)
    ted(said_right(network, zoo.PIXELS[:20]))(zoo.PIXELS)
    assert_same_state(before, network)


def test_maps_are_averaged_over_squares_as_large_as_they_must_be():
    maps = np.random.default_rng(0).normal(size=(3, 5, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(pooled(maps, 40), maps.reshape(3, -1))
    blocks = [maps[:, y : y + 2, x : x + 2].mean(axis=(1, 2)) for y in (0, 2, 4) for x in (0, 2)]
    for values in (39, 12):
        np.testing.assert_allclose(pooled(maps, values), np.concatenate(blocks, axis=1), rtol=1e-5)
    np.testing.assert_allclose(pooled(maps, 1), maps.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(pooled(maps[:, 0, 0], 1), maps[:, 0, 0])


def test_it_finds_stamped_images_of_a_planted_backdoor():
    network, clean, test = planted(0), noisy_patterns(1), noisy_patterns(2)
    score = ted(Reference(network, network, clean.pixels, clean.labels))
    bad = stamped(test.pixels[test.labels != 1])
    assert auroc(score(test.pixels), score(bad)) > 0.9


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"layers": 0}, "detector.layers is 0; expected a whole number above 0"),
        ({"layers": 2.5}, "detector.layers is 2.5; expected a whole number above 0"),
        ({"values": -1}, "detector.values is -1; expected a whole number above 0"),
        ({"ridge": 0}, "detector.ridge is 0; expected a variance above 0"),
        ({"ridge": float("nan")}, "detector.ridge is nan; expected a variance above 0"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_a_sentence(settings, told):
    with pytest.raises(BadInput) as error:
        ted(Reference(NETWORK, NETWORK, CLEAN, LABELS), **settings)
    assert str(error.value) == told


def test_without_reference_images_or_any_that_b_is_right_on_there_is_nothing_to_rank_among():
    with pytest.raises(BadInput, match="no reference image; expected clean images with labels"):
        ted(Reference(NETWORK, NETWORK, CLEAN[:0], LABELS[:0]))
    with pytest.raises(BadInput, match="B is right on none of the 6 reference images; expected"):
        ted(Reference(NETWORK, NETWORK, CLEAN, 1 - LABELS))
