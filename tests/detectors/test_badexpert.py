"""BaDExpert: the score by hand, the expert on networks whose backdoor is known."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import zoo
from detecting import Sliced, assert_same_state, assert_scores_stand_alone, chain, points, state
from planted import CLASSES, TARGET, noisy_patterns, planted, stamped

from sweep import BadInput, NotApplicable
from sweep.detectors import badexpert
from sweep.detectors.panel.badexpert import backdoor_expert, suspicion
from sweep.detectors.reference import Reference
from sweep.evaluation.detection import auroc
from sweep.networks import clone, forward
from sweep.networks.outputs import probabilities
from sweep.pruning import cut_at

CLEAN, TEST = noisy_patterns(1), noisy_patterns(2)
BAD = stamped(TEST.pixels[TEST.labels != TARGET])
LIKE = {"accuracy": 0.2, "epochs": 20, "batch_size": 64, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def badnet() -> keras.Model:
    return planted(0)


@pytest.fixture(scope="module")
def reference(badnet) -> Reference:
    """B, and B without its backdoor."""
    repaired = cut_at(badnet, "conv").pruned(np.array([5]))
    return Reference(badnet, repaired, CLEAN.pixels, CLEAN.labels)


@pytest.mark.parametrize(
    ("expert", "repaired", "t"),
    [
        (1.0, 0.0, 0.0),  # the expert alone believes in the class
        (1.0, 1.0, 2.0),  # both do: 2 y / x
        (1.0, 0.5, 1.0),
        (0.5, 0.25, 1.0),  # on y = x / 2: 2 y / x = 1, (1 - x) / (1/2 - y) = 2
        (0.75, 0.25, 2 / 3),  # 2 y / x = 2/3, (1 - x) / (1/2 - y) = 1
        (0.9, 0.4, 8 / 9),  # 2 y / x = 8/9, (1 - x) / (1/2 - y) = 1
        (0.99, 0.4, 0.1),  # 2 y / x = 0.81, (1 - x) / (1/2 - y) = 0.1
        (0.5, 0.9, 3.6),  # y is above 1/2: the first alone counts
        (0.0, 0.0, 0.0),  # B' does not believe in it at all
        (0.0, 1.0, 2e8),  # B' alone does; the expert counts as 1e-8
    ],
)
def test_score_by_hand(expert, repaired, t):
    score = suspicion(np.array([expert]), np.array([repaired]))
    np.testing.assert_allclose(score, [1 / (1 + t)], rtol=1e-9)


def test_score_is_in_0_to_1_and_rises_with_the_expert_and_falls_with_the_repaired_network():
    grid = np.linspace(0, 1, 41)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    scores = suspicion(x.ravel(), y.ravel()).reshape(x.shape)
    assert np.isfinite(scores).all()
    assert scores.min() >= 0
    assert scores.max() == 1
    assert (np.diff(scores, axis=0) >= -1e-12).all()
    assert (np.diff(scores, axis=1) <= 1e-12).all()


def test_the_expert_forgets_clean_images_and_keeps_the_backdoor(reference):
    expert = backdoor_expert(reference, **LIKE)
    assert np.mean(forward.predict(reference.badnet, TEST.pixels) == TEST.labels) > 0.95
    assert np.mean(forward.predict(expert, TEST.pixels) == TEST.labels) < 0.25
    assert np.mean(forward.predict(expert, CLEAN.pixels) == CLEAN.labels) < 0.2
    assert np.mean(forward.predict(expert, BAD) == TARGET) > 0.95


def test_it_stops_as_soon_as_the_accuracy_falls_below_the_setting(reference):
    def accuracy(below: float) -> float:
        expert = backdoor_expert(reference, **LIKE | {"accuracy": below, "learning_rate": 0.005})
        return np.mean(forward.predict(expert, CLEAN.pixels) == CLEAN.labels)

    gentle, thorough = accuracy(0.9), accuracy(0.1)
    assert thorough < 0.1 < 0.3 < gentle < 0.9


def test_what_it_learns_is_the_next_class(reference):
    """By many epochs: every label is taken for the one behind it, the last one for the first."""
    expert = backdoor_expert(reference, **LIKE | {"accuracy": 0.01, "learning_rate": 0.02})
    said = forward.predict(expert, CLEAN.pixels)
    assert np.mean(said == (CLEAN.labels + 1) % CLASSES) > 0.8


def test_score_is_of_the_class_that_b_says_by_expert_and_repaired_network(reference):
    pixels = np.concatenate([TEST.pixels[:40], BAD[:40]])
    said = forward.predict(reference.badnet, pixels)
    expert = backdoor_expert(reference, **LIKE)

    def belief(network: keras.Model) -> list[float]:
        of_all = probabilities(network, forward.scores(network, pixels))
        return [of_all[row, label] for row, label in enumerate(said)]

    expected = []
    for x, y in zip(belief(expert), belief(reference.repaired), strict=True):
        t = 2 * y / max(x, 1e-8)
        if y < 0.5:
            t = min(t, (1 - x) / (0.5 - y))
        expected.append(1 / (1 + t))
    np.testing.assert_allclose(badexpert(reference)(pixels), expected, rtol=1e-4, atol=1e-9)
    assert len(set(said)) == CLASSES


def test_it_finds_stamped_images_of_a_planted_backdoor(reference):
    score = badexpert(reference)
    assert auroc(score(TEST.pixels), score(BAD)) > 0.99


def test_a_network_that_is_not_repaired_still_helps_by_the_expert(badnet):
    score = badexpert(Reference(badnet, badnet, CLEAN.pixels, CLEAN.labels))
    assert auroc(score(TEST.pixels), score(BAD)) > 0.95


def test_equal_seeds_give_equal_weights_and_others_do_not(reference):
    first, again = (backdoor_expert(reference, **LIKE).get_weights() for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(badexpert(reference)(BAD), badexpert(reference)(BAD))
    other = replace(reference, seed=1)
    changed = backdoor_expert(other, **LIKE).get_weights()
    assert any(not np.array_equal(one, two) for one, two in zip(first, changed, strict=True))


def test_scores_do_not_depend_on_batches_or_on_the_other_images(reference, monkeypatch):
    assert_scores_stand_alone(badexpert(reference), TEST.pixels[:50])
    scores = badexpert(reference)(TEST.pixels)
    monkeypatch.setattr(forward, "MAX_BATCH", 8)
    np.testing.assert_allclose(badexpert(reference)(Sliced(TEST.pixels)), scores, rtol=1e-4)


def test_networks_of_several_kinds_are_scored_and_left_as_they_are():
    for build in (zoo.normalised, zoo.preactivation, zoo.sigmoid):
        network = zoo.randomized(build(zoo.untouched), seed=3)
        repaired = clone(network)
        labels = forward.predict(network, zoo.PIXELS)
        for layer in network.layers[1:3]:
            layer.trainable = False
        before = state(network), state(repaired)
        score = badexpert(Reference(network, repaired, zoo.PIXELS, labels), learning_rate=0.05)
        scores = score(zoo.PIXELS)
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()
        assert (scores <= 1).all()
        assert_same_state(before[0], network)
        assert_same_state(before[1], repaired)


def test_a_class_without_reference_images_is_scored_all_the_same(reference):
    some = CLEAN.labels != 2
    part = Reference(reference.badnet, reference.repaired, CLEAN.pixels[some], CLEAN.labels[some])
    score = badexpert(part)
    assert np.isfinite(score(TEST.pixels[TEST.labels == 2])).all()
    assert auroc(score(TEST.pixels[TEST.labels != 2]), score(BAD)) > 0.95


def test_where_b_is_right_on_few_there_is_nothing_to_unlearn(reference):
    wrong = (CLEAN.labels + 1) % CLASSES
    with pytest.raises(NotApplicable, match=r"B is right on 0\.\d% of 400 reference images; this"):
        badexpert(Reference(reference.badnet, reference.repaired, CLEAN.pixels, wrong))


def test_an_expert_that_does_not_unlearn_in_time_is_no_expert(reference):
    with pytest.raises(BadInput, match=r"after 1 epochs the expert is still right on .*% of the"):
        badexpert(reference, epochs=1, learning_rate=1e-6)


def test_an_expert_without_finite_scores_is_refused(reference):
    with pytest.raises(BadInput, match="no finite scores; expected a smaller detector"):
        badexpert(reference, learning_rate=1e30)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"accuracy": 0}, "detector.accuracy is 0; expected a share between 0 and 1"),
        ({"accuracy": 1.5}, "detector.accuracy is 1.5; expected a share between 0 and 1"),
        ({"epochs": 0}, "detector.epochs is 0; expected a whole number above 0"),
        ({"batch_size": 2.5}, "detector.batch_size is 2.5; expected a whole number above 0"),
        ({"learning_rate": 0}, "detector.learning_rate is 0; expected more than 0"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_a_sentence(settings, told):
    network = chain([np.eye(2)], channels=2)
    images = points((1, 0), (0, 1))
    with pytest.raises(BadInput) as error:
        badexpert(Reference(network, network, images, np.array([0, 1])), **settings)
    assert str(error.value) == told


def test_without_reference_images_there_is_nothing_to_unlearn():
    network = chain([np.eye(2)], channels=2)
    with pytest.raises(BadInput, match="no reference image; expected clean images with labels"):
        badexpert(Reference(network, network, points((1, 0))[:0], np.zeros(0, np.int64)))
