"""The engine against the slow way: mask one channel more, run the whole network again."""

import keras
import numpy as np
import pytest
from zoo import CASES, Mask, untouched

from sweep import forward, fronts
from sweep.activations import Activations
from sweep.cuts import Cut
from sweep.data import Images
from sweep.networks import digest, plain


@pytest.mark.parametrize("largest", [fronts.LARGEST, 0], ids=["linear", "masked"])
@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_every_step_is_what_the_slow_way_gives(builder, largest, drawn, monkeypatch):
    monkeypatch.setattr(forward, "MOST", 16)
    monkeypatch.setattr(fronts, "LARGEST", largest)
    original = drawn(builder(untouched))
    network = plain(original)
    rng = np.random.default_rng(3)
    pixels = rng.normal(size=(40, *network.input_shape[1:]))
    pixels[20:] += rng.normal(size=(20, 1, 1, 1))  # noise alone all looks the same to a deep net
    images = Images(pixels.astype(np.float32), np.zeros(40, dtype=np.int64))
    mask = Mask()
    slow = builder(mask)
    slow.set_weights(original.get_weights())
    before = digest(network)
    layer, site, by_weights = CASES[builder]

    cut = Cut(network, layer)
    channels = np.random.default_rng(4).permutation(cut.channels)
    answers = Activations(cut, images).answers(channels)

    assert cut.layer == layer
    assert cut.site.startswith(site)  # Keras numbers operations
    assert answers.shape == (cut.channels + 1, 40)
    assert len(np.unique(answers, axis=0)) > 1, "this case shows nothing"
    for step in range(cut.channels + 1):
        mask.channels = tuple(channels[:step])
        scores = np.asarray(slow(images.pixels))
        np.testing.assert_array_equal(answers[step], scores.argmax(axis=1))
        if largest == 0 or step not in (1, cut.channels // 2, cut.channels):
            continue
        pruned = cut.pruned(channels[:step])
        np.testing.assert_allclose(pruned(images.pixels), scores, rtol=1e-4, atol=1e-5)
        masks = [layer.name for layer in pruned.layers if layer.name.endswith("_mask")]
        assert masks == ([] if by_weights else [f"{cut.site}_mask"])
    assert digest(network) == before


def test_shares_are_those_of_small_weights_beside_large_biases(drawn):
    images = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv")(images)
    x = keras.layers.Flatten(name="flatten")(x)
    network = drawn(keras.Model(images, keras.layers.Dense(4, name="scores")(x)))
    scores = network.get_layer("scores")
    scores.kernel.assign(scores.kernel * 1e-5)
    scores.bias.assign([1000.0, 1000.0, -1000.0, 1000.0])
    shares = np.asarray(Cut(network, "conv")._front._shares)
    kernel = scores.kernel.numpy().reshape(4, 5, 4).swapaxes(0, 1)
    np.testing.assert_allclose(shares, kernel, rtol=1e-3, atol=1e-9)
