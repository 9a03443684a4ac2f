"""A shrunk network says what the pruned one says, in fewer weights; that one stays as it was."""

import keras
import numpy as np
import pytest
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers
from zoo import CASES, SHAPE, Mask, randomized, untouched

from sweep.networks import architectures, digest, load, shrunk
from sweep.networks.layer_types import makes_channels, zero_channels
from sweep.networks.loading import as_functional
from sweep.pruning import Cut, joint_cut

#: Networks where a single channel stays: a sum, a group or an unknown layer needs the others, and
#: to pick all but one of six would cost more than it saves.
STAYING = {
    zoo.residual_sum,
    zoo.preactivation,
    zoo.preactivation_stem,
    zoo.padded_sum,
    zoo.branches,
    zoo.grouped,
    zoo.operation,
    zoo.channel_softmax,
    zoo.all_convolutional,
    zoo.ends_in_pool,
    zoo.flattened,
}


SMALL = [builder for builder in CASES if not builder.__name__.startswith("resnet")]


def pixels(network: keras.Model) -> np.ndarray:
    """Images of which no two look the same to a network."""
    rng = np.random.default_rng(3)
    shape = network.input_shape[1:]
    both = rng.normal(size=(6, *shape)) + rng.normal(size=(6, *[1] * len(shape)))
    return both.astype(np.float32)


