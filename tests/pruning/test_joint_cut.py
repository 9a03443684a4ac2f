"""Several layers in one curve, against pruned copies that run whole, on all of the zoo."""

import keras
import numpy as np
import pytest
from zoo import CASES, lenet, normalised, randomized, residual, residual_sum, untouched

from sweep import BadInput, NotApplicable
from sweep.cache import Cache
from sweep.data import Images
from sweep.evaluation.curve import steps_of
from sweep.networks import digest, forward
from sweep.networks.loading import as_functional
from sweep.pruning import Activations, Cut, cut_at
from sweep.pruning.joint_cut import JointCut

MOST = 60  # channels that are pruned; more take minutes in a deep net


def lively(network: keras.Model, count: int = 24) -> np.ndarray:
    rng = np.random.default_rng(3)
    pixels = rng.normal(size=(count, *network.input_shape[1:]))
    pixels[count // 2 :] += rng.normal(size=(count - count // 2, 1, 1, 1))
    return pixels.astype(np.float32)


def labelled(pixels: np.ndarray, key: str = "") -> Images:
    return Images(pixels, np.zeros(len(pixels), dtype=np.int64), key=key)


#: Networks in which no two convolutions can be pruned.
ALONE = {"softplus", "perceptron", "operation", "long_way", "all_convolutional", "ends_in_pool"}
ALONE |= {
    "channel_softmax",
    "squeeze_excite",
    "saturated",
    "flattened",
    "transformer",
    "first_token",
}
SEVERAL = [builder for builder in CASES if builder.__name__ not in ALONE]


@pytest.mark.parametrize("builder", SEVERAL, ids=lambda builder: builder.__name__)
def test_every_step_is_what_the_pruned_copy_says(builder, monkeypatch):
    monkeypatch.setattr(forward, "MAX_BATCH", 16)
    network = as_functional(randomized(builder(untouched)))
    joint = cut_at(network, "all")
    assert isinstance(joint, JointCut)
    before, pixels = digest(network), lively(network)
    channels = np.random.default_rng(4).permutation(joint.channels)[:MOST]
    answers = Activations(joint, labelled(pixels)).predict_steps(channels)
    assert answers.shape == (len(channels) + 1, len(pixels))
    assert len(np.unique(answers, axis=0)) > 1, "this case shows nothing"
    for step in np.unique(np.linspace(0, len(channels), 7).astype(int)):
        scores = np.asarray(joint.pruned(channels[:step])(pixels, training=False))
        np.testing.assert_array_equal(answers[step], scores.argmax(axis=1))
        crossing = joint.boundary(pixels)
        told = joint.scores(crossing[0], crossing[1:], channels[:step])
        np.testing.assert_allclose(told, scores, rtol=1e-4, atol=1e-5)
    assert digest(network) == before


@pytest.mark.parametrize("builder", SEVERAL, ids=lambda builder: builder.__name__)
def test_a_curve_of_fewer_steps_is_the_whole_one_there(builder):
    network = as_functional(randomized(builder(untouched)))
    joint = cut_at(network, "all")
    pixels = lively(network)
    maps, *bypass = joint.boundary(pixels)
    channels = np.random.default_rng(4).permutation(joint.channels)[:MOST]
    whole = joint.predict_steps(maps, bypass, channels)
    for step in (2, 0.15, len(channels)):
        found = joint.predict_steps(maps, bypass, channels, step)
        np.testing.assert_array_equal(found, whole[steps_of(len(channels), step)])


def test_one_layer_in_a_list_is_that_layer_alone_and_all_of_one_too():
    network = as_functional(randomized(lenet(untouched)))
    assert isinstance(cut_at(network, ["conv_2"]), Cut)
    assert cut_at(network, ["conv_2"]).layer == cut_at(network, "conv_2").layer == "conv_2"
    assert cut_at(network).layer == Cut(network).layer


def test_channels_are_numbered_through_the_layers_in_the_order_images_reach_them():
    network = as_functional(randomized(lenet(untouched)))
    joint = cut_at(network, ["conv_2", "conv_1"])
    first, second = joint.parts
    assert (first.layer, second.layer) == ("conv_1", "conv_2")
    assert joint.channels == first.channels + second.channels
    named = [joint.locate(channel) for channel in range(joint.channels)]
    assert named[: first.channels] == [("conv_1", c) for c in range(first.channels)]
    assert named[first.channels :] == [("conv_2", c) for c in range(second.channels)]
    assert [joint.index_of(1, c) for c in range(2)] == [first.channels, first.channels + 1]
    dealt = joint.split_by_layer([first.channels + 1, 0, 2, first.channels])
    assert [own.tolist() for own in dealt] == [[0, 2], [1, 0]]


def test_a_joint_curve_of_one_layers_channels_first_begins_as_that_layers_own():
    network = as_functional(randomized(lenet(untouched)))
    joint, alone = cut_at(network, ["conv_1", "conv_2"]), Cut(network, "conv_2")
    images = labelled(lively(network, 40))
    own = np.random.default_rng(1).permutation(alone.channels)
    numbered = [joint.index_of(1, channel) for channel in own]
    channels = np.array([*numbered, *range(joint.parts[0].channels)])
    together = Activations(joint, images).predict_steps(channels)
    np.testing.assert_array_equal(
        together[: alone.channels + 1], Activations(alone, images).predict_steps(own)
    )


def test_all_passes_over_the_convolution_that_makes_the_scores():
    from zoo import all_convolutional

    network = as_functional(randomized(all_convolutional(untouched)))
    convolutions = [
        layer.name for layer in network.layers if isinstance(layer, keras.layers.Conv2D)
    ]
    joint = cut_at(network, "all")
    assert [part.layer for part in joint.parts] == convolutions[:-1]


@pytest.mark.parametrize("layers", [["conv_2", "conv_2"], ["conv_1", "relu_1"]])
def test_the_same_channels_twice_are_refused(layers):
    network = as_functional(randomized((lenet if "relu_1" not in layers else residual)(untouched)))
    with pytest.raises(BadInput, match="whose channels are the same; leave one of them out"):
        cut_at(network, layers)


def test_a_list_of_no_layer_is_refused():
    with pytest.raises(BadInput, match="names no layer"):
        cut_at(as_functional(lenet(untouched)), [])


def test_gamma_needs_a_normalisation_at_one_convolution_at_least():
    with pytest.raises(NotApplicable, match="needs a BatchNormalization"):
        cut_at(as_functional(randomized(lenet(untouched))), "all", "gamma")
    network = as_functional(randomized(normalised(untouched)))
    joint = cut_at(network, "all", "gamma")
    assert all(part.semantics == "gamma" for part in joint.parts)


@pytest.mark.parametrize("builder", [residual, residual_sum])
def test_gamma_of_several_layers_is_what_the_pruned_copy_says(builder):
    network = as_functional(randomized(builder(untouched)))
    joint = cut_at(network, "all", "gamma")
    assert isinstance(joint, JointCut)
    pixels = lively(network)
    channels = np.random.default_rng(5).permutation(joint.channels)
    answers = Activations(joint, labelled(pixels)).predict_steps(channels)
    for step in (0, joint.channels // 3, joint.channels):
        scores = np.asarray(joint.pruned(channels[:step])(pixels, training=False))
        np.testing.assert_array_equal(answers[step], scores.argmax(axis=1))


def test_a_batch_is_small_enough_for_all_that_is_kept_between_the_segments(monkeypatch):
    from sweep.pruning import joint_cut as module

    network = as_functional(randomized(lenet(untouched)))
    monkeypatch.setattr(module, "MAX_INPUT_BYTES", 1)
    assert cut_at(network, ["conv_1", "conv_2"]).tail_batch_size == 1


def test_the_answers_of_several_layers_are_kept(tmp_path, monkeypatch):
    network = as_functional(randomized(lenet(untouched)))
    joint, images = cut_at(network, "all"), labelled(lively(network), key="some")
    channels = np.arange(joint.channels)
    first = Activations(joint, images, Cache(str(tmp_path), 1, 0)).predict_steps(channels)
    monkeypatch.setattr(JointCut, "predict_steps", None)  # would fail if it were called
    again = Activations(cut_at(network, "all"), images, Cache(str(tmp_path), 1, 0)).predict_steps(
        channels
    )
    np.testing.assert_array_equal(first, again)
