"""The engine against the slow way: mask one channel more, run the whole network again."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from sweep import BadInput, NotApplicable, networks
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


def untouched(maps: keras.KerasTensor) -> keras.KerasTensor:
    return maps


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


@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_every_step_is_what_the_slow_way_gives(builder, drawn, monkeypatch):
    monkeypatch.setattr(networks, "BATCH", 16)
    network = plain(drawn(builder(untouched)))
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
        np.testing.assert_allclose(pruned(pixels), scores, rtol=1e-4, atol=1e-5)
        masks = [layer.name for layer in pruned.layers if layer.name.endswith("_mask")]
        assert masks == ([] if by_weights else [f"{site}_mask"])
    assert digest(network) == before


@pytest.fixture(scope="module")
def small_deepid() -> keras.Model:
    network = deepid((31, 31, 3), 6, seed=1)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if layer.weights:
            layer.bias.assign(rng.normal(size=layer.bias.shape) * 0.05)
    return network


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(60, 31, 31, 3)).astype(np.float32)


@pytest.mark.parametrize("layer", ["auto", "conv_2", "pool_3", "conv_4", "fc_1", "add_1"])
def test_deepid_pruned_step_by_step_is_deepid_with_zeroed_kernel_and_bias(
    layer, small_deepid, faces
):
    cut = Cut(small_deepid, layer)
    channels = np.random.default_rng(6).permutation(cut.channels)
    answers = cut.answers(faces, channels)
    assert len(np.unique(answers, axis=0)) > 5
    steps = np.linspace(0, cut.channels, 7, dtype=int)
    for step in steps:
        pruned = cut.pruned(channels[:step])
        np.testing.assert_array_equal(predict(pruned, faces), answers[step])
    if layer != "add_1":
        carrier = {"auto": "conv_3", "pool_3": "conv_3"}.get(layer, layer)
        slow = by_hand(small_deepid, {carrier: ["kernel", "bias"]}, channels[: steps[3]])
        np.testing.assert_array_equal(predict(slow, faces), answers[steps[3]])


def test_pruning_zeroes_kernel_and_bias_of_these_channels_and_nothing_else(small_deepid):
    before = small_deepid.get_weights()
    pruned = Cut(small_deepid).pruned([7, 3, 59])
    for layer in small_deepid.layers:
        for old, new in zip(layer.weights, pruned.get_layer(layer.name).weights, strict=True):
            expected = old.numpy().copy()
            if layer.name == "conv_3":
                expected[..., [3, 7, 59]] = 0
            np.testing.assert_array_equal(new.numpy(), expected)
    for old, new in zip(before, small_deepid.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_nothing_pruned_is_the_same_network(small_deepid):
    assert digest(Cut(small_deepid).pruned([])) == digest(small_deepid)


def test_cutting_and_answering_leave_the_network_as_it_was(small_deepid, faces):
    before = digest(small_deepid), predict(small_deepid, faces)
    cut = Cut(small_deepid)
    cut.answers(faces, np.arange(cut.channels))
    cut.pruned(np.arange(30))
    assert digest(small_deepid) == before[0]
    np.testing.assert_array_equal(predict(small_deepid, faces), before[1])


def test_maps_are_the_activations_of_the_site(small_deepid, faces):
    cut = Cut(small_deepid)
    maps = cut.maps(faces)
    assert maps.shape == (60, 4, 4, 60)
    assert maps.dtype == np.float32
    slow = keras.Model(small_deepid.input, small_deepid.get_layer("conv_3").output)
    np.testing.assert_allclose(maps, slow(faces), rtol=1e-5, atol=1e-6)


def test_weights_are_the_kernel_of_the_layer_that_produces_the_channels(small_deepid, drawn):
    kernel = small_deepid.get_layer("conv_3").kernel.numpy()
    np.testing.assert_array_equal(Cut(small_deepid, "conv_3").weights, kernel)
    np.testing.assert_array_equal(Cut(small_deepid, "pool_3").weights, kernel)
    assert Cut(small_deepid, "add_1").weights is None
    network = drawn(normalised(untouched))
    kernel = network.get_layer("conv_2").kernel.numpy()
    for layer in ("conv_2", "bn_2", "relu_2", "pool_2"):
        np.testing.assert_array_equal(Cut(network, layer).weights, kernel)


def test_progress_is_told_every_image_once(small_deepid, faces, monkeypatch):
    monkeypatch.setattr(networks, "BATCH", 25)
    told = []
    Cut(small_deepid).answers(faces, np.arange(3), told.append)
    assert told == [25, 25, 10]


@pytest.mark.parametrize(
    ("layer", "semantics", "zeroed"),
    [
        ("conv_2", "zero", ["gamma", "beta"]),
        ("conv_2", "gamma", ["gamma"]),
        ("pool_2", "zero", ["gamma", "beta"]),
        ("pool_2", "gamma", ["gamma"]),
    ],
)
def test_where_a_batch_normalisation_follows_it_is_its_weights_that_are_zeroed(
    layer, semantics, zeroed, drawn
):
    network = drawn(normalised(untouched))
    cut = Cut(network, layer, semantics)
    channels = np.array([4, 0, 5, 2, 1, 3])
    answers = cut.answers(PIXELS, channels)
    assert len(np.unique(answers, axis=0)) > 2
    for step in range(7):
        slow = by_hand(network, {"bn_2": zeroed}, channels[:step])
        np.testing.assert_array_equal(answers[step], predict(slow, PIXELS))
        pruned = cut.pruned(channels[:step])
        for ours, theirs in zip(pruned.get_weights(), slow.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_only_gamma_does_not_apply_where_there_is_no_normalisation(drawn):
    network = drawn(residual(untouched))
    with pytest.raises(NotApplicable, match=r"gamma needs a BatchNormalization of .* 'add'"):
        Cut(network, "add", "gamma")


def test_only_gamma_is_masked_by_a_constant_where_its_weights_serve_others_too(drawn):
    images = keras.Input(SHAPE)
    norm = layers.BatchNormalization(name="norm")
    left = norm(layers.Conv2D(6, 3, name="left")(images))
    right = layers.ReLU(name="relu")(norm(layers.Conv2D(6, 3, name="right")(images)))
    both = layers.Flatten(name="flatten")(layers.Add(name="add")([left, right]))
    network = drawn(keras.Model(images, layers.Dense(5, name="scores")(both)))
    cut = Cut(network, "right", "gamma")
    constant = np.maximum(network.get_layer("norm").beta.numpy(), 0)
    np.testing.assert_array_equal(cut.pruned_value, constant)
    maps = cut.maps(PIXELS)
    parts = [keras.Model(images, tensor) for tensor in (left, right)]
    other, site = (np.asarray(part(PIXELS)) for part in parts)
    np.testing.assert_allclose(maps, site, rtol=1e-4, atol=1e-5)
    site = site.copy()
    site[..., [1, 4]] = constant[[1, 4]]
    slow = (other + site).reshape(len(PIXELS), -1)
    slow = np.asarray(network.get_layer("scores")(slow)).argmax(axis=1)
    np.testing.assert_array_equal(cut.answers(PIXELS, np.array([1, 4]))[2], slow)
    np.testing.assert_array_equal(predict(cut.pruned([1, 4]), PIXELS), slow)


def test_a_constant_that_a_prelu_makes_differ_by_position_is_refused(drawn):
    x = images = keras.Input(SHAPE)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv")(x))
    x = layers.Flatten(name="flatten")(layers.PReLU(name="prelu")(x))
    network = drawn(keras.Model(images, layers.Dense(5, name="scores")(x)))
    with pytest.raises(BadInput, match=r"prelu.*semantics=zero"):
        Cut(network, "conv", "gamma")
    cut = Cut(network, "conv", "zero")
    slow = by_hand(network, {"norm": ["gamma", "beta"]}, np.array([2, 3]))
    np.testing.assert_array_equal(cut.answers(PIXELS, [2, 3])[2], predict(slow, PIXELS))
    np.testing.assert_array_equal(cut.weights, network.get_layer("conv").kernel.numpy())


def test_a_normalisation_of_another_axis_is_not_taken_for_one_of_channels(drawn):
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.Flatten(name="flatten")(layers.BatchNormalization(axis=1, name="rows")(x))
    network = drawn(keras.Model(images, layers.Dense(5, name="scores")(x)))
    cut = Cut(network, "conv")
    assert cut.site == "conv"
    slow = by_hand(network, {"conv": ["kernel", "bias"]}, np.array([5, 1]))
    np.testing.assert_array_equal(cut.answers(PIXELS, [5, 1])[2], predict(slow, PIXELS))


def test_a_convolution_that_ends_in_softmax_can_be_pruned(drawn):
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="softmax", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    network = drawn(keras.Model(images, layers.Dense(5, name="scores")(x)))
    cut = Cut(network)
    maps = cut.maps(PIXELS)
    maps[..., [0, 3]] = 0
    scores = network.get_layer("scores")(maps.reshape(len(PIXELS), -1))
    np.testing.assert_allclose(cut.pruned([0, 3])(PIXELS), scores, rtol=1e-4, atol=1e-5)


def test_a_sequential_network_is_cut_like_a_functional_one(drawn):
    stack = [
        layers.Conv2D(4, 3, activation="relu", name="conv_1"),
        layers.MaxPooling2D(2, name="pool_1"),
        layers.Conv2D(6, 3, activation="relu", name="conv_2"),
        layers.MaxPooling2D(2, padding="same", name="pool_2"),
        layers.Flatten(name="flatten"),
        layers.Dense(7, activation="relu", name="fc_1"),
        layers.Dense(5, activation="softmax", name="fc_2"),
    ]
    sequential = drawn(keras.Sequential([keras.Input(SHAPE), *stack]))
    functional = drawn(lenet(untouched))
    channels = np.array([3, 1, 5, 0, 4, 2])
    ours = Cut(plain(sequential), "conv_2").answers(PIXELS, channels)
    theirs = Cut(functional, "conv_2").answers(PIXELS, channels)
    np.testing.assert_array_equal(ours, theirs)


def test_a_network_pruned_by_a_mask_can_be_pruned_again(drawn):
    network = drawn(residual(untouched))
    once = Cut(network, "add").pruned([0, 4])
    cut = Cut(once, "add")
    twice = cut.pruned([1, 4])
    straight = Cut(network, "add").pruned([0, 1, 4])
    np.testing.assert_allclose(twice(PIXELS), straight(PIXELS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["conv_1", "add"], ids=["zeroed weights", "mask"])
def test_a_pruned_network_survives_saving_and_safe_loading(layer, drawn, tmp_path):
    pruned = Cut(drawn(residual(untouched)), layer).pruned([1, 3])
    pruned.save(tmp_path / "pruned.keras")
    loaded = networks.load(tmp_path / "pruned.keras")
    np.testing.assert_array_equal(loaded(PIXELS), pruned(PIXELS))


AUTO = {
    lenet: "conv_2",
    normalised: "conv_2",
    residual: "stem",
    depthwise: "pointwise",
    separable: "transpose",
    all_convolutional: "conv_2",
    one_relu: "conv_3",
    branches: "stem",
}


@pytest.mark.parametrize("builder", AUTO, ids=lambda builder: builder.__name__)
def test_auto_is_the_last_convolution_through_which_every_path_passes(builder):
    assert Cut(plain(builder(untouched))).layer == AUTO[builder]


def test_auto_is_conv_3_of_deepid(small_deepid):
    assert Cut(small_deepid).layer == "conv_3"


def test_auto_without_a_convolution_lists_the_layers():
    with pytest.raises(BadInput, match=r"no convolution.*hidden_1, hidden_2, scores"):
        Cut(perceptron(untouched))


def test_an_unknown_layer_is_refused_with_the_list_of_layers():
    with pytest.raises(BadInput, match=r"'conv_9'.*does not have.*conv_1, pool_1, conv_2"):
        Cut(lenet(untouched), "conv_9")


@pytest.mark.parametrize("layer", ["images", "scores", "softmax"])
def test_input_and_output_are_refused_also_where_a_linear_layer_stands_there(layer):
    x = images = keras.Input(SHAPE, name="images")
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten(name="flatten")(layers.Conv2D(4, 3, name="conv")(x))
    scores = layers.Activation("softmax", name="softmax")(layers.Dense(5, name="scores")(x))
    with pytest.raises(BadInput, match="input or output; expected a layer between"):
        Cut(keras.Model(images, scores), layer)


def test_a_layer_that_is_used_twice_is_refused():
    with pytest.raises(BadInput, match=r"'again'.*uses 2 times; expected a layer.*used once"):
        Cut(branches(untouched), "again")


def test_a_layer_of_one_channel_is_refused():
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(1, 3, activation="relu", name="conv")(x)
    network = keras.Model(images, layers.Dense(5)(layers.Flatten()(x)))
    with pytest.raises(BadInput, match=r"'conv' of shape \(None, 10, 10, 1\); expected 2 channels"):
        Cut(network)


def test_a_layer_of_several_outputs_is_refused():
    images = keras.Input(SHAPE)
    two = [layers.Conv2D(channels, 3)(images) for channels in (2, 3)]
    two = keras.Model(images, two, name="two")
    x = layers.Concatenate()(two(images))
    network = keras.Model(images, layers.Dense(5)(layers.Flatten()(x)))
    with pytest.raises(BadInput, match=r"'two'.*2 outputs"):
        Cut(network, "two")