def scores(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a network gives, before its last softmax: that hides what differs."""
    last = network.layers[-1]
    was = getattr(last, "activation", None)
    if was is keras.activations.softmax:
        last.activation = keras.activations.linear
    made = np.asarray(network(images))
    if was is keras.activations.softmax:
        last.activation = was
    return made


def checked(network: keras.Model) -> keras.Model:
    """`network` shrunk, when it says the same and what it was made of is as it was."""
    before = digest(network)
    small = shrunk(network)
    assert digest(network) == before
    images = pixels(network)
    said = scores(network, images)
    off = 1e-5 * max(1, np.abs(said).max())
    np.testing.assert_allclose(scores(small, images), said, rtol=0, atol=off)
    assert small.output_shape == network.output_shape
    assert small.input_shape == network.input_shape
    names = [layer.name for layer in network.layers]
    left = [layer.name for layer in small.layers if layer.name in names]
    assert left == [name for name in names if name in left]
    assert all("_mask" in name for name in names if name not in left)
    assert all(layer.count_params() > 0 for layer in small.layers if makes_channels(layer))
    assert small.count_params() <= network.count_params()
    return small


def built(network: keras.Model, **zeros: list[int]) -> keras.Model:
    """`network` with random weights, but for the channels of layers that are zero, bias and all."""
    randomized(network)
    for name, channels in zeros.items():
        zero_channels(network.get_layer(name), np.array(channels))
    return network


def width(network: keras.Model, layer: str) -> int:
    return network.get_layer(layer).output.shape[-1]


@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_half_of_the_channels_go_from_every_kind_of_network(builder):
    network = as_functional(randomized(builder(untouched)))
    assert len(np.unique(scores(network, pixels(network)), axis=0)) > 1, "this case shows nothing"
    cut = Cut(network, CASES[builder][0])
    small = checked(cut.pruned(np.arange(0, cut.channels, 2)))
    pays = builder is not zoo.branches  # to pick 12 of 15 channels there takes as many weights
    assert (small.count_params() < network.count_params()) == pays


@pytest.mark.parametrize("builder", SMALL, ids=lambda builder: builder.__name__)
def test_one_channel_goes_or_stays_where_it_is_in_the_way(builder):
    network = as_functional(randomized(builder(untouched)))
    small = checked(Cut(network, CASES[builder][0]).pruned([1]))
    assert (small.count_params() < network.count_params()) == (builder not in STAYING)


@pytest.mark.parametrize("builder", SMALL, ids=lambda builder: builder.__name__)
def test_all_channels_pruned_leave_every_layer_one(builder):
    network = as_functional(randomized(builder(untouched)))
    cut = Cut(network, CASES[builder][0])
    small = checked(cut.pruned(np.arange(cut.channels)))
    assert small.count_params() < network.count_params()


GAMMA = [zoo.normalised, zoo.residual, zoo.preactivation, zoo.transferred, zoo.mobile]


@pytest.mark.parametrize("builder", GAMMA, ids=lambda builder: builder.__name__)
def test_what_beta_becomes_is_kept_with_gamma_semantics(builder):
    network = as_functional(randomized(builder(untouched)))
    cut = Cut(network, CASES[builder][0], "gamma")
    assert cut.pruned_value.any()
    small = checked(cut.pruned(np.arange(0, cut.channels, 2)))
    assert small.count_params() < network.count_params()


@pytest.mark.parametrize("builder", SMALL, ids=lambda builder: builder.__name__)
def test_where_nothing_is_constant_the_copy_is_equal(builder):
    network = as_functional(randomized(builder(untouched)))
    copy = shrunk(network)
    assert digest(copy) == digest(network)
    assert copy is not network
    assert not {*map(id, copy.weights)} & {*map(id, network.weights)}


SAVED = [zoo.lenet, zoo.preactivation_stem, zoo.grouped, zoo.operation, zoo.sigmoid, zoo.depthwise]


@pytest.mark.parametrize("builder", SAVED, ids=lambda builder: builder.__name__)
def test_the_file_loads_in_safe_mode_and_says_the_same(builder, tmp_path):
    network = as_functional(randomized(builder(untouched)))
    cut = Cut(network, CASES[builder][0])
    small = shrunk(cut.pruned(np.arange(0, cut.channels, 2)))
    small.save(tmp_path / "small.keras")
    again = load(tmp_path / "small.keras")
    images = pixels(network)
    np.testing.assert_array_equal(again(images), small(images))
    assert digest(again) == digest(small)
    assert digest(shrunk(cut.pruned(np.arange(0, cut.channels, 2)))) == digest(small)


def test_producer_and_consumer_lose_exactly_the_channels():
    network = randomized(zoo.lenet(untouched))
    small = checked(Cut(network, "conv_2").pruned([0, 3, 4]))
    left = [1, 2, 5]
    for name in ("conv_1", "fc_2"):
        for ours, theirs in zip(
            small.get_layer(name).weights, network.get_layer(name).weights, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    conv, fc = (network.get_layer(name).kernel.numpy() for name in ("conv_2", "fc_1"))
    np.testing.assert_array_equal(small.get_layer("conv_2").kernel, conv[..., left])
    rows = fc.reshape(4, 6, 7)[:, left].reshape(-1, 7)
    np.testing.assert_array_equal(small.get_layer("fc_1").kernel, rows)
    np.testing.assert_array_equal(small.get_layer("fc_1").bias, network.get_layer("fc_1").bias)


@pytest.mark.parametrize(
    ("builder", "sites"),
    [
        (zoo.lenet, ["conv_1", "conv_2"]),
        (zoo.residual, ["conv_1", "add"]),
        (zoo.mobile, ["stem", "deep_2", "point_1"]),
        (zoo.branches, ["left", "right"]),
        (zoo.resnet_20, ["block_1_1_conv_1", "block_3_2_conv_1", "block_3_3_add"]),
        (zoo.one_softplus, ["conv_1", "conv_2"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_several_layers_pruned_together(builder, sites):
    network = as_functional(randomized(builder(untouched)))
    cut = joint_cut.cut_at(network, sites)
    channels = np.random.default_rng(5).permutation(cut.channels)[: cut.channels // 2]
    small = checked(cut.pruned(channels))
    assert small.count_params() < network.count_params()


def chained(middle: list, shape: tuple[int, ...] = (6, 6, 3), first=None) -> keras.Model:
    """A convolution "conv" of 6 channels, `middle`, and scores."""
    x = images = keras.Input(shape)
    x = (first or layers.Conv2D(6, 3, padding="same", name="conv"))(x)
    for layer in middle:
        x = layer(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(x))


KINDS = {
    "a group that goes whole": [layers.Conv2D(8, 3, groups=2)],
    "several of each": [layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")],
    "separable": [layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same")],
    "transposed": [layers.Conv2DTranspose(4, 3, strides=2, padding="same")],
    "norm at another place": [layers.BatchNormalization(axis=3), layers.Conv2D(4, 1)],
    "slopes by place": [layers.PReLU(), layers.Conv2D(4, 3)],
    "one slope for all": [layers.PReLU(shared_axes=[1, 2, 3]), layers.Conv2D(4, 3)],
    "padding": [layers.ZeroPadding2D(2), layers.Conv2D(4, 3), layers.Cropping2D(1)],
    "larger": [layers.UpSampling2D(2), layers.Conv2D(4, 3)],
    "reshaped": [layers.Reshape((6, -1)), layers.Dense(4)],
    "dense on maps": [layers.Dense(4, activation="softmax"), layers.Dense(4, use_bias=False)],
    "scaled": [layers.Rescaling(2.0, offset=1.0), layers.Conv2D(4, 3, padding="same")],
    "no bias": [layers.Activation("sigmoid"), layers.Conv2D(4, 3, use_bias=False)],
    "no bias, padded": [
        layers.Activation("sigmoid"),
        layers.Conv2D(4, 3, use_bias=False, padding="same"),
    ],
    "pooled": [layers.GlobalAveragePooling2D(keepdims=True), layers.SpatialDropout2D(0.5)],
    "repeated": [layers.GlobalMaxPooling2D(), layers.RepeatVector(3), layers.Conv1D(4, 2)],
    "unknown": [layers.LayerNormalization(), layers.Conv2D(4, 3)],
    "custom": [Mask(name="custom"), layers.Conv2D(4, 3)],
    "operation": [keras.ops.square, layers.Conv2D(4, 3)],
    "sliced": [lambda x: x[..., 1:], layers.Conv2D(4, 3)],
    "permuted": [layers.Permute((3, 1, 2)), layers.Conv2D(4, 3)],
    "trained norm": [lambda x: layers.BatchNormalization()(x, training=True)],
    "gates": [lambda x: layers.Multiply()([x, layers.Dense(6, activation="sigmoid")(x)])],
    "a place's gate": [lambda x: layers.Multiply()([x, layers.Conv2D(1, 1)(x)])],
    "larger of two": [lambda x: layers.Maximum()([x, layers.Conv2D(6, 1)(x)])],
    "difference": [lambda x: layers.Subtract()([x, layers.Conv2D(6, 3, padding="same")(x)])],
    "mean": [lambda x: layers.Average()([x, x]), layers.Conv2D(4, 3)],
    "side by side": [lambda x: layers.Concatenate(1)([x, x]), layers.Conv2D(4, 3)],
    "behind itself": [lambda x: layers.Concatenate()([x, x * 2.0, x]), layers.Conv2D(4, 3)],
}


@pytest.mark.parametrize("middle", KINDS.values(), ids=KINDS)
def test_every_kind_of_layer_behind_pruned_channels(middle):
    small = checked(built(chained(middle), conv=[0, 1, 2, 4]))
    assert width(small, "conv") < 6


def test_a_shared_layer_is_cut_to_fit_all_its_calls():
    images = keras.Input(SHAPE)
    shared = layers.Conv2D(6, 3, padding="same", activation="relu", name="shared")
    norm = layers.BatchNormalization(name="norm")
    left = norm(shared(layers.Conv2D(6, 3, name="left")(images)))
    right = norm(shared(layers.Conv2D(6, 3, name="right")(images)))
    x = layers.Conv2D(4, 3, name="last")(layers.Concatenate(name="both")([left, right]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = randomized(keras.Model(images, layers.Dense(5, name="scores")(x)))
    for name, channels in {"left": [0, 1, 2, 3], "right": [1, 2, 3, 4]}.items():
        zero_channels(network.get_layer(name), np.array(channels))
    network.get_layer("norm").gamma.assign([1, 0, 1, 0, 1, 0])
    small = checked(network)
    assert small.get_layer("shared").kernel.shape == (3, 3, 3, 3)
    assert width(small, "both") == 6
    assert len(small.layers) == len(network.layers) + 2  # what each call is given


def test_a_mask_that_masks_nothing_any_more_goes():
    network = randomized(zoo.sigmoid(untouched))
    pruned = Cut(network, "conv").pruned([0, 1])
    assert [layer.name for layer in pruned.layers if layer.name.endswith("_mask")] == ["conv_mask"]
    small = checked(pruned)
    assert [layer.name for layer in small.layers][1:] == ["conv", "conv_b", "flatten", "scores"]


def test_a_channel_that_nobody_reads_goes_too():
    network = randomized(zoo.lenet(untouched))
    kernel = network.get_layer("conv_2").kernel
    kernel.assign(kernel * np.array([0, 1, 1, 1], np.float32)[:, None])
    small = checked(network)
    assert width(small, "conv_1") == 3


@pytest.mark.parametrize("change", ["mixed", "quantised", "adapted"])
def test_layers_whose_numbers_are_not_plain_are_left_alone(change):
    policy = "mixed_float16" if change == "mixed" else None
    conv = layers.Dense(6, name="conv", dtype=policy)
    network = built(chained([layers.Dense(4, dtype=policy)], first=conv))
    kernel = network.get_layer("conv").kernel
    kernel.assign(kernel * np.array([0, 0, 0, 1, 1, 1], np.float32))
    if change == "quantised":
        network.get_layer("conv").quantize("int8")
    if change == "adapted":
        network.get_layer("conv").enable_lora(2)
    small = shrunk(network)
    np.testing.assert_array_equal(small(pixels(network)), network(pixels(network)))
    assert width(small, "conv") == 6


def test_a_sequential_network_becomes_a_functional_one():
    conv = layers.Conv2D(6, 3, name="conv")
    stack = [keras.Input(SHAPE), conv, layers.Flatten(), layers.Dense(5, name="scores")]
    network = built(keras.Sequential(stack), conv=[0, 1, 2])
    small = checked(network)
    assert width(small, "conv") == 3


def test_deepid_is_smaller_in_weights_and_in_bytes(tmp_path):
    network = architectures.deepid((31, 31, 3), 11)
    pruned = Cut(network, "conv_3").pruned(np.arange(45))
    small = checked(pruned)
    assert [width(small, f"conv_{number}") for number in (1, 2, 3, 4)] == [20, 40, 15, 80]
    conv, fc_1, conv_4 = 45 * (9 * 40 + 1), 45 * 160, 45 * 4 * 80
    places = np.prod(network.get_layer("pool_3").output.shape[1:3])
    assert network.count_params() - small.count_params() == conv + places * fc_1 + conv_4
    for name, which in {"pruned": pruned, "small": small}.items():
        which.save(tmp_path / f"{name}.keras")
    assert (tmp_path / "small.keras").stat().st_size < (tmp_path / "pruned.keras").stat().st_size
    twice = shrunk(small)
    assert digest(twice) == digest(small)


def lively(activation: str, padding: str, normed: bool) -> keras.Model:
    """Two convolutions, their sum with a third, and scores; weights random."""
    images = keras.Input((5, 5, 2))
    stem = layers.Conv2D(4, 3, padding="same", activation=activation, name="stem")(images)
    x = layers.Conv2D(4, 3, padding="same", name="first")(stem)
    x = layers.BatchNormalization(name="norm")(x) if normed else x
    x = layers.Activation(activation, name="act")(x)
    x = layers.Add(name="add")([x, stem])
    x = layers.Conv2D(4, 3, padding=padding, activation=activation, name="second")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    return keras.Model(images, layers.Dense(3, name="scores")(x))


some = st.sets(st.integers(0, 3))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    activation=st.sampled_from(["relu", "sigmoid", "tanh"]),
    padding=st.sampled_from(["same", "valid"]),
    normed=st.booleans(),
    stem=some,
    first=some,
    second=some,
    bias=st.booleans(),
)
def test_any_channels_of_any_layers(activation, padding, normed, stem, first, second, bias):
    network = randomized(lively(activation, padding, normed))
    for name, channels in {"stem": stem, "first": first, "second": second}.items():
        layer = network.get_layer(name)
        kept = ~np.isin(np.arange(4), list(channels))
        layer.kernel.assign(layer.kernel * kept.astype(np.float32))
        if not bias:
            layer.bias.assign(layer.bias * kept.astype(np.float32))
    checked(network)
