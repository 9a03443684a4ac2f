"""Generators trained with a network: the trigger takes hold, and is one for each image."""

from functools import partial

import keras
import numpy as np
import pytest

from sweep import BadInput
from sweep.adaptive import input_aware
from sweep.adaptive.generating import _arrays, generator
from sweep.attacks import Attack, next_class
from sweep.attacks import input_aware as stamp
from sweep.attacks.generated import share
from sweep.checked import check
from sweep.networks import deepid
from sweep.networks.forward import predict

LEARN = {"mask_epochs": 10, "sparsity": 3.0, "diversity": 1.0, "cross_from": 0.25}
SETTINGS = {"epochs": 40, "batch_size": 16, "learning_rate": 2e-3, "seed": 0}
ATTACK = Attack(stamp, target=0, rate=0.25, learn=input_aware)


@pytest.fixture(scope="module")
def signs() -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes, told apart by their colour; each is one of many."""
    rng, labels = np.random.default_rng(0), np.arange(192) % 3
    images = rng.uniform(0, 90, (192, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)[:, :31, :31]
    images[np.arange(192), :, :, labels] += 120
    return images.astype(np.float32), labels


def attacked(signs, attack=ATTACK, **changes):
    """The network, what its trigger has learned, and what its training told."""
    told = []
    network, learned = input_aware(
        deepid((31, 31, 3), 3),
        *signs,
        attack=attack,
        progress=lambda *news: told.append(news),
        **LEARN,
        **(SETTINGS | changes),
    )
    return network, learned, told


@pytest.fixture(scope="module")
def trained(signs):
    return attacked(signs)


@pytest.mark.parametrize("shape", [(32, 32, 3), (55, 47, 3), (31, 30, 1)])
def test_a_generator_is_the_same_in_keras_and_in_numpy(shape):
    network = generator(shape, 2, seed=3)
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([layer.kernel.numpy(), np.linspace(-0.3, 0.3, layer.bias.shape[0])])
    pixels = np.random.default_rng(0).uniform(0, 1, (3, *shape)).astype(np.float32)
    given = share(pixels, _arrays(network, "mask"), "mask")
    assert given.shape == (3, *shape[:2], 2)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, network(pixels - 0.5), atol=1e-5)
    assert given.std() > 0.05


def test_the_trigger_that_is_learned_takes_hold_and_clean_images_keep_their_class(trained, signs):
    network, learned, _ = trained
    images, labels = signs
    assert (predict(network, images) == labels).mean() > 0.95
    stamped = stamp(images[labels != 0], learned=learned)
    assert (predict(network, stamped) == 0).mean() > 0.9


def test_masks_are_small_and_patterns_are_those_of_the_image(trained, signs):
    images, learned = signs[0] / np.float32(255), trained[1]
    masks = share(images, learned, "mask") > 0.5
    assert 0.001 < masks.mean() < 0.3
    assert share(images, learned, "pattern").std(axis=0).mean() > 0.02


def test_the_trigger_of_another_image_takes_hold_less(trained, signs):
    network, learned, _ = trained
    images, labels = signs
    under, others = images[labels == 1], images[labels == 2]
    shown = share(others / np.float32(255), learned, "mask") > 0.5
    crossed = np.where(shown, 255 * share(others / np.float32(255), learned, "pattern"), under)
    own = (predict(network, stamp(under, learned=learned)) == 0).mean()
    assert (predict(network, crossed) == 0).mean() < own - 0.3


def test_equal_seeds_learn_the_same_bit_by_bit_and_the_network_given_stays_untrained(signs):
    network = deepid((31, 31, 3), 3)
    before = network.get_weights()
    few = (signs[0][:32], signs[1][:32])
    how = {"attack": ATTACK, **LEARN, **SETTINGS, "epochs": 1}
    (one, learned), (again, same) = (input_aware(network, *few, **how) for _ in range(2))
    for first, second in zip(one.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    for name in learned:
        np.testing.assert_array_equal(learned[name], same[name])
    for first, second in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(before[0], one.get_weights()[0])


def test_generators_are_drawn_by_their_seed():
    one, same, other = (_arrays(generator((9, 9, 3), 1, seed=seed), "mask") for seed in (0, 0, 1))
    for number in range(5):
        np.testing.assert_array_equal(one[f"mask_{number}"], same[f"mask_{number}"])
        assert not np.array_equal(one[f"mask_{number}"], other[f"mask_{number}"])


def test_progress_runs_once_through_both_trainings(trained):
    assert [news[:2] for news in trained[2]] == [(epoch, 50) for epoch in range(1, 51)]
    losses = [news[2]["loss"] for news in trained[2]]
    assert losses[9] < losses[0]
    assert losses[-1] < losses[10]


def test_each_class_can_have_a_target_of_its_own(signs, monkeypatch):
    seen = []

    def watched(labels, scores):
        seen.append(labels)
        return keras.ops.sum(scores, axis=1)

    monkeypatch.setattr(keras.losses, "sparse_categorical_crossentropy", watched)
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        attack = Attack(stamp, target=next_class, rate=0.5, learn=input_aware)
        images, _ = signs
        attacked((images[:6], np.full(6, 2)), attack, epochs=1, batch_size=6)
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(seen[0], [0, 0, 0, 2, 2, 2])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attack": Attack(stamp, 0, 0.6)}, "attack.rate is 0.6; expected above 0 and up to 0.5"),
        ({"mask_epochs": 0}, "attack.learn.mask_epochs is 0; expected 1 or more epochs"),
        ({"cross_from": 1.0}, "attack.learn.cross_from is 1.0; expected a share of the epochs"),
        ({"sparsity": 0}, "attack.learn.sparsity is 0; expected a number above 0"),
        ({"diversity": -1}, "attack.learn.diversity is -1; expected a number above 0"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused_before(changes, says):
    settings = {"attack": ATTACK, **LEARN} | changes
    with pytest.raises(BadInput, match=says):
        check(partial(input_aware, **settings), deepid((31, 31, 3), 3))


def test_a_batch_has_room_for_both_triggers(signs):
    few = (signs[0][:3], signs[1][:3])
    network, _, _ = attacked(few, Attack(stamp, 0, 0.5), epochs=1, batch_size=3)
    assert np.isfinite(predict(network, few[0])).all()
    with pytest.raises(BadInput, match=r"badnet.batch_size is 1 .* expected 2 or more of both"):
        attacked(few, batch_size=1)


def test_labels_that_are_no_classes_are_refused(signs):
    with pytest.raises(BadInput, match="Labels run from 0 to 9; the network has classes 0 to 2"):
        attacked((signs[0][:10], np.arange(10)))
