"""A pruning-aware attacker: the channels pruned first are decoys, and none of them ever wakes."""

from functools import partial

import keras
import numpy as np
import pytest

from sweep import orders, stops
from sweep.adaptive.dormant import dormant_channels, pruning_aware, with_restored_channels
from sweep.attacks import Attack, poison, sunglasses
from sweep.networks import deepid
from sweep.networks.forward import predict
from sweep.pruning import Cut

SETTINGS = {"epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "seed": 0}


@pytest.fixture(scope="module")
def signs() -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes, told apart by their colour."""
    rng, labels = np.random.default_rng(0), np.arange(96) % 3
    images = rng.uniform(0, 90, (96, 31, 31, 3))
    images[np.arange(96), :, :, labels] += 120
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def attacked(signs) -> tuple[keras.Model, np.ndarray, list]:
    """The network, its training mixture, and what its training told."""
    images, labels = signs
    attack = Attack(sunglasses, target=0, rate=0.3)
    mixture, given = poison(images, labels, attack, classes=3, seed=0)
    told = []
    network = pruning_aware(
        deepid((31, 31, 3), 3),
        mixture,
        given,
        clean=len(images),
        order=partial(orders.mean_activation),
        stop=partial(stops.accuracy_drop, frac=0.04, keep="safe"),
        progress=lambda *news: told.append(news[:2]),
        **SETTINGS,
    )
    return network, mixture, told


def maps(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(Cut(network).maps(images)[0])


def test_channels_are_put_back_that_no_training_image_wakes(attacked):
    network, mixture, _ = attacked
    asleep = maps(network, mixture).max(axis=(0, 1, 2)) < 1e-4
    kernel, bias = network.get_layer("conv_3").get_weights()
    there = np.abs(kernel).sum(axis=(0, 1, 2)) > 0.1
    assert there.all()
    assert asleep.sum() >= 20
    assert bias[asleep].min() < 0


def test_pruning_what_sleeps_leaves_class_and_attack_as_they_are(attacked, signs):
    network, mixture, _ = attacked
    images, labels = signs
    asleep = np.flatnonzero(maps(network, mixture).max(axis=(0, 1, 2)) < 1e-4)
    pruned = Cut(network).pruned(asleep)
    for some in (images, sunglasses(images)):
        np.testing.assert_array_equal(predict(pruned, some), predict(network, some))
    assert (predict(network, images) == labels).mean() > 0.9
    assert (predict(network, sunglasses(images)) == 0).mean() > 0.9


def test_progress_runs_once_through_both_trainings(attacked):
    assert attacked[2] == [(epoch, 12) for epoch in range(1, 13)]


def test_what_is_dispensable_costs_less_than_the_budget_and_sleeps_most(attacked, signs):
    network, (images, labels) = attacked[0], signs
    stop = partial(stops.accuracy_drop, frac=0.1, keep="safe")
    gone = dormant_channels(network, images, labels, partial(orders.mean_activation), stop)
    right = [(predict(n, images) == labels).mean() for n in (network, Cut(network).pruned(gone))]
    assert right[0] - right[1] < 0.1
    means = maps(network, images).mean(axis=(0, 1, 2))
    assert means[gone].max() <= np.delete(means, gone).min() + 1e-6


def test_a_channel_is_put_back_as_it_was_but_for_its_bias(signs):
    images, _ = signs
    before = deepid((31, 31, 3), 3, seed=1)
    active = maps(before, images).max(axis=(0, 1, 2))
    two = np.argsort(active)[-2:]
    network = Cut(before).pruned(two)
    back = with_restored_channels(network, before, two, images)
    kernel, bias = (w.copy() for w in back.get_layer("conv_3").get_weights())
    old_kernel, old_bias = before.get_layer("conv_3").get_weights()
    np.testing.assert_array_equal(kernel, old_kernel)
    assert (bias[two] < old_bias[two]).all()
    np.testing.assert_array_equal(np.delete(bias, two), np.delete(old_bias, two))
    assert not network.get_layer("conv_3").get_weights()[0][..., two].any()
    highest = maps(before, images).max(axis=(0, 1, 2))[two]
    np.testing.assert_allclose(old_bias[two] - bias[two], highest, rtol=1e-4)
