"""The random numbers of a network: every generator is seeded, wherever and whatever it is."""

import keras
import numpy as np
import pytest
from keras import layers

from sweep.networks.keras_internals import seed_states
from sweep.training.trainee import Trainee

SHAPE = (8, 8, 3)
ONES = np.ones((4, 50), np.float32)


class NamedGenerator(keras.random.SeedGenerator):
    """A generator whose state has a name of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.state = keras.Variable([seed, 0], trainable=False, dtype="int64", name="noise")


class CustomNoise(layers.Layer):
    """Noise of a generator with a name of its own, and a weight that is named as Keras' states."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generators = [NamedGenerator(5)]

    def build(self, shape):
        self.level = self.add_weight(shape=(2,), name="seed_generator_state", trainable=False)

    def call(self, x, training=False):
        noise = keras.random.normal(keras.ops.shape(x), seed=self.generators[0])
        return x + noise * 0.1 if training else x


DRAWING = {
    "dropout": lambda: layers.Dropout(0.3),
    "spatial": lambda: layers.SpatialDropout2D(0.3),
    "alpha": lambda: layers.AlphaDropout(0.3),
    "noise": lambda: layers.GaussianNoise(0.3),
    "gaussian": lambda: layers.GaussianDropout(0.3),
    "flip": lambda: layers.RandomFlip(),
    "brightness": lambda: layers.RandomBrightness(0.3, value_range=(0, 1)),
    "wrapped": lambda: layers.TimeDistributed(layers.Dropout(0.3)),
    "nested": lambda: keras.Sequential([keras.Input(SHAPE), layers.Dropout(0.3)]),
    "custom": CustomNoise,
}


def network_with(layer: layers.Layer) -> keras.Model:
    images = keras.Input(SHAPE)
    return keras.Model(images, layers.Dense(2)(layers.Flatten()(layer(images))))


@pytest.mark.parametrize("name", DRAWING)
def test_equal_seeds_draw_equal_numbers(name):
    network = network_with(DRAWING[name]())
    assert len(seed_states(network)) == 1
    pixels = np.random.default_rng(0).random((16, *SHAPE)).astype(np.float32)

    def drawn(seed: int) -> np.ndarray:
        return np.asarray(Trainee(network, seed).network(pixels, training=True))

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_weight_is_no_seed_whatever_its_name():
    network = network_with(CustomNoise())
    assert [variable.name for variable in seed_states(network)] == ["noise"]


def twice_dropped() -> keras.Model:
    """Two Dropouts, one of them in a model inside the model."""
    images = keras.Input((50,))
    inner = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5)])
    return keras.Model(images, inner(layers.Dropout(0.5)(images)))


def test_each_dropout_has_a_state_and_nothing_else_has():
    states = seed_states(twice_dropped())
    assert [tuple(state.shape) for state in states] == [(2,), (2,)]
    assert states[0] is not states[1]
    others = [layers.Dense(3), layers.BatchNormalization()]
    assert seed_states(keras.Sequential([keras.Input((50,)), *others])) == []


def test_equal_seeds_drop_the_same_and_each_of_them_counts():
    network = twice_dropped()

    def kept(*seeds: int) -> np.ndarray:
        for state, seed in zip(seed_states(network), seeds, strict=True):
            state.assign([seed, 0])
        return np.asarray(network(ONES, training=True)) > 0

    np.testing.assert_array_equal(kept(1, 2), kept(1, 2))
    assert not np.array_equal(kept(1, 2), kept(1, 3))
    assert not np.array_equal(kept(1, 2), kept(3, 2))
    assert 0.15 < kept(1, 2).mean() < 0.35


def test_a_network_that_dropped_once_drops_others_next_time_until_its_seeds_are_set_again():
    network = twice_dropped()
    before = [state.numpy() for state in seed_states(network)]
    first, second = (np.asarray(network(ONES, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    for state, value in zip(seed_states(network), before, strict=True):
        state.assign(value)
    np.testing.assert_array_equal(network(ONES, training=True), first)
