"""The engine against the slow way: mask one channel more, run the whole network again."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from sweep import BadInput
from sweep.badnets import deepid
from sweep.cuts import Cut
from sweep.networks import digest, plain, predict

SHAPE = (12, 12, 3)
PIXELS = np.random.default_rng(2).normal(size=(50, *SHAPE)).astype(np.float32)

Hook = Callable[[keras.KerasTensor], keras.KerasTensor]
Builder = Callable[[Hook], keras.Model]


class Mask(layers.Layer):
    """Replaces channels by a value: the slow way, put by hand where a network is to be pruned."""

    value: float | np.ndarray = 0.0
    channels: tuple[int, ...] = ()

    def call(self, maps):
        pruned = np.isin(np.arange(maps.shape[-1]), self.channels)
        return keras.ops.where(pruned, keras.ops.cast(self.value, "float32"), maps)


def lenet(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", name="conv_1")(x)
    x = layers.MaxPooling2D(2, name="pool_1")(x)
    x = site(layers.Conv2D(6, 3, activation="relu", name="conv_2")(x))
    x = layers.MaxPooling2D(2, padding="same", name="pool_2")(x)
    x = layers.Dense(7, activation="relu", name="fc_1")(layers.Flatten(name="flatten")(x))
    return keras.Model(images, layers.Dense(5, activation="softmax", name="fc_2")(x))


def normalised(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", name="conv_1")(x)
    x = layers.Conv2D(6, 3, use_bias=False, name="conv_2")(x)
    x = layers.BatchNormalization(name="bn_2")(x)
    x = site(layers.ReLU(name="relu_2")(x))
    x = layers.AveragePooling2D(2, padding="same", name="pool_2")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def residual(inside: Hook, behind: Hook = lambda x: x) -> keras.Model:
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(6, 3, activation="relu", name="stem")(images)
    x = layers.Conv2D(4, 3, padding="same", name="conv_1")(stem)
    x = layers.BatchNormalization(name="bn_1")(x)
    x = inside(layers.Activation("relu", name="relu_1")(x))
    x = layers.Conv2D(6, 3, padding="same", name="conv_2")(x)
    x = layers.BatchNormalization(name="bn_2")(x)
    x = layers.Add(name="add")([stem, x])
    x = behind(layers.ReLU(name="relu_2")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def residual_sum(site: Hook) -> keras.Model:
    return residual(lambda x: x, site)


def softplus(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = site(layers.Activation("softplus", name="softplus")(x))
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def sigmoid(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, activation="sigmoid", name="conv")(x))
    x = layers.Conv2D(4, 3, name="conv_b")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def perceptron(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Dense(8, activation="relu", name="hidden_1")(layers.Flatten(name="flatten")(x))
    x = site(layers.Dense(6, activation="tanh", name="hidden_2")(x))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def depthwise(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = site(layers.LeakyReLU(name="leaky")(x))
    x = layers.Conv2D(4, 1, name="pointwise")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def separable(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.SeparableConv2D(6, 3, activation="elu", name="separable")(x))
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="relu", name="transpose")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def grouped(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = site(layers.Conv2D(6, 3, groups=2, activation="relu", name="grouped")(x))
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def preactivation(site: Hook) -> keras.Model:
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(6, 3, padding="same", name="stem")(images)
    x = layers.BatchNormalization(name="bn")(stem)
    x = site(layers.ReLU(name="relu")(x))
    x = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([stem, x]))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def preactivation_stem(site: Hook) -> keras.Model:
    images = keras.Input(SHAPE)
    stem = site(layers.Conv2D(6, 3, padding="same", name="stem")(images))
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(stem))
    x = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([stem, x]))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def long_way(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, name="conv")(x))
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.PReLU(name="prelu")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def all_convolutional(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", name="conv_1")(x)
    x = site(layers.Conv2D(5, 3, name="conv_2")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Activation("softmax", name="scores")(x))


def ends_in_pool(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(5, 3, activation="tanh", name="conv")(x))
    return keras.Model(images, layers.GlobalAveragePooling2D(name="pool")(x))


def channel_softmax(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, activation="tanh", name="conv")(x))
    x = layers.Activation("softmax", name="attention")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def squeeze_excite(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, activation="relu", name="conv")(x))
    gate = layers.GlobalAveragePooling2D(name="squeeze")(x)
    gate = layers.Dense(6, activation="sigmoid", name="excite")(gate)
    gate = layers.Reshape((1, 1, 6), name="reshape")(gate)
    x = layers.GlobalMaxPooling2D(name="pool")(layers.Multiply(name="gated")([x, gate]))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def one_relu(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    relu = layers.ReLU(name="relu")
    x = relu(layers.Conv2D(4, 3, name="conv_1")(x))
    x = site(relu(layers.Conv2D(6, 3, name="conv_2")(x)))
    x = relu(layers.Conv2D(4, 3, name="conv_3")(x))
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def one_softplus(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    softplus = layers.Activation("softplus", name="softplus")
    x = softplus(layers.Conv2D(4, 3, name="conv_1")(x))
    x = site(softplus(layers.Conv2D(6, 3, name="conv_2")(x)))
    x = softplus(layers.Conv2D(4, 3, name="conv_3")(x))
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def branches(site: Hook) -> keras.Model:
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(4, 3, activation="relu", name="stem")(images)
    left = site(layers.Conv2D(6, 3, padding="same", activation="relu", name="left")(stem))
    right = layers.Conv2D(3, 1, activation="relu", name="right")(stem)
    x = layers.Concatenate(name="both")([left, right, left])
    again = layers.Dense(3, activation="relu", name="again")
    x = layers.Flatten(name="flatten")(layers.Add(name="add")([again(x), again(x * 0.5)]))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def nested(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, activation="relu", name="conv")(x))
    inner = keras.Sequential([layers.Conv2D(3, 3, name="conv"), layers.Flatten()], name="inner")
    return keras.Model(images, layers.Dense(5, name="scores")(inner(x)))


def flattened(site: Hook) -> keras.Model:
    x = images = keras.Input((3, 3, 1))
    x = site(layers.Flatten(name="flatten")(layers.Conv2D(2, 2, name="conv")(x)))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


# prune.layer, site, and whether weights can be zeroed in place of a mask
CASES = {
    lenet: ("conv_2", "conv_2", True),
    normalised: ("conv_2", "relu_2", True),
    residual: ("conv_1", "relu_1", True),
    residual_sum: ("add", "relu_2", False),
    softplus: ("conv", "softplus", False),
    sigmoid: ("conv", "conv", False),
    perceptron: ("hidden_2", "hidden_2", True),
    depthwise: ("depthwise", "leaky", False),
    separable: ("separable", "separable", False),
    grouped: ("grouped", "grouped", True),
    preactivation: ("bn", "relu", True),
    preactivation_stem: ("stem", "stem", True),
    long_way: ("conv", "conv", True),
    all_convolutional: ("conv_2", "conv_2", True),
    ends_in_pool: ("conv", "conv", True),
    channel_softmax: ("conv", "conv", True),
    squeeze_excite: ("conv", "conv", True),
    one_relu: ("conv_2", "relu", True),
    one_softplus: ("conv_2", "softplus", False),
    branches: ("left", "left", True),
    nested: ("conv", "conv", True),
    flattened: ("flatten", "flatten", False),
}


@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_every_step_is_what_the_slow_way_gives(builder, drawn):
    network = plain(drawn(builder(lambda x: x)))
    pixels = np.random.default_rng(3).normal(size=(50, *network.input_shape[1:]))
    pixels = pixels.astype(np.float32)
    mask = Mask()
    slow = builder(mask)
    slow.set_weights(network.get_weights())
    before = digest(network)
    layer, site, by_weights = CASES[builder]

    cut = Cut(network, layer)
    channels = np.random.default_rng(4).permutation(cut.channels)
    answers = cut.answers(pixels, channels)

    assert (cut.layer, cut.site) == (layer, site)
    assert answers.shape == (cut.channels + 1, len(pixels))
    assert len(np.unique(answers, axis=0)) > 2, "this case shows nothing"
    for step in range(cut.channels + 1):
        mask.channels = tuple(channels[:step])
        scores = np.asarray(slow(pixels))
        np.testing.assert_array_equal(answers[step], scores.argmax(axis=1))
        pruned = cut.pruned(channels[:step])
        np.testing.assert_allclose(pruned(pixels, training=False), scores, rtol=1e-4, atol=1e-5)
        same_layers = [layer.name for layer in pruned.layers] == [
            layer.name for layer in network.layers
        ]
        assert same_layers == by_weights
    assert digest(network) == before
