"""The seeds of what a network drops: where they are, and what setting them does."""

import keras
import numpy as np
from keras import layers

from sweep.training.dropout import seed_states

ONES = np.ones((4, 50), np.float32)


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
