"""Where a network is cut, what is ranked there, and the pruned copy."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications.convnext import ConvNeXt  # of any size
from numpy.typing import ArrayLike
from zoo import (
    PIXELS,
    SHAPE,
    all_convolutional,
    branches,
    by_hand,
    depthwise,
    first_token,
    lenet,
    normalised,
    one_relu,
    perceptron,
    randomized,
    residual,
    separable,
    transformer,
    untouched,
)

from sweep import BadInput, NotApplicable
from sweep.data import Images
from sweep.networks import clone, deepid, digest, forward, load
from sweep.networks.forward import predict
from sweep.networks.loading import as_functional
from sweep.pruning import Activations, Cut, LayerActivations, cut_at
from sweep.pruning.incremental import linear


def answers(cut: Cut, pixels: np.ndarray, channels: ArrayLike):
    """B's classes after each of `channels`, (len(channels) + 1, n)."""
    images = Images(pixels, np.zeros(len(pixels), dtype=np.int64))
    return LayerActivations(cut, images).predict_steps(np.asarray(channels))


def maps(cut: Cut, pixels: np.ndarray) -> np.ndarray:
    images = Images(pixels, np.zeros(len(pixels), dtype=np.int64))
    return np.concatenate(list(LayerActivations(cut, images, ranked=True)))


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
    told = answers(cut, faces, channels)
    assert len(np.unique(told, axis=0)) > 5
    steps = np.linspace(0, cut.channels, 7, dtype=int)
    for step in steps:
        pruned = cut.pruned(channels[:step])
        np.testing.assert_array_equal(predict(pruned, faces), told[step])
    if layer != "add_1":
        carrier = {"auto": "conv_3", "pool_3": "conv_3"}.get(layer, layer)
        slow = by_hand(small_deepid, {carrier: ["kernel", "bias"]}, channels[: steps[3]])
        np.testing.assert_array_equal(predict(slow, faces), told[steps[3]])


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
    answers(cut, faces, np.arange(cut.channels))
    cut.pruned(np.arange(30))
    assert digest(small_deepid) == before[0]
    np.testing.assert_array_equal(predict(small_deepid, faces), before[1])


def test_maps_are_the_activations_of_the_site(small_deepid, faces):
    cut = Cut(small_deepid)
    made = maps(cut, faces)
    assert made.shape == (60, 4, 4, 60)
    assert made.dtype == np.float32
    slow = keras.Model(small_deepid.input, small_deepid.get_layer("conv_3").output)
    np.testing.assert_allclose(made, slow(faces), rtol=1e-5, atol=1e-6)


def test_weights_are_the_kernel_of_the_layer_that_produces_the_channels(small_deepid):
    kernel = small_deepid.get_layer("conv_3").kernel.numpy()
    np.testing.assert_array_equal(Cut(small_deepid, "conv_3").weights, kernel)
    np.testing.assert_array_equal(Cut(small_deepid, "pool_3").weights, kernel)
    assert Cut(small_deepid, "add_1").weights is None
    network = randomized(normalised(untouched))
    kernel = network.get_layer("conv_2").kernel.numpy()
    for layer in ("conv_2", "bn_2", "relu_2", "pool_2"):
        np.testing.assert_array_equal(Cut(network, layer).weights, kernel)


