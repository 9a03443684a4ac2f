"""The digest of a network: the same from whatever file, another for other weights."""

import keras
import pytest
from keras import layers

from sweep.networks import digest, load


@pytest.mark.parametrize("name", ["network.keras", "network.h5"])
def test_a_digest_is_the_same_after_reloading_and_another_for_other_weights(name, small, tmp_path):
    network = small()
    network.save(tmp_path / name)
    first, again = load(tmp_path / name), load(tmp_path / name)
    assert digest(first) == digest(again)
    before = digest(again)
    again.get_layer("conv_1").bias.assign(again.get_layer("conv_1").bias + 1e-6)
    assert digest(again) != before
    assert digest(again) == digest(again)


def test_a_digest_of_a_network_without_names_is_the_same_after_reloading(tmp_path):
    sequential = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
    for name in ("network.keras", "network.h5"):
        sequential.save(tmp_path / name)
        assert digest(load(tmp_path / name)) == digest(load(tmp_path / name))
