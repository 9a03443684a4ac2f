"""Networks of every kind that an engine must cut right, each with a hook where it is to be pruned.

A hook is called with the tensor that the channels leave: `Mask` there is the slow way, put by hand.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

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


def residual(inside: Hook, behind: Hook | None = None) -> keras.Model:
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(6, 3, activation="relu", name="stem")(images)
    x = layers.Conv2D(4, 3, padding="same", name="conv_1")(stem)
    x = layers.BatchNormalization(name="bn_1")(x)
    x = inside(layers.Activation("relu", name="relu_1")(x))
    x = layers.Conv2D(6, 3, padding="same", name="conv_2")(x)
    x = layers.BatchNormalization(name="bn_2")(x)
    x = layers.Add(name="add")([stem, x])
    x = layers.ReLU(name="relu_2")(x)
    x = behind(x) if behind else x
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def residual_sum(site: Hook) -> keras.Model:
    return residual(untouched, site)


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
    x = layers.Flatten(name="flatten")(x)
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
    x = layers.Flatten(name="flatten")(layers.Add(name="add")([stem, x]))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def preactivation_stem(site: Hook) -> keras.Model:
    images = keras.Input(SHAPE)
    stem = site(layers.Conv2D(6, 3, padding="same", name="stem")(images))
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(stem))
    x = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    x = layers.Flatten(name="flatten")(layers.Add(name="add")([stem, x]))
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
    x = layers.Flatten(name="flatten")(x)
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


def operation(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = site(keras.ops.relu(layers.Conv2D(6, 3, name="conv")(x)))
    x = keras.ops.max(x, axis=(1, 2))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def transposed(site: Hook) -> keras.Model:
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(x)
    x = site(layers.Conv2DTranspose(6, 3, strides=2, activation="relu", name="transposed")(x))
    x = layers.Conv2D(4, 3, activation="relu", name="conv_b")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(layers.Flatten(name="flatten")(x)))


def no_bias(site: Hook) -> keras.Model:
    """Once all channels are pruned all scores are 0: the first class wins, exactly."""
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, activation="relu", name="conv")(x))
    x = layers.Conv2D(4, 3, activation="relu", use_bias=False, name="conv_b")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(images, layers.Dense(5, use_bias=False, name="scores")(x))


def saturated(site: Hook) -> keras.Model:
    """Sigmoids of large scores are all 1: the first class wins."""
    x = images = keras.Input(SHAPE)
    x = site(layers.Conv2D(6, 3, activation="relu", name="conv")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Rescaling(1e6, name="large")(x))
    return keras.Model(images, layers.Dense(5, activation="sigmoid", name="scores")(x))


def padded_sum(site: Hook) -> keras.Model:
    """Linear far behind the cut: padding, pooling, normalisation and a sum with another branch."""
    images = keras.Input(SHAPE)
    stem = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(images)
    x = site(layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(stem))
    y = layers.ZeroPadding2D(1, name="padding")(x)
    y = layers.Conv2D(6, 3, name="conv_b")(y)
    y = layers.BatchNormalization(name="bn")(y)
    y = layers.Add(name="add")([y, stem, x])
    y = layers.AveragePooling2D(2, name="pool")(y)
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Concatenate(name="both")([y, y]))
    x = layers.Dense(7, activation="relu", name="fc")(x)
    return keras.Model(images, layers.Dense(5, activation="softmax", name="scores")(x))


def _unit(x, filters: int, name: str, strides: int = 1, inside: Hook | None = None):
    """A residual block of two convolutions with BatchNormalization."""
    skip = x
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, name=f"{name}_conv_1")(x)
    x = layers.BatchNormalization(name=f"{name}_bn_1")(x)
    x = layers.ReLU(name=f"{name}_relu_1")(x)
    x = inside(x) if inside else x
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv_2")(x)
    x = layers.BatchNormalization(name=f"{name}_bn_2")(x)
    if skip.shape != x.shape:
        skip = layers.Conv2D(filters, 1, strides, use_bias=False, name=f"{name}_skip")(skip)
        skip = layers.BatchNormalization(name=f"{name}_skip_bn")(skip)
    return layers.ReLU(name=f"{name}_relu_2")(layers.Add(name=f"{name}_add")([x, skip]))


def resnet_20(site: Hook, behind: Hook | None = None) -> keras.Model:
    """He et al.'s ResNet-20 for small images: three stages of three blocks."""
    x = images = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, 4):
            strides = 2 if stage > 1 and block == 1 else 1
            here = site if (stage, block) == (3, 2) else None
            x = _unit(x, filters, f"block_{stage}_{block}", strides, here)
    x = behind(x) if behind else x
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(10, activation="softmax", name="scores")(x))


def resnet_20_sum(site: Hook) -> keras.Model:
    return resnet_20(untouched, site)


