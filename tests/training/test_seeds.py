"""The random numbers of a network: every generator is seeded, wherever and whatever it is."""

import keras
import numpy as np
import pytest
from keras import layers

from sweep.training.seeds import seed_states
from sweep.training.trainee import Trainee

SHAPE = (8, 8, 3)


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
