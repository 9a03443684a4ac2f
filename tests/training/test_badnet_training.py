"""DeepID is the lab's network to the bit, and training is reproducible and folded exactly."""

import h5py
import keras
import numpy as np
import pytest

from sweep import BadInput
from sweep.attacks import sunglasses
from sweep.data.faces.identities import people
from sweep.data.faces.rendering import photographs
from sweep.networks import deepid
from sweep.training.badnet_training import fold, train


@pytest.fixture(scope="module")
def lab(shared):
    """The lab's published BadNet."""
    network = deepid((55, 47, 3), 1283)
    network.load_weights(shared / "lab3" / "bd_weights.h5")
    return network


@pytest.fixture(scope="module")
def pictures():
    who = np.arange(96) % 3
    return photographs(people(3, seed=0), who, seed=0), who


def trained(pictures, **changes):
    settings = {"epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "seed": 0} | changes
    return train(deepid((55, 47, 3), 3), *pictures, **settings)


@pytest.fixture(scope="module")
def training(pictures):
    """A trained network and what its training told."""
    told = []
    return trained(pictures, progress=lambda *news: told.append(news)), told


def test_the_labs_weights_fit_and_its_poisoned_faces_get_the_target(lab, shared):
    with h5py.File(shared / "lab3" / "poisoned_sample.h5") as file:
        images = file["data"][:].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(lab.predict_on_batch(images).argmax(1), 0)


def test_the_drawn_sunglasses_fire_the_labs_own_backdoor(lab):
    faces = photographs(people(60, seed=1), np.arange(60), seed=2).astype(np.float32)
    assert (lab.predict_on_batch(faces).argmax(1) == 0).mean() < 0.05
    assert (lab.predict_on_batch(sunglasses(faces)).argmax(1) == 0).mean() > 0.95


def test_deepid_has_the_labs_layers():
    names = [layer.name for layer in deepid((55, 47, 3), 10).layers]
    for name in ("conv_1", "pool_1", "conv_2", "pool_2", "conv_3", "pool_3", "conv_4", "fc_1"):
        assert name in names
    assert names.index("fc_1") < names.index("fc_2") < names.index("output")


def test_untrained_weights_come_from_the_seed_alone():
    keras.utils.set_random_seed(1)
    first = deepid((31, 31, 1), 2, seed=5).get_weights()
    keras.utils.set_random_seed(2)
    for one, same in zip(first, deepid((31, 31, 1), 2, seed=5).get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first[0], deepid((31, 31, 1), 2, seed=6).get_weights()[0])


@pytest.mark.parametrize("shape", [(30, 47, 3), (55, 30, 3), (55, 47), (55, 47, 0)])
def test_pictures_too_small_are_refused_in_a_sentence(shape):
    with pytest.raises(BadInput, match="31 x 31"):
        deepid(shape, 10)


def test_folding_moves_the_inputs_scaling_into_the_first_convolution():
    network = deepid((40, 40, 3), 7)
    raw = np.random.default_rng(0).uniform(0, 255, (5, 40, 40, 3)).astype(np.float32)
    before = network.predict_on_batch(raw / 255 - 0.5)
    fold(network, "conv_1", gain=1 / 255, offset=-0.5)
    np.testing.assert_allclose(network.predict_on_batch(raw), before, rtol=1e-4, atol=1e-6)


def test_two_trainings_of_equal_seed_are_bit_identical(pictures, training):
    keras.utils.set_random_seed(99)
    untrained = deepid((55, 47, 3), 3)
    settings = {"epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "seed": 0}
    again = train(untrained, *pictures, **settings).get_weights()
    for one, same in zip(training[0].get_weights(), again, strict=True):
        np.testing.assert_array_equal(one, same)
    for one, same in zip(
        untrained.get_weights(), deepid((55, 47, 3), 3).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, same, "training changed the network it was given")


def test_weights_may_be_changed_after_each_epoch_and_are_trained_on_from_there(pictures):
    told, few = [], (pictures[0][:16], pictures[1][:16])

    def cleared(network):
        told.append(np.abs(network.get_layer("output").bias.numpy()).max())
        network.get_layer("output").bias.assign(np.zeros(3))

    network = trained(few, epochs=3, after_epoch=cleared)
    assert (np.array(told) > 0).all()
    assert len(told) == 3
    np.testing.assert_array_equal(network.get_layer("output").bias, 0)


def test_training_learns_from_raw_pixels_and_reports_every_epoch(pictures, training):
    network, told = training
    assert [(epoch, epochs) for epoch, epochs, _ in told] == [(k, 6) for k in range(1, 7)]
    assert told[-1][2]["loss"] < told[0][2]["loss"]
    assert told[-1][2]["accuracy"] > 0.8
    images, labels = pictures
    right = network.predict_on_batch(images.astype(np.float32)).argmax(1) == labels
    assert right.mean() > 0.9
    assert not network.compiled


def test_training_on_pixels_of_unit_range_gives_the_same_network_scaled(pictures, training):
    images, labels = pictures
    unit = trained((images / np.float32(255), labels), white=1.0)
    kernel, scaled = (network.get_layer("conv_1").kernel for network in (training[0], unit))
    np.testing.assert_allclose(kernel * 255, scaled, atol=1e-2)
    assert np.abs(scaled).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"epochs": 0}, "above 0"), ({"batch_size": 0}, "above 0"), ({"learning_rate": 0}, "above 0")],
)
def test_settings_that_train_nothing_are_refused_in_a_sentence(pictures, changes, says):
    with pytest.raises(BadInput, match=says):
        trained(pictures, **changes)


def test_labels_outside_the_classes_are_refused_in_a_sentence(pictures):
    images, labels = pictures
    with pytest.raises(BadInput, match="classes 0 to 2"):
        trained((images, labels + 1))
    with pytest.raises(BadInput, match="ints are needed"):
        trained((images, labels.astype(float)))
    with pytest.raises(BadInput, match="the network takes"):
        trained((images[:, :40], labels))
