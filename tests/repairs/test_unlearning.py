"""Repairs as conf/ builds them, on small BadNets: the backdoor goes, and clean accuracy stays."""

import inspect
from dataclasses import fields
from pathlib import Path

import keras
import numpy as np
import pytest
import zoo
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from keras import layers
from zoo import randomized

import sweep
from sweep import BadInput, NotApplicable, repairs
from sweep.data import Images
from sweep.networks import digest
from sweep.networks.loading import plain
from sweep.pruning import Cut
from sweep.repairs import applicability, recalibration, shrink, unlearning
from sweep.training import Defender

CONF = Path(sweep.__file__).parents[1] / "conf"
SHAPE, CLASSES, TARGET = (8, 8, 1), 4, 1
BRIEF = ("epochs=10", "rates=[0.03]", "batch_size=32", "held_out=0.2", "images=null")


def built(name: str, *overrides: str) -> applicability.Repair:
    """A repair as `python run.py repair=[name]` builds it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        told = [f"repair.{name}.{one}" for one in overrides]
        return instantiate(compose("config", [f"repair=[{name}]", *told]).repair)[name]


def drawn(seed: int, count: int = 240) -> Images:
    """Images of four patterns in noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).uniform(0, 0.8, (CLASSES, *SHAPE))
    labels = rng.permutation(np.arange(count) % CLASSES)
    pixels = patterns[labels] + rng.normal(scale=0.12, size=(count, *SHAPE))
    return Images(np.clip(pixels, 0, 1).astype(np.float32), labels.astype(np.int64))


def stamped(pixels: np.ndarray) -> np.ndarray:
    bad = pixels.copy()
    bad[:, :2, :2] = 1
    return bad


@pytest.fixture(scope="module")
def badnet() -> keras.Model:
    """A network trained on images of which some have a bright corner and the target's label."""
    keras.utils.set_random_seed(1)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(12, 3, name="conv", use_bias=False)(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm", momentum=0.8)(x))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    network = keras.Model(images, layers.Dense(CLASSES, name="scores")(x))
    clean = drawn(1, 600)
    pixels = np.concatenate([clean.pixels, stamped(clean.pixels[:150])])
    labels = np.append(clean.labels, np.full(150, TARGET))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-2), loss)
    network.fit(pixels, labels, batch_size=50, epochs=8, verbose=0)
    network = plain(network)
    clean, attack = rates(network)
    assert clean > 0.95
    assert attack > 0.95
    return network


def rates(network: keras.Model) -> tuple[float, float]:
    """Clean accuracy and attack success on images that no repair has seen."""
    test = drawn(2)
    says = [np.asarray(network(p)).argmax(axis=1) for p in (test.pixels, stamped(test.pixels))]
    others = test.labels != TARGET
    return float((says[0] == test.labels).mean()), float((says[1] == TARGET)[others].mean())


def defender(network: keras.Model, seed: int = 0, count: int = 240) -> Defender:
    return Defender(network, drawn(0, count), seed)


# Fine-tuning and unlearning


def test_finetune_brings_back_the_accuracy_that_pruning_cost(badnet):
    cut = Cut(badnet, "conv")
    pruned = cut.pruned(np.arange(10))
    before = digest(pruned)
    network = built("finetune", *BRIEF)(defender(badnet).of(pruned))
    assert rates(pruned)[0] < 0.85
    assert rates(network)[0] > rates(pruned)[0] + 0.1
    assert digest(pruned) == before
    gamma, beta, *_ = network.get_layer("norm").get_weights()
    assert not gamma[:10].any()
    assert not beta[:10].any()
    assert gamma[10:].all()


UNLEARN = (*BRIEF, "share=0.4", "strength=0.15", "flow=0.04", "classes=2", "patience=10")


@pytest.mark.parametrize("by", ["universal", "mask", "pursued", "[adversarial,mask]"])
def test_unlearn_lowers_attack_success_much_and_keeps_clean_accuracy(badnet, by):
    before = digest(badnet)
    clean, attack = rates(built("unlearn", *UNLEARN, f"by={by}")(defender(badnet)))
    assert clean > 0.93
    assert attack < 0.25
    assert digest(badnet) == before


