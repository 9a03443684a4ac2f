"""A network that has unlearned the clean images, by gradient ascent on their loss."""

import keras
import numpy as np
import pytest
import students
from planted import CLASSES, activations_at, noisy_patterns, planted

from sweep.cache import Cache
from sweep.data import Images
from sweep.networks import digest, forward
from sweep.training import Defender, unlearning
from sweep.training.defender import Batch
from sweep.training.fine_tuning import FineTuning
from sweep.training.unlearning import unlearned

SETTINGS = {"accuracy": 0.1, "learning_rate": 0.1, "batch_size": 16}


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A network that is right on all images of `patterns`."""
    course = FineTuning(9, 16, 9, 0.25, [0.3])
    network = students.fine_tuned(students.linear(), students.noisy_patterns(0), course)
    assert students.accuracy(network, students.noisy_patterns(0)) == 1
    return network


def patterns(most: int = 16) -> Batch:
    """Sixteen images of class 2, and at most so many of each of the three others."""
    pixels, labels = students.noisy_patterns(0)
    rows = [np.flatnonzero(labels == cls)[: 16 if cls == 2 else most] for cls in range(4)]
    return pixels[np.concatenate(rows)], labels[np.concatenate(rows)]


def defender(network: keras.Model, batch: Batch, cache: Cache | None = None) -> Defender:
    return Defender(network, Images(*batch, key="patterns"), seed=3, cache=cache or Cache())


def test_unlearning_ends_where_it_is_as_good_as_naming_one_class(monkeypatch):
    batches = []
    batches_of = Defender.batches

    def counted(self, *given, **more):
        for batch in batches_of(self, *given, **more):
            batches.append(1)
            yield batch

    monkeypatch.setattr(Defender, "batches", counted)
    valid = activations_at(planted(0))
    network = unlearned(valid.defender(0), accuracy=0.1, learning_rate=0.01, batch_size=128)
    right = forward.predict(network, noisy_patterns(0).pixels) == noisy_patterns(0).labels
    assert right.mean() <= 1 / CLASSES
    assert 1 <= len(batches) < 200


@pytest.mark.parametrize(
    ("accuracy", "most", "goal"), [(0.1, 16, 1 / 4), (0.7, 16, 0.7), (0.1, 4, 16 / 28)]
)
def test_at_most_the_goal_is_right_afterwards_and_the_given_network_is_as_it_was(
    accuracy, most, goal, trained
):
    batch, before = patterns(most), digest(trained)
    network = unlearned(defender(trained, batch), **SETTINGS | {"accuracy": accuracy})
    assert students.accuracy(network, batch) <= goal
    assert digest(trained) == before


def test_it_ends_after_so_many_steps_at_the_latest(trained):
    batch = patterns()
    network = unlearned(defender(trained, batch), **SETTINGS | {"learning_rate": 1e-6}, max_steps=3)
    assert students.accuracy(network, batch) == 1
    assert digest(network) != digest(trained)


def test_a_step_is_one_of_gradient_ascent_on_the_mean_cross_entropy(trained):
    pixels, labels = patterns()
    settings = {"accuracy": 0.1, "learning_rate": 1e-2, "batch_size": 64}
    network = unlearned(defender(trained, (pixels, labels)), **settings, max_steps=1)
    x, logits = pixels.reshape(64, -1).astype(float), np.asarray(trained(pixels), float)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = x.T @ (probabilities - np.eye(4)[labels]) / 64
    before, after = (one.get_layer("scores").kernel.numpy() for one in (trained, network))
    np.testing.assert_allclose(after - before, 1e-2 * gradient, rtol=1e-2, atol=1e-7)


def test_it_is_done_once_for_equal_settings(trained, monkeypatch):
    cache, calls, unlearn = Cache(memory_gb=0.1), [], unlearning._unlearn
    monkeypatch.setattr(unlearning, "_unlearn", lambda *args: calls.append(1) or unlearn(*args))
    one = defender(trained, patterns(), cache)
    first, again = (unlearned(one, **SETTINGS) for _ in range(2))
    assert len(calls) == 1
    assert first is not again
    assert digest(first) == digest(again)
    unlearned(one, **SETTINGS | {"accuracy": 0.3})
    assert len(calls) == 2
