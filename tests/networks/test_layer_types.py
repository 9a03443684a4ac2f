"""What is said of each kind of layer, against what the layer does to maps that probe it."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from zoo import randomized

from sweep.networks import layer_types
from sweep.networks.layer_types import (
    AFFINE,
    PRODUCERS,
    filters,
    is_affine,
    is_channelwise,
    makes_channels,
    without_activation,
    zero_channels,
)

RNG = np.random.default_rng(0)

#: Layers that make channels, with the shape of an image of theirs, by name.
MAKERS: dict[str, tuple[Callable[..., layers.Layer], tuple[int, ...]]] = {
    "Conv1D": (lambda **how: layers.Conv1D(5, 3, **how), (6, 4)),
    "Conv2D": (lambda **how: layers.Conv2D(5, (3, 2), **how), (6, 5, 4)),
    "strided": (lambda **how: layers.Conv2D(5, 3, strides=2, padding="same", **how), (6, 5, 4)),
    "dilated": (lambda **how: layers.Conv2D(5, 2, dilation_rate=2, **how), (6, 5, 4)),
    "grouped": (lambda **how: layers.Conv2D(6, 3, groups=2, **how), (6, 5, 4)),
    "Conv3D": (lambda **how: layers.Conv3D(5, 2, **how), (3, 3, 3, 4)),
    "Dense": (lambda **how: layers.Dense(5, **how), (7,)),
    "Dense of maps": (lambda **how: layers.Dense(5, **how), (3, 2, 4)),
    "Conv1DTranspose": (lambda **how: layers.Conv1DTranspose(5, 3, **how), (6, 4)),
    "Conv2DTranspose": (
        lambda **how: layers.Conv2DTranspose(5, (3, 2), strides=2, **how),
        (3, 4, 6),
    ),
    "Conv3DTranspose": (lambda **how: layers.Conv3DTranspose(5, 2, **how), (3, 2, 3, 4)),
    "DepthwiseConv1D": (lambda **how: layers.DepthwiseConv1D(3, **how), (6, 4)),
    "DepthwiseConv2D": (
        lambda **how: layers.DepthwiseConv2D(3, depth_multiplier=2, **how),
        (6, 5, 3),
    ),
    "SeparableConv1D": (lambda **how: layers.SeparableConv1D(5, 3, **how), (6, 4)),
    "SeparableConv2D": (
        lambda **how: layers.SeparableConv2D(5, (3, 2), depth_multiplier=3, **how),
        (6, 5, 4),
    ),
}

#: Layers that are affine though they have no weights.
WITHOUT_WEIGHTS = [
    (layers.AveragePooling1D(2), (6, 3)),
    (layers.AveragePooling2D(2, padding="same"), (5, 6, 3)),
    (layers.AveragePooling3D(2), (4, 4, 4, 2)),
    (layers.GlobalAveragePooling1D(), (6, 3)),
    (layers.GlobalAveragePooling2D(keepdims=True), (5, 6, 3)),
    (layers.GlobalAveragePooling3D(), (4, 4, 4, 2)),
    (layers.Dropout(0.5), (5, 6, 3)),
    (layers.SpatialDropout1D(0.5), (6, 3)),
    (layers.SpatialDropout2D(0.5), (5, 6, 3)),
    (layers.SpatialDropout3D(0.5), (4, 4, 4, 2)),
    (layers.Flatten(), (5, 6, 3)),
    (layers.Reshape((6, -1)), (5, 6, 3)),
    (layers.Permute((3, 1, 2)), (5, 6, 3)),
    (layers.ZeroPadding1D(2), (6, 3)),
    (layers.ZeroPadding2D(((1, 0), (2, 1))), (5, 6, 3)),
    (layers.ZeroPadding3D(1), (4, 4, 4, 2)),
    (layers.Cropping1D(1), (6, 3)),
    (layers.Cropping2D(((1, 0), (2, 1))), (5, 6, 3)),
    (layers.Cropping3D(1), (4, 4, 4, 2)),
    (layers.Identity(), (5, 6, 3)),
]
MERGES = [layers.Add(), layers.Subtract(), layers.Average(), layers.Concatenate()]
MERGES += [layers.Concatenate(axis=1)]


def shown(layer: layers.Layer) -> str:
    return type(layer).__name__


def maps(shape: tuple[int, ...], count: int = 3) -> NDArray[np.float32]:
    return RNG.normal(size=(count, *shape)).astype(np.float32)


def run(layer: layers.Layer, *inputs: NDArray) -> NDArray:
    return np.asarray(layer(inputs[0] if len(inputs) == 1 else list(inputs)))


def made(name: str, **how: object) -> tuple[layers.Layer, NDArray]:
    """A layer of MAKERS with weights in every variable, and images for it."""
    build, shape = MAKERS[name]
    layer = build(**how)
    images = maps(shape)
    layer(images)
    return randomized(layer), images


def normed(shape: tuple[int, ...] = (4, 4, 5), **how: object) -> layers.Layer:
    layer = layers.BatchNormalization(**how)
    layer(maps(shape))
    return randomized(layer)


def magnitudes(layer: layers.Layer, images: NDArray) -> NDArray:
    """What one-hot images of an image's middle are made into, added up in size, (channels,).

    The middle of a large image: every weight of a filter meets it once for every input channel.
    """
    shape = images.shape[1:]
    large = (*(15 for _ in shape[:-1]), shape[-1])
    total = 0
    for channel in range(shape[-1]):
        image = np.zeros((1, *large), np.float32)
        image[(0, *(7 for _ in shape[:-1]), channel)] = 1
        total = total + np.abs(run(layer, image)).reshape(
            -1, layer.compute_output_shape(image.shape)[-1]
        ).sum(axis=0, dtype=np.float64)
    return total


STRIDED = ("strided",)  # a one-hot image meets some of a strided filter's weights alone


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in STRIDED])
def test_filters_are_what_one_hot_images_show_of_a_layer(name):
    layer, images = made(name, use_bias=False)
    own = filters(layer)
    assert own.shape[-1] == layer.compute_output_shape(images.shape)[-1]
    norms = np.abs(own.reshape(-1, own.shape[-1])).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(magnitudes(layer, images), norms, rtol=1e-4)
    with_bias, _ = made(name, activation="relu")
    assert makes_channels(with_bias)
    assert filters(with_bias).shape == own.shape


@pytest.mark.parametrize("name", ["Conv2D", "grouped", "DepthwiseConv2D", "SeparableConv2D"])
def test_filters_make_what_the_layer_makes(name):
    layer, images = made(name, use_bias=False)
    own, out = filters(layer), run(layer, images)
    height, width = own.shape[:2]
    patch = images[:, :height, :width]
    if name == "grouped":
        parts = np.split(patch, 2, axis=-1), np.split(own, 2, axis=-1)
        slow = [np.einsum("nhwi,hwio->no", *part) for part in zip(*parts, strict=True)]
        slow = np.concatenate(slow, axis=-1)
    elif name == "DepthwiseConv2D":
        slow = np.einsum("nhwo,hwo->no", np.repeat(patch, 2, axis=-1), own[:, :, 0])
    else:
        slow = np.einsum("nhwi,hwio->no", patch, own)
    np.testing.assert_allclose(out[:, 0, 0], slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_silenced_channels_are_zero_and_all_others_as_they_were(name, use_bias):
    layer, images = made(name, use_bias=use_bias)
    before = run(layer, images)
    silent = np.array([3, 1])
    zero_channels(layer, silent)
    after = run(layer, images)
    assert (before[..., silent] != 0).any()
    np.testing.assert_array_equal(after[..., silent], 0)
    others = np.setdiff1d(np.arange(before.shape[-1]), silent)
    np.testing.assert_array_equal(after[..., others], before[..., others])


def test_silencing_no_channel_changes_nothing():
    for name in MAKERS:
        layer, _ = made(name)
        before = layer.get_weights()
        zero_channels(layer, np.array([], dtype=np.int64))
        for old, new in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("keep_beta", [True, False])
def test_of_a_normalisation_silenced_channels_are_constant(keep_beta, center):
    layer, images = normed(center=center), maps((4, 4, 5))
    before, silent = run(layer, images), np.array([4, 0])
    zero_channels(layer, silent, keep_beta=keep_beta)
    after = run(layer, images)
    constant = layer.beta.numpy()[silent] if center and keep_beta else np.zeros(2)
    assert not (center and keep_beta) or constant.all()
    np.testing.assert_allclose(
        after[..., silent], np.broadcast_to(constant, after[..., silent].shape), atol=1e-7
    )
    np.testing.assert_array_equal(after[..., [1, 2, 3]], before[..., [1, 2, 3]])


def test_of_a_normalisation_without_gamma_beta_alone_can_be_silenced():
    layer, images = normed(scale=False), maps((4, 4, 5))
    before, beta = run(layer, images), layer.beta.numpy()
    zero_channels(layer, np.array([2]), keep_beta=True)
    np.testing.assert_array_equal(run(layer, images), before)
    zero_channels(layer, np.array([2]))
    np.testing.assert_allclose(run(layer, images)[..., 2], before[..., 2] - beta[2], atol=1e-5)


def assert_affine(layer: layers.Layer, *shapes: tuple[int, ...]) -> None:
    """As Keras calls it in inference: f(x + y) + f(0) = f(x) + f(y), and so f(2 x)."""
    assert is_affine(layer)
    some, others = ([maps(shape) for shape in shapes] for _ in range(2))
    nothing = [np.zeros_like(one) for one in some]
    both = [one + other for one, other in zip(some, others, strict=True)]
    double = [2 * one for one in some]
    zero = run(layer, *nothing)
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(
        run(layer, *both) + zero, run(layer, *some) + run(layer, *others), **tolerance
    )
    np.testing.assert_allclose(run(layer, *double) + zero, 2 * run(layer, *some), **tolerance)


@pytest.mark.parametrize("name", MAKERS)
def test_layers_that_make_channels_are_affine_without_their_activation(name):
    layer, images = made(name, activation="relu")
    with without_activation(layer):
        assert_affine(layer, images.shape[1:])
    zero, some = run(layer, np.zeros_like(images)), run(layer, images)
    assert (np.abs(run(layer, 2 * images) + zero - 2 * some) > 1e-3).any(), "it is dressed again"


@pytest.mark.parametrize(("layer", "shape"), WITHOUT_WEIGHTS, ids=lambda it: shown(it))
def test_layers_without_weights_that_are_said_to_be_affine_are(layer, shape):
    assert_affine(layer, shape)


@pytest.mark.parametrize("layer", MERGES, ids=shown)
def test_merges_are_affine_in_all_their_inputs_together(layer):
    assert_affine(layer, (4, 5, 3), (4, 5, 3))


@pytest.mark.parametrize("how", [{}, {"scale": False}, {"center": False}, {"axis": 1}])
def test_normalisations_are_affine(how):
    assert_affine(normed(**how), (4, 4, 5))


def test_every_kind_that_is_affine_is_probed():
    probed = {type(layer) for layer, _ in WITHOUT_WEIGHTS} | set(map(type, MERGES))
    assert probed == set(AFFINE)
    assert {type(build()) for build, _ in MAKERS.values()} == set(PRODUCERS)


@pytest.mark.parametrize(
    "layer",
    [
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Multiply(),
        layers.LayerNormalization(),
        layers.Activation("linear"),
        layers.Softmax(),
        layers.GaussianNoise(0.1),
        layers.UnitNormalization(),
    ],
    ids=shown,
)
def test_nothing_else_is_taken_for_affine(layer):
    assert not is_affine(layer)


def test_a_quantised_layer_is_not_taken_for_affine():
    """It rounds what comes in, by the largest of it."""
    layer = layers.Dense(5)
    layer(maps((7,)))
    randomized(layer).quantize("int8")
    some = maps((7,), 20)
    rounded = run(layer, some) + run(layer, some[::-1]) - run(layer, some + some[::-1])
    assert np.abs(rounded - run(layer, np.zeros_like(some))).max() > 1e-3
    assert not is_affine(layer)
    assert not makes_channels(layer)


def test_of_a_layer_whose_kernel_is_a_sum_of_weights_these_are_not_known():
    layer = layers.Dense(5)
    layer(maps((7,)))
    layer.enable_lora(2)
    assert not makes_channels(layer)
    assert is_affine(layer)


PASSING = [
    layers.ReLU(6.0, negative_slope=0.1),
    layers.LeakyReLU(),
    layers.ELU(),
    layers.PReLU(),
    layers.PReLU(shared_axes=[1, 2]),
    *map(layers.Activation, ["relu", "tanh", "silu", "softplus", "gelu", "mish", "exponential"]),
    layers.MaxPooling2D(2),
    layers.MaxPooling2D(3, strides=1, padding="same"),
    layers.AveragePooling2D(2),
    layers.GlobalMaxPooling2D(),
    layers.GlobalAveragePooling2D(),
    layers.Dropout(0.5),
    layers.SpatialDropout2D(0.5),
    layers.BatchNormalization(),
    layers.BatchNormalization(axis=3),
]


@pytest.mark.parametrize("layer", PASSING, ids=shown)
def test_layers_that_are_said_to_keep_channels_apart_do(layer):
    images = maps((6, 4, 5))
    layer(images)
    randomized(layer)
    assert is_channelwise(layer)
    before = run(layer, images)
    assert before.shape[-1] == 5
    for channel in range(5):
        changed = images.copy()
        changed[..., channel] = 3 - changed[..., channel]
        after = run(layer, changed)
        others = np.arange(5) != channel
        np.testing.assert_array_equal(after[..., others], before[..., others])
        assert (after[..., channel] != before[..., channel]).any()


def share(maps):
    """Each channel's part of the sum: a function of somebody's that mixes channels."""
    return maps / keras.ops.sum(maps, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    "layer",
    [
        *map(layers.Activation, ["softmax", "log_softmax", "sparsemax", "glu"]),
        layers.Activation(share),
        layers.Activation(keras.ops.softmax),
        layers.Softmax(),
        layers.LayerNormalization(),
        layers.GroupNormalization(1),
        layers.UnitNormalization(),
        layers.BatchNormalization(axis=1),
        layers.MaxPooling2D(2, data_format="channels_first"),
        layers.GlobalAveragePooling2D(data_format="channels_first"),
        layers.Flatten(),
        layers.Conv2D(5, 1),
        layers.DepthwiseConv2D(3),
    ],
    ids=shown,
)
def test_layers_that_may_mix_channels_do_not_pass_them(layer):
    if not isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.MaxPooling2D):
        layer.build((None, 6, 4, 6))
    assert not is_channelwise(layer)


class Dense(layers.Dense):
    pass


class Conv2D(layers.Conv2D):
    pass


class ReLU(layers.ReLU):
    pass


class Activation(layers.Activation):
    pass


class MaxPooling2D(layers.MaxPooling2D):
    pass


class BatchNormalization(layers.BatchNormalization):
    pass


class Flatten(layers.Flatten):
    pass


@pytest.mark.parametrize(
    "layer",
    [
        Dense(5),
        Conv2D(5, 3),
        ReLU(),
        Activation("relu"),
        MaxPooling2D(2),
        BatchNormalization(),
        Flatten(),
    ],
    ids=shown,
)
def test_a_subclass_of_a_known_kind_is_taken_for_anything(layer):
    layer.build((None, 6, 4, 5))
    assert not makes_channels(layer)
    assert not is_channelwise(layer)
    assert not is_affine(layer)
    assert not layer_types.is_activation(layer)
    assert not layer_types.is_norm(layer)


def test_channels_that_stand_first_are_not_made_on_the_last_axis():
    assert makes_channels(layers.Conv2D(5, 3))
    assert not makes_channels(layers.Conv2D(5, 3, data_format="channels_first"))


def test_operations_are_activations_where_they_are_one_and_nothing_else():
    x = keras.Input((4, 4, 5))
    by_name = {
        "relu": True,
        "silu": True,
        "sigmoid": True,
        "tanh": True,
        "softmax": False,
        "exp": False,
    }
    for name, expected in by_name.items():
        operation = keras.Model(x, getattr(keras.ops, name)(x)).operations[-1]
        assert layer_types.is_activation(operation) is expected
        assert is_channelwise(operation) is expected
        assert not is_affine(operation)


def test_an_activation_of_its_own_is_told_from_none():
    assert not layer_types.has_activation(layers.Conv2D(5, 3))
    assert not layer_types.has_activation(layers.Dense(5, activation="linear"))
    assert not layer_types.has_activation(layers.MaxPooling2D(2))
    assert layer_types.has_activation(layers.Dense(5, activation="softmax"))
    assert layer_types.is_softmax(layers.Dense(5, activation="softmax"))
    assert layer_types.is_softmax(layers.Activation("softmax"))
    assert not layer_types.is_softmax(layers.Dense(5, activation="sigmoid"))
    assert layer_types.is_linear(layers.Dense(5))
    assert not layer_types.is_linear(layers.Dense(5, activation="relu"))
    assert not layer_types.is_linear(layers.ReLU())


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_an_undressed_layer_is_dressed_again_whatever_happens(error):
    layer, images = made("Conv2D", activation="relu")
    dressed = run(layer, images)

    def undress() -> None:
        with without_activation(layer):
            bare = run(layer, images)
            np.testing.assert_array_equal(np.maximum(bare, 0), dressed)
            assert (bare < 0).any()
            if error:
                raise error

    if error:
        with pytest.raises(error):
            undress()
    else:
        undress()
    assert layer.activation is keras.activations.relu
    np.testing.assert_array_equal(run(layer, images), dressed)


def test_a_layer_without_an_activation_is_undressed_as_it_is():
    for layer in (layers.Conv2D(5, 3), layers.MaxPooling2D(2)):
        before = dict(vars(layer))
        with without_activation(layer):
            assert vars(layer) == before
        assert vars(layer) == before
