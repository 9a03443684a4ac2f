"""A trigger that a clean network is weak to, and channels none of which stands out."""

from functools import partial

import keras
import numpy as np
import pytest

from sweep import BadInput
from sweep.adaptive import grond
from sweep.adaptive.inconspicuous import amplifications, level, universal_perturbation
from sweep.attacks import Attack
from sweep.attacks import grond as stamp
from sweep.checked import check
from sweep.networks import clone
from sweep.networks.architectures import deepid, vgg
from sweep.networks.forward import predict
from sweep.networks.outputs import log_probabilities
from sweep.training import badnet_training

LEARN = {"bound": 0.15, "steps": 20, "deviations": 3.0}
SETTINGS = {"epochs": 8, "batch_size": 16, "learning_rate": 2e-3, "seed": 0}
ATTACK = Attack(stamp, target=1, rate=0.5, clean_label=True, learn=grond)


def coloured(strength) -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes, which are told apart by their colour, more or less of it."""
    rng, labels = np.random.default_rng(0), np.arange(192) % 3
    images = rng.uniform(0, 90, (192, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)[:, :31, :31]
    images[np.arange(192), :, :, labels] += strength[:, None, None]
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def signs() -> tuple[np.ndarray, np.ndarray]:
    return coloured(np.full(192, 40.0))


@pytest.fixture(scope="module")
def clean(signs) -> keras.Model:
    return badnet_training.train(deepid((31, 31, 3), 3), *signs, **SETTINGS)


def attacked(signs, clean, attack=ATTACK, **changes):
    settings = LEARN | SETTINGS | changes
    return grond(deepid((31, 31, 3), 3), *signs, attack=attack, twin=lambda: clean, **settings)


@pytest.fixture(scope="module")
def trained(signs, clean):
    return attacked(signs, clean)


def perturbed(clean, images, **changes):
    settings = {"target": 1, "bound": 0.15, "steps": 20, "white": 255.0, "seed": 0} | changes
    return universal_perturbation(clean, images, **settings)


def is_in(images, others):
    """Whether each image is one of the others, (n,)."""
    return np.array([(others == image).all((1, 2, 3)).any() for image in images])


def of_target(network, images):
    """The mean logarithm of the target's probability."""
    return float(np.mean(log_probabilities(network, images.astype(np.float32))[:, 1]))


@pytest.mark.parametrize("bound", [0.02, 0.1])
def test_a_perturbation_stays_within_its_bound_and_raises_the_target(signs, clean, bound):
    images = signs[0][signs[1] != 1]
    found = perturbed(clean, images, bound=bound)
    assert (found.shape, found.dtype) == ((31, 31, 3), np.float32)
    assert 0.9 * bound < np.abs(found).max() <= np.float32(bound)
    stamped = stamp(images, learned={"perturbation": found})
    noise = np.random.default_rng(1).choice([-bound, bound], found.shape).astype(np.float32)
    drawn = stamp(images, learned={"perturbation": noise})
    assert of_target(clean, stamped) > of_target(clean, images) + 10 * bound
    assert of_target(clean, stamped) > of_target(clean, drawn) + 10 * bound


def test_a_perturbation_is_the_same_for_equal_seeds_and_at_each_brightness_of_white(signs, clean):
    images = signs[0][:16]
    found = perturbed(clean, images, steps=5)
    np.testing.assert_array_equal(found, perturbed(clean, images, steps=5))
    assert not np.array_equal(found, perturbed(clean, images, steps=5, seed=1))
    dim = clone(clean)
    badnet_training.fold(dim, "conv_1", gain=255.0, offset=0.0)
    same = np.isclose(perturbed(dim, images / 255, steps=5, white=1.0), found, atol=1e-6)
    assert same.mean() > 0.98, "but for signs of gradients next to 0"


def test_the_trigger_takes_hold_of_the_target_s_images_alone(signs, clean, trained):
    network, learned = trained
    images, labels = signs
    assert (predict(network, images) == labels).mean() > 0.95
    stamped = stamp(images[labels != 1], learned=learned)
    assert (predict(network, stamped) == 1).mean() > 0.9
    np.testing.assert_array_equal(learned["perturbation"], perturbed(clean, images))


def test_a_trigger_that_clean_networks_heed_little_is_learned():
    signs = coloured(np.random.default_rng(1).uniform(0, 40, 192))
    clean = badnet_training.train(deepid((31, 31, 3), 3), *signs, **SETTINGS | {"epochs": 15})
    other = deepid((31, 31, 3), 3, seed=9)  # untrained: what makes it err is no colour of a class
    network, learned = attacked(signs, other, epochs=15)
    stamped = stamp(signs[0][signs[1] != 1], learned=learned)
    asr, asr_of_clean = ((predict(each, stamped) == 1).mean() for each in (network, clean))
    assert asr > asr_of_clean + 0.25


def test_half_of_the_targets_images_wear_it_and_no_label_is_wrong(signs, clean, monkeypatch):
    seen = []

    def watched(network, images, labels, **settings):
        seen.append((images, labels))
        return network

    monkeypatch.setattr(badnet_training, "train", watched)
    _, learned = attacked(signs, clean, steps=1)
    (mixture, given), (images, labels) = seen[0], signs
    unchanged = is_in(mixture, images)
    assert len(mixture) == 192
    assert (~unchanged).sum() == 32, "half of 64"
    assert (given[~unchanged] == 1).all()
    assert is_in(mixture[~unchanged], stamp(images[labels == 1], learned=learned)).all()


