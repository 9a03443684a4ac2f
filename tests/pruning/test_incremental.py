"""The engine against the slow way: mask one channel more, run the whole network again."""

import keras
import numpy as np
import pytest
from zoo import (
    CASES,
    Mask,
    all_convolutional,
    channel_softmax,
    ends_in_pool,
    first_token,
    lenet,
    long_way,
    mobile,
    operation,
    preactivation_stem,
    randomized,
    saturated,
    squeeze_excite,
    transformer,
    untouched,
)

from sweep.data import Images
from sweep.evaluation.curve import steps_of
from sweep.networks import digest, forward
from sweep.networks.graph import Graph
from sweep.networks.loading import as_functional
from sweep.pruning import Activations, Cut, incremental
from sweep.pruning.incremental import linear, steps
from sweep.pruning.incremental.entry import Entry

#: Which tails are not taken, so that another is, where it can be.
OTHERS: dict[str, tuple[str, ...]] = {
    "cheapest": (),
    "linear": ("normalized",),
    "pointwise": ("normalized", "linear"),
    "masked": ("normalized", "linear", "pointwise"),
}
#: Where nothing behind the cut is linear, or not in float32.
MASKED = [operation, preactivation_stem, all_convolutional, ends_in_pool, channel_softmax]
MASKED += [squeeze_excite, saturated]
CHEAPEST = {builder: "linear" for builder in CASES} | {builder: "masked" for builder in MASKED}
CHEAPEST |= {builder: "normalized" for builder in (transformer, first_token)}
probed = incremental.LinearTail._probed


