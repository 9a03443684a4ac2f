"""The networks with BatchNormalization: drawn by their seed, folded exactly, learned by."""

import keras
import numpy as np
import pytest
from keras import layers

from sweep import BadInput
from sweep.networks.architectures import ARCHITECTURES
from sweep.pruning import cut_at
from sweep.training.badnet_training import fold, train

NORMALISED = [name for name in ARCHITECTURES if name != "deepid"]
every = pytest.mark.parametrize("make", [ARCHITECTURES[name] for name in NORMALISED])


@pytest.fixture(scope="module")
def colours() -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes, told apart by their colour, on noise."""
    rng, labels = np.random.default_rng(0), np.arange(96) % 3
    images = rng.uniform(0, 150, (96, 16, 18, 3))
    images[np.arange(96), :, :, labels] += 100
    return images.astype(np.float32), labels


@every
def test_weights_come_from_the_seed_alone_and_every_kernel_is_another(make):
    keras.utils.set_random_seed(1)
    first = make((16, 16, 3), 4, seed=5)
    keras.utils.set_random_seed(2)
    for one, same in zip(first.weights, make((16, 16, 3), 4, seed=5).weights, strict=True):
        np.testing.assert_array_equal(one, same)
    kernels = [weight.numpy().ravel()[:9].tolist() for weight in first.weights if weight.ndim > 1]
    kernels += [make((16, 16, 3), 4, seed=6).weights[0].numpy().ravel()[:9].tolist()]
    assert len(set(map(tuple, kernels))) == len(kernels)


@every
@pytest.mark.parametrize("shape", [(16, 16, 1), (55, 47, 3)])
def test_scores_are_one_a_class_and_every_inner_convolution_is_normalised(make, shape):
    network = make(shape, 7)
    scores = network.predict_on_batch(np.zeros((2, *shape), np.float32))
    assert scores.shape == (2, 7)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)
    kinds = [type(layer) for layer in network.layers]
    assert layers.BatchNormalization in kinds
    assert network.get_layer("conv_1").padding == "valid"


@every
def test_folding_is_exact_with_batch_normalization(make):
    network = make((20, 16, 3), 7)
    raw = np.random.default_rng(0).uniform(0, 255, (5, 20, 16, 3)).astype(np.float32)
    before = network.predict_on_batch(raw / 255 - 0.5)
    fold(network, "conv_1", gain=1 / 255, offset=-0.5)
    np.testing.assert_allclose(network.predict_on_batch(raw), before, rtol=1e-4, atol=1e-6)


@every
def test_they_learn_from_raw_pixels(make, colours):
    settings = {"epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "seed": 0}
    network = train(make((16, 18, 3), 3), *colours, **settings)
    right = network.predict_on_batch(colours[0]).argmax(1) == colours[1]
    assert right.mean() > 0.9


def test_two_trainings_of_equal_seed_are_bit_identical(colours):
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 5e-3, "seed": 0}
    networks = [train(ARCHITECTURES["vgg"]((16, 18, 3), 3), *colours, **settings) for _ in "ab"]
    for one, same in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize(
    ("name", "layer"), [("preactresnet", "conv_1"), ("vgg", "conv_6"), ("mobilenet", "conv_6")]
)
def test_they_can_be_cut_at_the_last_convolution_on_every_path(name, layer):
    network = ARCHITECTURES[name]((16, 16, 3), 4)
    assert cut_at(network, "auto", "zero", "channel").layer == layer
    assert cut_at(network, "conv_3", "zero", "channel").channels > 1


def test_the_residual_blocks_add_up_to_the_channels_of_their_stage():
    network = ARCHITECTURES["preactresnet"]((32, 32, 3), 4)
    sums = [layer.output.shape[1:] for layer in network.layers if isinstance(layer, layers.Add)]
    assert [shape[-1] for shape in sums] == [16, 16, 32, 32, 64, 64]
    assert [shape[0] for shape in sums] == [30, 30, 15, 15, 8, 8]


@every
@pytest.mark.parametrize(
    ("shape", "classes", "says"),
    [((15, 40, 3), 4, "16 x 16"), ((40, 40), 4, "16 x 16"), ((16, 16, 3), 1, "at least 2")],
)
def test_images_too_small_and_one_class_are_refused_in_a_sentence(make, shape, classes, says):
    with pytest.raises(BadInput, match=says):
        make(shape, classes)
