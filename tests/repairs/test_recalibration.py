"""Statistics of BatchNormalization set anew: against a slow pass from layer to layer."""

import keras
import numpy as np
import pytest
import zoo
from keras import layers
from repaired import CLASSES, SHAPE, noisy_patterns
from zoo import randomized

from sweep import repairs
from sweep.data import Images
from sweep.networks import digest
from sweep.networks.loading import as_functional
from sweep.pruning import Cut
from sweep.repairs import recalibration
from sweep.training import Defender


def slowly(network: keras.Model, pixels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of what reaches each norm of a chain, those before it set anew."""
    told, values = {}, pixels.astype(np.float64)
    for layer in network.layers[1:]:
        if not isinstance(layer, layers.BatchNormalization):
            values = np.asarray(layer(values.astype(np.float32)), np.float64)
            continue
        axes = tuple(range(values.ndim - 1))
        mean, variance = values.mean(axes), values.var(axes)
        told[layer.name] = mean, variance
        values = (values - mean) / np.sqrt(variance + layer.epsilon)
        values = values * (1 if layer.gamma is None else layer.gamma.numpy())
        values = values + (0 if layer.beta is None else layer.beta.numpy())
    return told


def normalised() -> keras.Model:
    """Norms at the input, in a row, behind a dense layer; with and without gamma and beta."""
    x = images = keras.Input(SHAPE)
    x = layers.BatchNormalization(name="first")(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(scale=False, name="second")(x)
    x = layers.BatchNormalization(center=False, name="third")(x)
    x = layers.Flatten(name="flatten")(layers.ReLU(name="relu")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.Dense(6, name="dense")(x))
    x = layers.BatchNormalization(name="fourth", trainable=False)(x)
    return keras.Model(images, layers.Dense(CLASSES, name="scores")(x))


def moments(network: keras.Model, name: str) -> tuple[np.ndarray, np.ndarray]:
    layer = network.get_layer(name)
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


def test_every_norm_gets_the_statistics_of_what_the_norms_before_it_make(monkeypatch):
    network = randomized(normalised())
    before, images = digest(network), noisy_patterns(3, 50)
    monkeypatch.setattr(recalibration.forward, "batch_size", lambda tensors: 16)
    made = repairs.recalibrate(Defender(network, images))
    assert digest(network) == before
    expected = slowly(network, images.pixels)
    assert len(expected) == 4
    for name, told in expected.items():
        for value, one in zip(moments(made, name), told, strict=True):
            np.testing.assert_allclose(value, one, rtol=2e-3, atol=1e-5)
        assert not np.allclose(moments(network, name)[0], told[0], atol=0.05)
    for ours, theirs in zip(network.trainable_variables, made.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_norm_that_is_called_twice_gets_the_statistics_of_both():
    images = keras.Input(SHAPE)
    norm = layers.BatchNormalization(name="norm")
    left, right = (layers.Conv2D(3, 3, name=name)(images) for name in ("left", "right"))
    x = layers.Flatten()(layers.Concatenate()([norm(left), norm(right)]))
    network = keras.Model(images, layers.Dense(CLASSES)(x))
    network = randomized(network)
    some = noisy_patterns(3, 40)
    both = [np.asarray(network.get_layer(name)(some.pixels)) for name in ("left", "right")]
    both = np.concatenate(both).astype(np.float64)
    mean, variance = moments(repairs.recalibrate(Defender(network, some)), "norm")
    np.testing.assert_allclose(mean, both.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, both.var(axis=(0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("semantics", ["zero", "gamma"])
def test_pruned_channels_stay_pruned_when_norms_are_set_anew(semantics):
    network = as_functional(randomized(zoo.normalised(zoo.untouched)))
    cut = Cut(network, "conv_2", semantics)
    images = Images(zoo.PIXELS, np.arange(50) % 5)
    made = repairs.recalibrate(Defender(network, images).with_network(cut.pruned([1, 3])))
    maps = np.asarray(keras.Model(made.inputs[0], made.get_layer("relu_2").output)(zoo.PIXELS))
    value = np.broadcast_to(cut.pruned_value[[1, 3]], maps[..., [1, 3]].shape)
    np.testing.assert_array_equal(maps[..., [1, 3]], value)
    assert maps[..., 0].std() > 0
