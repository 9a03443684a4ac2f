"""Convolutions of small maps as products with a matrix, against the layers themselves."""

import keras
import numpy as np
import pytest

from sweep.networks.graph import Graph
from sweep.pruning.incremental.small_maps import as_product

CASES = {
    "as at the end of VGG": ((2, 2, 3), {"kernel_size": 3, "padding": "same"}),
    "one position": ((1, 1, 4), {"kernel_size": 3, "padding": "same"}),
    "one row": ((1, 3, 3), {"kernel_size": 2, "padding": "same", "activation": "relu"}),
    "strides": ((2, 3, 3), {"kernel_size": 3, "strides": 2, "padding": "same"}),
    "dilated": ((2, 2, 3), {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}),
    "no bias": ((2, 3, 2), {"kernel_size": (2, 4), "padding": "same", "use_bias": False}),
}
LARGER = {
    "as many positions as weights": ((3, 3, 2), {"kernel_size": 3}),
    "groups": ((2, 2, 4), {"kernel_size": 3, "padding": "same", "groups": 2}),
    "of any size": ((None, None, 3), {"kernel_size": 3, "padding": "same"}),
}


def convolution(shape, settings):
    keras.utils.set_random_seed(0)
    images = keras.Input(shape)
    layer = keras.layers.Conv2D(6, bias_initializer="random_normal", **settings)
    network = keras.Model(images, layer(images))
    return Graph(network).nodes[1], layer


@pytest.mark.parametrize(("shape", "settings"), CASES.values(), ids=CASES)
def test_the_product_is_what_the_layer_makes(shape, settings):
    node, layer = convolution(shape, settings)
    maps = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    np.testing.assert_allclose(as_product(node)(maps), layer(maps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "settings"), LARGER.values(), ids=LARGER)
def test_other_layers_stay_as_they_are(shape, settings):
    assert as_product(convolution(shape, settings)[0]) is None


def test_a_layer_without_weights_stays_as_it_is():
    images = keras.Input((2, 2, 3))
    network = keras.Model(images, keras.layers.MaxPooling2D()(images))
    assert as_product(Graph(network).nodes[1]) is None