def test_training_alone_would_not_have_unlearned_it(badnet):
    clean, attack = rates(built("finetune", *BRIEF)(defender(badnet)))
    assert clean > 0.93
    assert attack > 0.3


def test_triggers_are_reversed_on_the_suspect_network_whatever_was_pruned_since(
    badnet, monkeypatch
):
    asked, invert = [], unlearning.inversion.invert

    def noted(defender, *, kind, progress):
        asked.append((defender.network, kind))
        return invert(defender, kind=kind, progress=progress, steps=4, refine=1, longer=2)

    monkeypatch.setattr(unlearning.inversion, "invert", noted)
    pruned = Cut(badnet, "conv").pruned([0])
    how = ("epochs=1", "by=[mask,additive]", "rates=[1e-3]")
    network = built("unlearn", *how)(defender(badnet).of(pruned))
    assert asked == [(badnet, "mask"), (badnet, "additive")]
    assert network.get_layer("norm").gamma.numpy()[0] == 0


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_last_batch_of_one_image_is_learned_too(badnet, share):
    how = ("epochs=1", "rates=[1e-3]", "batch_size=8", "held_out=0.25")
    how += ("by=[adversarial,universal]", f"share={share}")
    network = built("unlearn", *how)(defender(badnet, count=12))  # nine: eight, and one
    assert all(np.isfinite(value).all() for value in network.get_weights())


@pytest.mark.parametrize("by", ["magic", "[]", "[mask,magic]"])
def test_a_way_to_unlearn_that_is_not_there_is_refused(badnet, by):
    with pytest.raises(BadInput, match="expected some of universal, adversarial, mask, additive"):
        built("unlearn", f"by={by}")(defender(badnet))


def test_batches_too_small_to_be_changed_in_every_way_are_refused(badnet):
    with pytest.raises(BadInput, match=r"changes 0.1 of 16 images a batch; expected at least 2"):
        built("unlearn", "share=0.1", "batch_size=16")(defender(badnet))


@pytest.mark.parametrize("name", ["finetune", "unlearn"])
def test_too_few_images_are_refused_in_a_sentence(badnet, name):
    with pytest.raises(BadInput, match=r"to hold out \d+% of 2 clean validation images"):
        built(name, "images=2")(defender(badnet))


def test_the_seed_decides_a_repair_and_the_number_of_images_counts(badnet):
    def weights(seed: int, images: int) -> bytes:
        how = ("epochs=1", "rates=[1e-2]", f"images={images}")
        network = built("finetune", *how)(defender(badnet, seed))
        return b"".join(value.tobytes() for value in network.get_weights())

    assert weights(0, 40) == weights(0, 40)
    assert len({weights(0, 40), weights(1, 40), weights(0, 80)}) == 3


# What a repair sees


def test_a_defender_has_no_test_images_and_no_poisoned_ones():
    told = {field.name for field in fields(Defender)}
    assert told == {"network", "images", "seed", "cache", "original", "_read"}