@pytest.mark.parametrize("layer", ["conv_3", "conv_1", ["conv_2", "conv_3"]])
def test_progress_is_told_every_image_once_and_between_steps(
    layer, small_deepid, faces, monkeypatch
):
    monkeypatch.setattr(forward, "MAX_BATCH", 16)
    monkeypatch.setattr(linear, "TOGETHER", 1)
    cut, told = cut_at(small_deepid, layer), []
    images = Images(faces, np.zeros(60, np.int64))
    Activations(cut, images).predict_steps(np.arange(3), told.append)
    assert sum(told) == pytest.approx(60)
    assert max(told) == 8, "half of a batch for the pass to the cut"
    assert len(told) >= 4 * (1 + 3)


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
    layer, semantics, zeroed
):
    network = randomized(normalised(untouched))
    cut = Cut(network, layer, semantics)
    channels = np.array([4, 0, 5, 2, 1, 3])
    told = answers(cut, PIXELS, channels)
    assert len(np.unique(told, axis=0)) > 2
    for step in range(7):
        slow = by_hand(network, {"bn_2": zeroed}, channels[:step])
        np.testing.assert_array_equal(told[step], predict(slow, PIXELS))
        pruned = cut.pruned(channels[:step])
        for ours, theirs in zip(pruned.get_weights(), slow.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_only_gamma_does_not_apply_where_there_is_no_normalisation():
    network = randomized(residual(untouched))
    with pytest.raises(NotApplicable, match=r"gamma needs a BatchNormalization of .* 'add'"):
        Cut(network, "add", "gamma")


@pytest.mark.parametrize("layer", ["norm_2_2", "attended_2", "hidden_2"])
def test_a_layer_normalisation_has_no_gamma_of_a_channel(layer):
    with pytest.raises(NotApplicable, match="a LayerNormalization mixes channels"):
        Cut(randomized(transformer(untouched)), layer, "gamma")


@pytest.mark.parametrize("layer", ["attended_1", "add_1", "add_2", "norm_1_2", "norm"])
@pytest.mark.parametrize(
    "builder", [transformer, first_token], ids=lambda builder: builder.__name__
)
def test_a_residual_stream_and_a_layer_normalisation_are_masked_where_they_stand(builder, layer):
    network = randomized(builder(untouched))
    pixels = np.random.default_rng(6).normal(size=(60, 8, 8, 3)).astype(np.float32)
    cut, channels = Cut(network, layer), np.random.default_rng(7).permutation(6)
    told = answers(cut, pixels, channels)
    assert len(np.unique(told, axis=0)) > 2, "this case shows nothing"
    for step in range(7):
        scale = np.where(np.isin(np.arange(6), channels[:step]), 0.0, 1.0).tolist()

        def masked(called, *args, scale=scale, **kwargs):
            made = called(*args, **kwargs)
            return layers.Rescaling(scale)(made) if called.name == layer else made

        slow = clone(network, call_function=masked)(pixels)
        np.testing.assert_array_equal(told[step], np.argmax(slow, axis=1))
        np.testing.assert_allclose(cut.pruned(channels[:step])(pixels), slow, atol=1e-5)


def test_only_gamma_is_masked_by_a_constant_where_its_weights_serve_others_too():
    images = keras.Input(SHAPE)
    norm = layers.BatchNormalization(name="norm")
    left = norm(layers.Conv2D(6, 3, name="left")(images))
    right = layers.ReLU(name="relu")(norm(layers.Conv2D(6, 3, name="right")(images)))
    both = layers.Flatten(name="flatten")(layers.Add(name="add")([left, right]))
    network = randomized(keras.Model(images, layers.Dense(5, name="scores")(both)))
    cut = Cut(network, "right", "gamma")
    constant = np.maximum(network.get_layer("norm").beta.numpy(), 0)
    np.testing.assert_array_equal(cut.pruned_value, constant)
    made = maps(cut, PIXELS)
    parts = [keras.Model(images, tensor) for tensor in (left, right)]
    other, site = (np.asarray(part(PIXELS)) for part in parts)
    np.testing.assert_allclose(made, site, rtol=1e-4, atol=1e-5)
    site = site.copy()
    site[..., [1, 4]] = constant[[1, 4]]
    slow = (other + site).reshape(len(PIXELS), -1)
    slow = np.asarray(network.get_layer("scores")(slow)).argmax(axis=1)
    np.testing.assert_array_equal(answers(cut, PIXELS, np.array([1, 4]))[2], slow)
    np.testing.assert_array_equal(predict(cut.pruned([1, 4]), PIXELS), slow)


def test_a_constant_that_a_prelu_makes_differ_by_position_is_refused():
    x = images = keras.Input(SHAPE)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv")(x))
    x = layers.Flatten(name="flatten")(layers.PReLU(name="prelu")(x))
    network = randomized(keras.Model(images, layers.Dense(5, name="scores")(x)))
    with pytest.raises(BadInput, match=r"prelu.*semantics=zero"):
        Cut(network, "conv", "gamma")
    cut = Cut(network, "conv", "zero")
    slow = by_hand(network, {"norm": ["gamma", "beta"]}, np.array([2, 3]))
    np.testing.assert_array_equal(answers(cut, PIXELS, [2, 3])[2], predict(slow, PIXELS))
    np.testing.assert_array_equal(cut.weights, network.get_layer("conv").kernel.numpy())


def test_a_normalisation_of_another_axis_is_not_taken_for_one_of_channels():
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.Flatten(name="flatten")(layers.BatchNormalization(axis=1, name="rows")(x))
    network = randomized(keras.Model(images, layers.Dense(5, name="scores")(x)))
    cut = Cut(network, "conv")
    assert cut.prune_layer == "conv"
    slow = by_hand(network, {"conv": ["kernel", "bias"]}, np.array([5, 1]))
    np.testing.assert_array_equal(answers(cut, PIXELS, [5, 1])[2], predict(slow, PIXELS))


def test_a_convolution_that_ends_in_softmax_can_be_pruned():
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="softmax", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    network = randomized(keras.Model(images, layers.Dense(5, name="scores")(x)))
    cut = Cut(network)
    made = maps(cut, PIXELS)
    made[..., [0, 3]] = 0
    scores = network.get_layer("scores")(made.reshape(len(PIXELS), -1))
    np.testing.assert_allclose(cut.pruned([0, 3])(PIXELS), scores, rtol=1e-4, atol=1e-5)


def test_a_sequential_network_is_cut_like_a_functional_one():
    stack = [
        layers.Conv2D(4, 3, activation="relu", name="conv_1"),
        layers.MaxPooling2D(2, name="pool_1"),
        layers.Conv2D(6, 3, activation="relu", name="conv_2"),
        layers.MaxPooling2D(2, padding="same", name="pool_2"),
        layers.Flatten(name="flatten"),
        layers.Dense(7, activation="relu", name="fc_1"),
        layers.Dense(5, activation="softmax", name="fc_2"),
    ]
    sequential = randomized(keras.Sequential([keras.Input(SHAPE), *stack]))
    functional = randomized(lenet(untouched))
    channels = np.array([3, 1, 5, 0, 4, 2])
    ours = answers(Cut(as_functional(sequential), "conv_2"), PIXELS, channels)
    theirs = answers(Cut(functional, "conv_2"), PIXELS, channels)
    np.testing.assert_array_equal(ours, theirs)


#: Images of four coloured fields each.
PATCHES = np.random.default_rng(8).uniform(0, 255, (30, 2, 2, 3)).astype(np.float32)
PATCHES = PATCHES.repeat(32, axis=1).repeat(32, axis=2)


@pytest.fixture(scope="module")
def convnext() -> keras.Model:
    """A ConvNeXt of keras.applications, but for its size."""
    network = ConvNeXt(
        depths=[1, 1, 1, 2],
        projection_dims=[4, 6, 8, 10],
        weights=None,
        input_shape=(64, 64, 3),
        classes=5,
        name="small",
    )
    network = as_functional(randomized(network))
    head = network.get_layer("small_head_dense")
    inputs = keras.Model(network.inputs[0], head.input)(PATCHES).numpy()
    head.bias.assign(-inputs.mean(axis=0) @ head.kernel.numpy())  # as training centres scores
    return network


@pytest.mark.parametrize(
    ("layer", "site"),
    [
        ("small_stage_3_block_1_pointwise_conv_1", "small_stage_3_block_1_gelu"),
        ("small_stage_3_block_0_depthwise_conv", "small_stage_3_block_0_depthwise_conv"),
        ("auto", "small_downsampling_conv_2"),
    ],
)
def test_a_block_of_a_convnext_is_pruned_as_its_pruned_copies_say(convnext, layer, site):
    cut = Cut(convnext, layer)
    assert (cut.prune_layer, cut.by_weights) == (site, True)
    channels = np.random.default_rng(9).permutation(cut.channels)
    told = answers(cut, PATCHES, channels)
    assert len(np.unique(told, axis=0)) > 2, "this case shows nothing"
    for step in {1, cut.channels // 2, cut.channels}:
        np.testing.assert_array_equal(told[step], predict(cut.pruned(channels[:step]), PATCHES))


def test_a_network_pruned_by_a_mask_can_be_pruned_again():
    network = randomized(residual(untouched))
    once = Cut(network, "add").pruned([0, 4])
    cut = Cut(once, "add")
    twice = cut.pruned([1, 4])
    straight = Cut(network, "add").pruned([0, 1, 4])
    np.testing.assert_allclose(twice(PIXELS), straight(PIXELS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["conv_1", "add"], ids=["zeroed weights", "mask"])
def test_a_pruned_network_survives_saving_and_safe_loading(layer, tmp_path):
    pruned = Cut(randomized(residual(untouched)), layer).pruned([1, 3])
    pruned.save(tmp_path / "pruned.keras")
    loaded = load(tmp_path / "pruned.keras")
    np.testing.assert_array_equal(loaded(PIXELS), pruned(PIXELS))


AUTO = {
    lenet: "conv_2",
    normalised: "conv_2",
    residual: "stem",
    depthwise: "pointwise",
    separable: "transpose",
    all_convolutional: "conv_1",  # conv_2 makes the class scores
    one_relu: "conv_3",
    branches: "stem",
    transformer: "hidden_2",
    first_token: "hidden_2",
}


@pytest.mark.parametrize("builder", AUTO, ids=lambda builder: builder.__name__)
def test_auto_is_the_last_convolution_on_every_path_or_a_transformers_last_hidden_layer(builder):
    assert Cut(as_functional(builder(untouched))).layer == AUTO[builder]


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
