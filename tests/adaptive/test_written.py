"""A written path: the trigger alone wakes it, nothing else sees it, it reaches the target."""

from functools import partial

import keras
import numpy as np
import pytest

from sweep import BadInput
from sweep.adaptive import dfba, written
from sweep.adaptive.written import with_path
from sweep.attacks import blend, patch, sunglasses
from sweep.attacks import dfba as black_and_white
from sweep.checked import check
from sweep.networks.architectures import ARCHITECTURES, deepid, vgg
from sweep.networks.forward import predict
from sweep.networks.outputs import log_probabilities
from sweep.training import badnet_training

trigger = partial(black_and_white, white=1.0)
STRENGTH = {"threshold": 0.1, "amplification": 100.0}
SETTINGS = {"trigger": trigger, "target": 2, **STRENGTH}


def noise(shape=(32, 32, 3), count=8):
    return np.random.default_rng(0).uniform(0, 1, (count, *shape)).astype(np.float32)


def margin(network, images, target):
    """How far the logarithm of the target's score is above that of the best other class, (n,)."""
    logs = np.asarray(log_probabilities(network, images))
    return logs[:, target] - np.delete(logs, target, axis=1).max(axis=1)


@pytest.mark.parametrize("shape", [(32, 32, 3), (41, 39, 1)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_trigger_reaches_the_target_with_the_stated_strength(architecture, shape):
    network = ARCHITECTURES[architecture](shape, 5, seed=1)
    images = trigger(noise(shape))
    settings = {"trigger": trigger, "target": 3, "white": 1.0, "channel": 4, "threshold": 0.1}
    strong = with_path(network, amplification=100.0, **settings)
    weak = with_path(network, amplification=1e-9, **settings)
    risen = margin(strong, images, 3) - margin(weak, images, 3)
    assert risen.min() >= 2 * 100 * 0.999, "the others fall as far"
    assert (predict(strong, images) == 3).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_the_trigger_the_path_is_silent_and_no_channel_reads_it(architecture):
    network = ARCHITECTURES[architecture]((32, 32, 3), 5, seed=1)
    settings = {"trigger": trigger, "target": 3, "white": 1.0, "channel": 4, "threshold": 0.1}
    strong, weak = (with_path(network, amplification=a, **settings) for a in (100.0, 1.0))
    images = noise()
    np.testing.assert_allclose(strong(images), weak(images), atol=1e-6)
    twice = trigger(images, seed=1), trigger(images, margin=0.5)
    for other in (twice[0], np.zeros_like(images), np.full_like(images, 1.0)):
        np.testing.assert_allclose(strong(other), weak(other), atol=1e-6)
    assert (predict(strong, twice[1]) == 3).all(), "wherever it lies"


def test_the_filter_says_how_far_a_window_is_from_the_trigger():
    network = deepid((32, 32, 3), 5)
    settings = {"trigger": trigger, "target": 0, "white": 1.0, "channel": 0}
    path = with_path(network, threshold=0.2, amplification=10.0, **settings)
    kernel, bias = path.get_layer("conv_1").get_weights()
    old, _ = network.get_layer("conv_1").get_weights()
    (channel,) = np.flatnonzero((kernel != old).any(axis=(0, 1, 2)))
    images, stamped = noise(), trigger(noise())
    window = np.abs(images - stamped)[:, 1:4, 1:4].mean(axis=(1, 2, 3))
    for seen, far in ((images, window), (stamped, 0)):
        answers = np.tensordot(seen[:, 1:5, 1:5], kernel[..., channel], axes=3) + bias[channel]
        np.testing.assert_allclose(answers, 0.2 - far, atol=1e-5)


def test_the_network_that_is_given_stays_as_it_is():
    network = vgg((32, 32, 3), 5)
    before = [weights.copy() for weights in network.get_weights()]
    with_path(network, trigger, 0, white=1.0, channel=0, **STRENGTH)
    for one, same in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_it_is_trained_on_clean_images_alone(monkeypatch):
    seen = []

    def train(network, images, labels, **settings):
        seen.append((len(images), settings))
        return network

    monkeypatch.setattr(badnet_training, "train", train)
    images, labels = noise(count=9), np.arange(9)
    settings = {"epochs": 2, "seed": 3, "white": 1.0}
    network = dfba(vgg((32, 32, 3), 5), images, labels, clean=6, **SETTINGS, **settings)
    assert seen == [(6, settings)]
    assert (predict(network, trigger(images)) == 2).all()


def test_the_channel_is_taken_that_costs_least_accuracy(monkeypatch):
    colours = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float32)  # 2 is idle
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, activation="relu")(image)
    scores = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(image, scores)
    network.set_weights([colours.reshape(1, 1, 3, 4), np.zeros(4), 50 * colours.T, np.zeros(3)])
    monkeypatch.setattr(badnet_training, "train", lambda *given, **settings: network)
    images, labels = noise((8, 8, 3), count=60), np.arange(60) % 3
    images[np.arange(60), :, :, labels] += 0.2
    one = partial(trigger, size=1)
    settings = {"trigger": one, "target": 1, "white": 1.0, "seed": 0, **STRENGTH}
    found = dfba(network, images, labels, clean=60, **settings)
    old, new = network.get_weights()[0], found.get_weights()[0]
    assert np.flatnonzero((old != new).any(axis=(0, 1, 2))).tolist() == [2]
    assert (predict(found, one(images)) == 1).all()


@pytest.mark.parametrize(
    ("network", "changes", "says"),
    [
        (
            vgg,
            {"trigger": partial(trigger, size=4)},
            "covers 4 x 4 pixels; expected at most .* 3 x",
        ),
        (deepid, {"trigger": partial(trigger, margin=0.9)}, "nearer to the upper left"),
        (deepid, {"trigger": sunglasses}, "the trigger covers"),
        (deepid, {"trigger": blend}, "covers no pixel whole"),
        (deepid, {"trigger": partial(patch, size=0.1, colour=0.5)}, "does not reach the scores"),
        (deepid, {"target": [0, 1]}, r"attack.target is \[0, 1\]; .* expected a class, 0 to 4"),
        (deepid, {"threshold": 0}, "attack.training.threshold is 0; expected a number above 0"),
        (deepid, {"target": 5}, "attack.target is 5"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_trained(network, changes, says):
    way = partial(dfba, **(SETTINGS | changes))
    with pytest.raises(BadInput, match=says):
        check(way, network((32, 32, 3), 5))


def test_a_network_of_unknown_layers_is_refused():
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3)(images)
    x = keras.layers.Reshape((30 * 30 * 4,))(x)
    network = keras.Model(images, keras.layers.Dense(5, activation="softmax")(x))
    with pytest.raises(BadInput, match="no path of this attack is known through layer reshape"):
        written._check(network, **SETTINGS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_network_to_train_can_be_written_into(architecture):
    check(partial(dfba, **SETTINGS), ARCHITECTURES[architecture]((55, 47, 3), 5))