def mobile(site: Hook) -> keras.Model:
    """Like MobileNet: depthwise and pointwise convolutions, each with BatchNormalization."""
    x = images = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    for number, filters in enumerate((16, 24), start=1):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"deep_{number}")(x)
        x = layers.BatchNormalization(name=f"deep_bn_{number}")(x)
        x = layers.ReLU(6.0, name=f"deep_relu_{number}")(x)
        x = site(x) if number == 2 else x
        x = layers.Conv2D(filters, 1, use_bias=False, name=f"point_{number}")(x)
        x = layers.BatchNormalization(name=f"point_bn_{number}")(x)
        x = layers.ReLU(6.0, name=f"point_relu_{number}")(x)
    x = layers.Flatten(name="flatten")(layers.Dropout(0.2, name="dropout")(x))
    return keras.Model(images, layers.Dense(10, activation="softmax", name="scores")(x))


def transferred(site: Hook) -> keras.Model:
    """A functional base two levels deep in a Sequential head, as transfer learning makes them."""
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    block = keras.Input(x.shape[1:])
    y = layers.Conv2D(6, 3, padding="same", name="conv")(block)
    y = site(layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(y)))
    y = layers.Conv2D(4, 3, padding="same", name="conv_b")(y)
    block = keras.Model(block, layers.Add(name="add")([y, block]), name="block")
    base = keras.Model(images, layers.ReLU(name="relu")(block(x)), name="base")
    stack = [
        keras.Input(SHAPE),
        layers.Rescaling(0.5, name="rescaling"),
        base,
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(5, name="scores"),
    ]
    return keras.Sequential(stack, name="transferred")


def transformer(site: Hook) -> keras.Model:
    """Two blocks on four tokens; the scores are of their mean."""
    images = keras.Input((8, 8, 3))
    x = _blocks(images, site)
    x = layers.GlobalAveragePooling1D(name="pool")(
        layers.LayerNormalization(center=False, name="norm")(x)
    )
    return keras.Model(images, layers.Dense(5, activation="softmax", name="scores")(x))


def first_token(site: Hook) -> keras.Model:
    """The same, of which a single token is read, by two layers."""
    images = keras.Input((8, 8, 3))
    x = layers.LayerNormalization(name="norm")(_blocks(images, site))[:, 0]
    x = layers.Dense(7, name="head")(layers.Dropout(0.5, name="drop")(x))
    return keras.Model(images, layers.Dense(5, name="scores")(x))


def _blocks(images: keras.KerasTensor, site: Hook) -> keras.KerasTensor:
    """Attention and an MLP of 10 channels, twice; the site is in the second MLP."""
    x = layers.Conv2D(6, 4, strides=4, name="patches")(images)
    x = layers.Reshape((-1, 6), name="tokens")(x)
    for block in (1, 2):
        normal = layers.LayerNormalization(center=False, name=f"norm_{block}_1")(x)
        attention = layers.MultiHeadAttention(2, 3, name=f"attention_{block}")
        x = layers.Add(name=f"attended_{block}")([x, attention(normal, normal)])
        hidden = layers.Dense(10, activation="gelu", name=f"hidden_{block}")
        hidden = hidden(layers.LayerNormalization(center=False, name=f"norm_{block}_2")(x))
        hidden = site(hidden) if block == 2 else hidden
        x = layers.Add(name=f"add_{block}")([x, layers.Dense(6, name=f"out_{block}")(hidden)])
    return x


# prune.layer, site, and whether weights can be zeroed in place of a mask
CASES = {
    lenet: ("conv_2", "conv_2", True),
    normalised: ("conv_2", "relu_2", True),
    residual: ("conv_1", "relu_1", True),
    residual_sum: ("add", "relu_2", False),
    softplus: ("conv", "softplus", False),
    sigmoid: ("conv", "conv", False),
    perceptron: ("hidden_2", "hidden_2", True),
    depthwise: ("depthwise", "leaky", True),
    separable: ("separable", "separable", True),
    transposed: ("transposed", "transposed", True),
    operation: ("conv", "relu", True),
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
    transferred: ("base.block.conv", "base.block.relu", True),
    padded_sum: ("conv", "conv", True),
    no_bias: ("conv", "conv", True),
    saturated: ("conv", "conv", True),
    resnet_20: ("block_3_2_conv_1", "block_3_2_relu_1", True),
    resnet_20_sum: ("block_3_3_add", "block_3_3_relu_2", False),
    mobile: ("deep_2", "deep_relu_2", True),
    flattened: ("flatten", "flatten", False),
    transformer: ("hidden_2", "hidden_2", True),
    first_token: ("hidden_2", "hidden_2", True),
}


def untouched(maps: keras.KerasTensor) -> keras.KerasTensor:
    return maps


def randomized(network: keras.Model, seed: int = 0) -> keras.Model:
    """`network` with random values in every variable, so that nothing cancels out."""
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        value = rng.normal(size=variable.shape)
        if variable.name == "kernel":
            value *= 2 / np.sqrt(np.prod(variable.shape[:-1]))
        if variable.name == "bias":
            value *= 0.1
        if variable.name == "moving_variance":
            value = 0.5 + np.abs(value)
        variable.assign(value)
    return network


def by_hand(network: keras.Model, changes: dict[str, list[str]], channels: np.ndarray):
    """A copy of `network` in which `channels` of some layers' weights are zero."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for layer, names in changes.items():
        for name in names:
            value = getattr(copy.get_layer(layer), name).numpy()
            value[..., channels] = 0
            getattr(copy.get_layer(layer), name).assign(value)
    return copy