@pytest.mark.parametrize("path", sorted((CONF / "repair").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_repair_is_given_a_defender_and_nothing_else(path):
    repair = built(path.stem)
    parameters = inspect.signature(repair).parameters.values()
    asked = [one for one in parameters if one.default is one.empty and "VAR" not in one.kind.name]
    assert [(one.name, one.annotation) for one in asked] == [("defender", Defender)]


# Recalibration


def slowly(network: keras.Model, pixels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of what reaches each norm of a chain, those before it set anew."""
    told, values = {}, pixels.astype(np.float64)
    for layer in network.layers[1:]:
        if not isinstance(layer, layers.BatchNormalization):
            values = np.asarray(layer(values.astype(np.float32)), np.float64)
            continue
        axes = tuple(range(values.ndim - 1))
        mean, variance = values.mean(axes), values.var(axes)
        told[layer.name] = mean, variance
        values = (values - mean) / np.sqrt(variance + layer.epsilon)
        values = values * (1 if layer.gamma is None else layer.gamma.numpy())
        values = values + (0 if layer.beta is None else layer.beta.numpy())
    return told


def normalised() -> keras.Model:
    """Norms at the input, in a row, behind a dense layer; with and without gamma and beta."""
    x = images = keras.Input(SHAPE)
    x = layers.BatchNormalization(name="first")(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(scale=False, name="second")(x)
    x = layers.BatchNormalization(center=False, name="third")(x)
    x = layers.Flatten(name="flatten")(layers.ReLU(name="relu")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.Dense(6, name="dense")(x))
    x = layers.BatchNormalization(name="fourth", trainable=False)(x)
    return keras.Model(images, layers.Dense(CLASSES, name="scores")(x))


def moments(network: keras.Model, name: str) -> tuple[np.ndarray, np.ndarray]:
    layer = network.get_layer(name)
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


def test_every_norm_gets_the_statistics_of_what_the_norms_before_it_make(monkeypatch):
    network = randomized(normalised())
    before, images = digest(network), drawn(3, 50)
    monkeypatch.setattr(recalibration.forward, "batch_size", lambda tensors: 16)
    made = repairs.recalibrate(Defender(network, images))
    assert digest(network) == before
    expected = slowly(network, images.pixels)
    assert len(expected) == 4
    for name, told in expected.items():
        for value, one in zip(moments(made, name), told, strict=True):
            np.testing.assert_allclose(value, one, rtol=2e-3, atol=1e-5)
        assert not np.allclose(moments(network, name)[0], told[0], atol=0.05)
    for ours, theirs in zip(network.trainable_variables, made.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_norm_that_is_called_twice_gets_the_statistics_of_both():
    images = keras.Input(SHAPE)
    norm = layers.BatchNormalization(name="norm")
    left, right = (layers.Conv2D(3, 3, name=name)(images) for name in ("left", "right"))
    x = layers.Flatten()(layers.Concatenate()([norm(left), norm(right)]))
    network = keras.Model(images, layers.Dense(CLASSES)(x))
    network = randomized(network)
    some = drawn(3, 40)
    both = [np.asarray(network.get_layer(name)(some.pixels)) for name in ("left", "right")]
    both = np.concatenate(both).astype(np.float64)
    mean, variance = moments(repairs.recalibrate(Defender(network, some)), "norm")
    np.testing.assert_allclose(mean, both.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, both.var(axis=(0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("semantics", ["zero", "gamma"])
def test_pruned_channels_stay_pruned_when_norms_are_set_anew(semantics):
    network = plain(randomized(zoo.normalised(zoo.untouched)))
    cut = Cut(network, "conv_2", semantics)
    images = Images(zoo.PIXELS, np.arange(50) % 5)
    made = repairs.recalibrate(Defender(network, images).of(cut.pruned([1, 3])))
    maps = np.asarray(keras.Model(made.inputs[0], made.get_layer("relu_2").output)(zoo.PIXELS))
    value = np.broadcast_to(cut.pruned_value[[1, 3]], maps[..., [1, 3]].shape)
    np.testing.assert_array_equal(maps[..., [1, 3]], value)
    assert maps[..., 0].std() > 0


def test_recalibration_does_not_apply_to_a_network_without_norms():
    bare, normed = zoo.lenet(zoo.untouched), zoo.normalised(zoo.untouched)
    repair = built("recalibrate")
    with pytest.raises(NotApplicable, match="needs BatchNormalization, and the network has none"):
        applicability.require(repair, bare)
    applicability.require(repair, normed)
    for name in ("finetune", "unlearn", "shrink"):
        applicability.require(built(name), bare)


# One after the other


def test_a_shrunk_network_is_trained_and_a_trained_one_shrunk(badnet):
    pruned, one = Cut(badnet, "conv").pruned([0, 1, 2]), defender(badnet)
    finetune = built("finetune", "epochs=1", "rates=[1e-3]")
    last = shrink(one.of(finetune(one.of(pruned))))
    first = finetune(one.of(shrink(one.of(pruned))))
    for network in (first, last):
        assert network.get_layer("conv").kernel.shape[-1] == 9
        assert rates(network)[0] > 0.8
    np.testing.assert_allclose(first(one.pixels), last(one.pixels), atol=0.05)