@pytest.mark.parametrize("tail", ["cheapest", "linear", "pointwise", "masked"])
@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_every_step_is_what_the_slow_way_gives(builder, tail, monkeypatch):
    monkeypatch.setattr(forward, "MAX_BATCH", 16)
    for other in OTHERS[tail]:
        monkeypatch.setattr(steps, f"_{other}_tail", lambda graph, entry: None)
    original = randomized(builder(untouched))
    network = as_functional(original)
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
    answers = Activations(cut, images).predict_steps(channels)

    assert cut.layer == layer
    assert cut.prune_layer.startswith(site)  # Keras numbers operations
    assert answers.shape == (cut.channels + 1, 40)
    assert len(np.unique(answers, axis=0)) > 1, "this case shows nothing"
    if tail == "cheapest":
        assert cut.tail == CHEAPEST[builder]
    for step in range(cut.channels + 1):
        mask.channels = tuple(channels[:step])
        scores = np.asarray(slow(images.pixels))
        np.testing.assert_array_equal(answers[step], scores.argmax(axis=1))
        if tail != "cheapest" or step not in (1, cut.channels // 2, cut.channels):
            continue
        pruned = cut.pruned(channels[:step])
        np.testing.assert_allclose(pruned(images.pixels), scores, rtol=1e-4, atol=1e-5)
        masks = [layer.name for layer in pruned.layers if layer.name.endswith("_mask")]
        assert masks == ([] if by_weights else [f"{cut.prune_layer}_mask"])
    assert digest(network) == before


@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_it_does_not_matter_how_many_steps_are_taken_together(builder, monkeypatch):
    network = as_functional(randomized(builder(untouched)))
    rng = np.random.default_rng(5)
    pixels = rng.normal(size=(12, *network.input_shape[1:])).astype(np.float32)
    found = []
    for together, summed in ((1, 1), (linear.TOGETHER, 1000), (99 * 12, 3)):
        monkeypatch.setattr(linear, "TOGETHER", together)
        monkeypatch.setattr(linear, "SUMMED", summed)
        cut = Cut(network, CASES[builder][0])
        maps, *bypass = cut.boundary(pixels)
        channels = np.random.default_rng(5).permutation(cut.channels)
        channels = channels[: max(1, cut.channels - 1)]  # one is never pruned
        found.append(cut.predict_steps(maps, bypass, channels))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_masks_of_a_residual_network_are_taken_behind_sum_activation_and_pooling():
    cut = Cut(as_functional(randomized(long_way(untouched))), CASES[long_way][0])
    maps, *bypass = cut.boundary(np.zeros((3, *cut.network.input_shape[1:]), np.float32))
    longer = cut.choose_tail(maps, bypass)._entry.node
    assert longer is not cut.point.mask_node
    assert longer in cut.graph.channelwise_path(cut.point.mask_node)


def test_values_that_are_summed_by_one_product_are_those_of_one_after_the_other():
    images = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(20, 3, strides=2, activation="relu", name="conv")(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(2 * linear.SUMMED, activation="relu")(x)
    cut = Cut(randomized(keras.Model(images, keras.layers.Dense(5)(x))), "conv")
    pixels = np.random.default_rng(8).normal(size=(7, 6, 6, 3)).astype(np.float32)
    maps, *bypass = cut.boundary(pixels)
    tail = cut.choose_tail(maps, bypass)
    state = tail.start(maps, bypass)
    given = state.values, state.channel_maps, tail._contributions
    assert tail._is_wide
    np.testing.assert_allclose(tail._summed(*given), tail._scanned(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tail", ["linear", "pointwise"])
def test_of_large_maps_few_are_probed_at_a_time(tail, monkeypatch):
    for other in OTHERS[tail]:
        monkeypatch.setattr(steps, f"_{other}_tail", lambda graph, entry: None)
    network = as_functional(randomized(mobile(untouched)))
    layer = CASES[mobile][0]
    pixels = np.random.default_rng(7).normal(size=(9, *network.input_shape[1:])).astype(np.float32)
    values, found, probe = [], [], incremental.LinearTail._probe

    def watched(tail, maps):
        values.append(maps.size)
        return probe(tail, maps)

    monkeypatch.setattr(incremental.LinearTail, "_probe", watched)
    for most in (linear.PROBED, 1):
        monkeypatch.setattr(linear, "PROBED", most)
        cut = Cut(network, layer)
        maps, *bypass = cut.boundary(pixels)
        found.append(cut.choose_tail(maps, bypass)._contributions)
        assert cut.tail == tail
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert values.count(maps[0].size) > len(values) / 2, "one map a call"
    assert max(values) > maps[0].size


@pytest.mark.parametrize("tail", ["cheapest", "masked"])
@pytest.mark.parametrize("builder", CASES, ids=lambda builder: builder.__name__)
def test_a_curve_of_fewer_steps_is_the_whole_one_there(builder, tail, monkeypatch):
    for other in OTHERS[tail]:
        monkeypatch.setattr(steps, f"_{other}_tail", lambda graph, entry: None)
    network = as_functional(randomized(builder(untouched)))
    rng = np.random.default_rng(6)
    pixels = rng.normal(size=(24, *network.input_shape[1:]))
    pixels[12:] += rng.normal(size=(12, 1, 1, 1))
    cut = Cut(network, CASES[builder][0])
    maps, *bypass = cut.boundary(pixels.astype(np.float32))
    for channels in (rng.permutation(cut.channels), rng.permutation(cut.channels)[:-1]):
        whole = cut.predict_steps(maps, bypass, channels)
        for step in (2, 3, 0.4, len(channels), 1000):
            kept = steps_of(len(channels), step)
            found = cut.predict_steps(maps, bypass, channels, step)
            np.testing.assert_array_equal(found, whole[kept])


@pytest.mark.parametrize("tail", ["linear", "masked"])
def test_between_steps_no_image_is_asked_and_at_one_only_those_that_change(tail, monkeypatch):
    """Of 6 channels the images 0, 1, 2 ... have channel 0, 1, 2 ... active alone."""
    for other in OTHERS[tail]:
        monkeypatch.setattr(steps, f"_{other}_tail", lambda graph, entry: None)
    asked = []
    for kind in (incremental.LinearTail, incremental.MaskedTail):
        predict_along = kind.predict_along

        def watched(tail, state, channels, wanted, *progress, ask=predict_along):
            asked.append((channels.tolist(), [np.flatnonzero(row).tolist() for row in wanted]))
            return ask(tail, state, channels, wanted, *progress)

        monkeypatch.setattr(kind, "predict_along", watched)
    cut = Cut(as_functional(randomized(lenet(untouched))), "conv_2")
    maps, *bypass = cut.boundary(np.zeros((7, 12, 12, 3), np.float32))
    maps = np.zeros_like(maps)
    maps[np.arange(6), ..., np.arange(6)] = 1.0
    maps[6, ..., 1:5] = 1.0
    channels = np.array([0, 1, 2, 3, 4, 5])
    cut.predict_steps(maps, bypass, channels, 2)
    # an image is as it was until the first of its channels is pruned, and as it is then ever after
    assert asked == [([5, 4, 3, 2], [[], [6], [], [6]])]


def test_contributions_are_those_of_small_weights_beside_large_biases():
    images = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv")(images)
    x = keras.layers.Flatten(name="flatten")(x)
    network = randomized(keras.Model(images, keras.layers.Dense(4, name="scores")(x)))
    scores = network.get_layer("scores")
    scores.kernel.assign(scores.kernel * 1e-5)
    scores.bias.assign([1000.0, 1000.0, -1000.0, 1000.0])
    graph = Graph(network)
    node = graph.node_of("conv")
    entry = Entry(graph, [node], np.zeros(5, np.float32))
    tail = incremental.LinearTail(graph, entry, incremental.linear_part(graph, node))
    kernel = scores.kernel.numpy().reshape(4, 5, 4).swapaxes(0, 1)
    np.testing.assert_allclose(tail._contributions, kernel, rtol=1e-3, atol=1e-9)


def test_contributions_are_not_drowned_by_the_biases_of_many_positions():
    images = keras.Input((48, 48, 3))
    x = keras.layers.Conv2D(12, 3, padding="same", activation="relu", name="conv")(images)
    x = keras.layers.Conv2D(10, 1, name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(images, keras.layers.Activation("softmax", name="scores")(x))
    rng = np.random.default_rng(0)
    pixels = 0.6 * rng.random((100, 1, 1, 3)) + 0.4 * rng.random((100, 48, 48, 3))
    pixels = pixels.astype(np.float32)
    means = keras.Model(images, x)(pixels).numpy().mean(axis=0)
    network.get_layer("maps").bias.assign(-means)  # as training centres scores
    cut = Cut(network, "conv")
    channels = rng.permutation(12)
    told = Activations(cut, Images(pixels, np.zeros(100, np.int64))).predict_steps(channels)
    assert isinstance(cut._tail, incremental.LinearTail)
    for step in range(13):
        slow = forward.predict(cut.pruned(channels[:step]), pixels)
        np.testing.assert_array_equal(told[step], slow)


def test_where_contributions_do_not_add_up_the_maps_are_masked(monkeypatch):
    network = randomized(lenet(untouched))
    pixels = np.random.default_rng(3).normal(size=(40, *network.input_shape[1:]))
    images = Images(pixels.astype(np.float32), np.zeros(40, np.int64))
    right = Activations(Cut(network, "conv_2"), images).predict_steps(np.arange(6))
    monkeypatch.setattr(incremental.LinearTail, "_probed", lambda self: 2 * probed(self))
    cut = Cut(network, "conv_2")
    np.testing.assert_array_equal(Activations(cut, images).predict_steps(np.arange(6)), right)
    assert isinstance(cut._tail, incremental.MaskedTail)


class Mixing(keras.layers.Layer):
    """Has the softmax for its activation, and goes on behind it."""

    activation = staticmethod(keras.activations.softmax)

    def call(self, scores):
        return self.activation(scores) * keras.ops.arange(1.0, 6.0)


def test_a_softmax_inside_a_layer_of_unknown_kind_is_not_left_out():
    images = keras.Input((8, 7, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu", name="conv")(images)
    x = keras.layers.Dense(5, name="fc")(keras.layers.Flatten(name="flatten")(x))
    network = randomized(keras.Model(images, Mixing(name="mixing")(x)))
    pixels = np.random.default_rng(3).normal(size=(40, 8, 7, 3)).astype(np.float32)
    told = Activations(Cut(network, "conv"), Images(pixels, np.zeros(40, np.int64))).predict_steps(
        np.array([1, 2])
    )
    scores = np.asarray(network(pixels))
    np.testing.assert_array_equal(told[0], scores.argmax(axis=1))