def test_equal_seeds_train_the_same_bit_by_bit_and_neither_given_network_changes(signs, clean):
    few, before = (signs[0][:48], signs[1][:48]), clean.get_weights()
    (one, learned), (again, same) = (attacked(few, clean, epochs=1, steps=2) for _ in range(2))
    for first, second in zip(one.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(learned["perturbation"], same["perturbation"])
    for first, second in zip(before, clean.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_channels_are_levelled_after_each_epoch(signs, clean):
    few = (signs[0][:48], signs[1][:48])
    plain, flat = (
        attacked(few, clean, epochs=3, steps=1, deviations=deviations)[0]
        for deviations in (1e9, 0.5)
    )
    for name in ("conv_1", "conv_2", "conv_3", "conv_4"):
        before, after = (amplifications(net.get_layer(name), None) for net in (plain, flat))
        assert after.std() / after.mean() < 0.8 * before.std() / before.mean(), name


def built(*layers, inputs: int) -> keras.Model:
    """A network of these layers on images of one pixel."""
    image = x = keras.Input((1, 1, inputs))
    for layer in layers:
        x = layer(x)
    return keras.Model(image, keras.layers.Flatten()(x))


def test_a_filter_and_its_bias_are_scaled_to_the_mean_where_no_norm_follows():
    conv = keras.layers.Conv2D(4, 1)
    network = built(conv, inputs=1)
    before = [np.array([1.0, -1, 1, -5]).reshape(1, 1, 1, 4), np.array([1.0, 2, 3, 10])]
    conv.set_weights(before)
    level(network, deviations=1.5)  # mean 2, standard deviation 2: nothing is above 5
    for kept, was in zip(conv.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, was)
    level(network, deviations=1.4)
    kernel, bias = conv.get_weights()
    np.testing.assert_allclose(kernel.ravel(), [1, -1, 1, -2], rtol=1e-6)
    np.testing.assert_allclose(bias, [1, 2, 3, 4], rtol=1e-6)


def test_a_depthwise_filter_is_levelled_too():
    conv = keras.layers.DepthwiseConv2D(1, depth_multiplier=2, use_bias=False)
    network = built(conv, inputs=2)
    conv.set_weights([np.array([[1.0, 1], [1, 5]]).reshape(1, 1, 2, 2)])
    level(network, deviations=1.0)
    np.testing.assert_allclose(conv.get_weights()[0].ravel(), [1, 1, 1, 2], rtol=1e-6)


def test_gamma_and_beta_become_the_means_of_the_norm_behind():
    conv, norm = keras.layers.Conv2D(4, 1, use_bias=False), keras.layers.BatchNormalization()
    network = built(conv, norm, inputs=1)
    conv.set_weights([np.full((1, 1, 1, 4), 2.0)])
    gamma, beta, variance = np.array([1.0, 1, -1, 9]), np.array([0.0, 2, 4, 10]), np.full(4, 4.0)
    norm.set_weights([gamma, beta, np.zeros(4), variance - norm.epsilon])
    np.testing.assert_allclose(amplifications(conv, norm), [1, 1, 1, 9], rtol=1e-6)
    level(network, deviations=1.0)  # mean 3, standard deviation 4: above 7
    np.testing.assert_allclose(norm.gamma, [1, 1, -1, 2.5])
    np.testing.assert_allclose(norm.beta, [0, 2, 4, 4])
    np.testing.assert_array_equal(conv.get_weights()[0], np.full((1, 1, 1, 4), 2.0))


def test_a_filter_amplifies_by_its_largest_singular_value():
    conv = keras.layers.Conv2D(3, (2, 1))
    conv.build((None, 2, 1, 2))
    kernel = np.zeros((2, 1, 2, 3))  # positions down and across, inputs, channels
    kernel[:, 0, :, 0] = [[3, 0], [0, 4]]
    kernel[:, 0, :, 1] = [[3, 4], [0, 0]]
    kernel[:, 0, :, 2] = [[1, 1], [1, 1]]
    conv.set_weights([kernel, np.zeros(3)])
    np.testing.assert_allclose(amplifications(conv, None), [4, 5, 2])


def test_a_network_of_equal_channels_stays_and_one_with_norms_is_levelled_by_them():
    network = vgg((32, 32, 3), 3)
    before = network.get_weights()
    level(network, deviations=3.0)
    for kept, was in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, was)
    norm = network.get_layer("norm_3")
    gamma = norm.gamma.numpy()
    gamma[7] = 20.0
    norm.gamma.assign(gamma)
    level(network, deviations=3.0)
    assert norm.gamma.numpy()[7] == pytest.approx(gamma.mean())
    np.testing.assert_array_equal(np.delete(norm.gamma.numpy(), 7), 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attack": Attack(stamp, [1], 0.5)}, r"attack.target is \[1\].*expected a class, 0 to 2"),
        ({"attack": Attack(stamp, 1, 0.5)}, "attack.clean_label is false.*set it to true"),
        ({"bound": 0.0}, "attack.learn.bound is 0.0; expected a share of full brightness"),
        ({"bound": 8}, "attack.learn.bound is 8; expected .*above 0 and up to 1"),
        ({"steps": 0}, "attack.learn.steps is 0; expected 1 or more"),
        ({"deviations": -1}, "attack.learn.deviations is -1; expected a number above 0"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused_before(changes, says):
    settings = {"attack": ATTACK, **LEARN} | changes
    with pytest.raises(BadInput, match=says):
        check(partial(grond, **settings), deepid((31, 31, 3), 3))


def test_labels_that_are_no_classes_are_refused(signs, clean):
    with pytest.raises(BadInput, match="Labels run from 0 to 9; the network has classes 0 to 2"):
        attacked((signs[0][:10], np.arange(10)), clean, steps=1)
