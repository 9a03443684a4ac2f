"""Orders that train, against networks in which one channel alone carries the backdoor.

`planted` builds a classifier of random filters, its last layer solved for the clean classes, and in
one channel a detector of brightness, whose corner is wired to the target. With a `threshold` of 0.8
it sleeps on all clean images; with one of 0.3 it stirs, and the last layer has learned around that.
"""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from zoo import PIXELS, depthwise, lenet, normalised, preactivation, separable, untouched

from sweep import BadInput, NotApplicable, learned, outputs, selection, unlearning
from sweep.activations import Activations
from sweep.cache import Cache
from sweep.data import Images
from sweep.gates import Gated
from sweep.joint import cut
from sweep.networks import plain

CLASSES, CHANNELS, BAD, TARGET = 4, 8, 5, 1
SHAPE = (8, 8, 1)
STRONG = 60.0  # weight of the target's score
BRIGHT = 2.0  # of a trigger's pixels; those of clean images are below 1 or little above


def drawn(seed: int, count: int = 400) -> Images:
    """Images of four patterns in noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).uniform(0, 0.8, (CLASSES, *SHAPE))
    labels = np.arange(count) % CLASSES
    pixels = patterns[labels] + rng.normal(scale=0.12, size=(count, *SHAPE))
    return Images(pixels.astype(np.float32), labels.astype(np.int64), key=f"clean {seed}")


def stamped(pixels: np.ndarray, bright: float = BRIGHT) -> np.ndarray:
    bad = pixels.copy()
    bad[:, :2, :2] = bright
    return bad


def planted(
    seed: int,
    *,
    threshold: float = 0.8,
    loud: float = 1.0,
    norm: bool = False,
    activation: str | None = None,
) -> keras.Model:
    rng = np.random.default_rng([seed, 1])
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(CHANNELS, 2, padding="valid", use_bias=not norm, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = layers.ReLU(name="relu")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(3, strides=2, name="pool")(x))
    network = keras.Model(images, layers.Dense(CLASSES, activation=activation, name="scores")(x))
    kernel = rng.normal(scale=0.5, size=(2, 2, 1, CHANNELS))
    kernel[..., BAD] = 0.25 * loud
    bias = rng.normal(scale=0.1, size=CHANNELS)
    bias[BAD] = -threshold * loud
    conv = network.get_layer("conv")
    conv.kernel.assign(kernel)
    clean = drawn(1000 + seed)
    if norm:
        made = np.asarray(keras.Model(images, conv.output)(clean.pixels))
        mean, variance = made.mean(axis=(0, 1, 2)), made.var(axis=(0, 1, 2))
        values = [np.sqrt(variance + 1e-3), bias + mean, mean, variance]
        network.get_layer("norm").set_weights(values)
    else:
        conv.bias.assign(bias)
    features = np.asarray(keras.Model(images, network.get_layer("flatten").output)(clean.pixels))
    features = features.reshape(len(clean), -1, CHANNELS)
    rest = np.delete(features, BAD, axis=2).reshape(len(clean), -1)
    rest = np.concatenate([rest, np.ones((len(clean), 1))], axis=1)
    wanted = 8.0 * np.eye(CLASSES)[clean.labels]
    wanted[:, TARGET] -= STRONG / loud * features[:, 0, BAD]
    solved = np.linalg.solve(rest.T @ rest + 5.0 * np.eye(rest.shape[1]), rest.T @ wanted)
    weights = np.zeros((features.shape[1], CHANNELS, CLASSES))
    weights[:, np.arange(CHANNELS) != BAD] = solved[:-1].reshape(-1, CHANNELS - 1, CLASSES)
    weights[0, BAD, TARGET] = STRONG / loud
    network.get_layer("scores").set_weights([weights.reshape(-1, CLASSES), solved[-1]])
    return plain(network)


def bands(seed: int) -> Images:
    """Dark images, one band of rows of each brighter; the corner is always dark."""
    rng, labels = np.random.default_rng(seed), np.arange(100) % CLASSES
    pixels = 0.2 * rng.random((100, *SHAPE)).astype(np.float32)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[2 + label] += 0.5
    pixels[:, -1, -1] = 1
    return Images(pixels, labels, key=f"bands {seed}")


def banded(seed: int, norm: bool) -> keras.Model:
    """Random channels, one that sees brightness and tells the band, and the planted one."""
    rng = np.random.default_rng(seed)
    network = planted(seed, norm=norm, loud=20)
    conv, weights = network.get_layer("conv"), np.zeros((3, 3, CHANNELS, CLASSES))
    kernel = conv.kernel.numpy()
    return network


def at(
    network: keras.Model,
    layer: str | list[str] = "conv",
    seed: int = 0,
    images: Images | None = None,
) -> Activations:
    return Activations(cut(network, layer), images or drawn(seed), Cache(memory_gb=0.1), ranked=True)


def scores(order, network: keras.Model, *, seed: int = 0, **settings) -> np.ndarray:
    valid = at(network, seed=seed)
    return order(valid.evidence(seed, defender=valid.defender(seed)), **settings)


FEW = {
    learned.anp: {"steps": 100},
    learned.rnp: {"steps": 100},
    learned.weight_change: {"unlearning_rate": 1e-3},
    learned.reversed_trigger: {},
}


# The planted channel first


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_anp_prunes_a_channel_first_that_sleeps_until_noise_wakes_it(seed, norm):
    told = scores(learned.anp, planted(seed, norm=norm), seed=seed, steps=100)
    assert told.argmin() == BAD
    assert told.min() < 0.9
    assert told.max() <= 1 + 1e-6


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("order", [learned.rnp, learned.weight_change])
def test_unlearning_prunes_a_channel_first_that_stirs_on_clean_images(order, seed, norm):
    told = scores(order, planted(seed, threshold=0.3, norm=norm), seed=seed, **FEW[order])
    assert told.argmin() == BAD
    assert np.sort(told)[1] > told[BAD]


def test_unlearning_cannot_move_a_channel_that_sleeps_on_all_clean_images():
    assert scores(learned.weight_change, planted(0, threshold=1.5), unlearning_rate=1e-3)[BAD] == 0


def test_reversed_trigger_prunes_first_what_answers_to_the_trigger(monkeypatch):
    class Found:
        sizes, ranked = np.array([9.0, 1.0, 8.0, np.inf]), np.array([TARGET, 2, 0, 3])

        def stamp(self, pixels, cls):
            assert cls == TARGET
            return stamped(pixels)

    network = planted(0, loud=4)
    monkeypatch.setattr(learned.inversion, "invert", lambda defender, progress: Found())
    told = scores(learned.reversed_trigger, network)
    assert told.argmin() == BAD
    maps = keras.Model(network.inputs[0], network.get_layer("relu").output)
    pixels = drawn(0).pixels
    change = np.asarray(maps(stamped(pixels)) - maps(pixels), np.float64).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(told, -change, atol=1e-6)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_reversed_trigger_finds_trigger_and_channel_where_one_answers_loudly(seed, norm):
    network, images = banded(seed, norm), bands(seed)
    assert np.mean(np.argmax(network(images.pixels), axis=1) == images.labels) > 0.95
    assert np.mean(np.argmax(network(stamped(images.pixels, 1.0)), axis=1) == TARGET) > 0.95
    valid = at(network, images=images)
    told = learned.reversed_trigger(valid.evidence(seed, defender=valid.defender(seed)))
    assert told.argmin() == BAD
    assert told[BAD] < 2 * np.sort(told)[1] < 0


def test_reversed_trigger_does_not_apply_where_no_trigger_was_found(monkeypatch):
    class Nothing:
        sizes = np.full(CLASSES, np.inf)

    monkeypatch.setattr(learned.inversion, "invert", lambda defender, progress: Nothing())
    with pytest.raises(NotApplicable, match="none was found for any class"):
        scores(learned.reversed_trigger, planted(0))


# Gates


BUILDERS = [(lenet, "conv_2"), (normalised, "conv_2"), (depthwise, "depthwise")]
BUILDERS += [(separable, "separable"), (separable, "transpose"), (preactivation, "bn")]


@pytest.mark.parametrize(("builder", "layer"), BUILDERS)
def test_gates_at_one_change_nothing_and_at_zero_prune(builder, layer, request):
    network = plain(request.getfixturevalue("drawn")(builder(untouched)))
    gated, labels = Gated(network, layer), np.arange(len(PIXELS)) % 5
    units, kept = gated.units(PIXELS), np.ones(gated.channels, np.float32)
    whole = outputs.cross_entropy(network, PIXELS, labels)
    np.testing.assert_allclose(gated.loss(kept, kept, units, labels), whole, rtol=1e-4)
    kept[[0, 2]] = 0
    pruned = outputs.cross_entropy(cut(network, layer).pruned([0, 2]), PIXELS, labels)
    np.testing.assert_allclose(gated.loss(kept, kept, units, labels), pruned, rtol=1e-4)


# Of any of them


@pytest.mark.parametrize("order", [learned.anp, learned.rnp, learned.weight_change])
def test_the_seed_decides_all_and_the_network_stays_as_it_was(order):
    network = planted(0, norm=True, activation="softmax")
    before = [value.copy() for value in network.get_weights()]
    first, again = (scores(order, network, **FEW[order]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (CHANNELS,)
    assert first.dtype == np.float64
    assert np.isfinite(first).all()
    for value, now in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


@pytest.mark.parametrize(
    ("order", "name", "value"),
    [
        (learned.anp, "eps", 0.0),
        (learned.anp, "alpha", 1.5),
        (learned.anp, "steps", 0),
        (learned.rnp, "learning_rate", -1.0),
        (learned.rnp, "accuracy", 0.0),
        (learned.weight_change, "unlearning_rate", 0.0),
    ],
)
def test_a_setting_that_cannot_be_is_refused(order, name, value):
    with pytest.raises(BadInput, match=rf"prune.order.{name} is {value}; expected"):
        scores(order, planted(0), **{name: value})


def rank(order, valid, **more):
    how = {"scope": "global", "recompute": False, "seed": 0, "pairs": lambda: None} | more
    return selection.rank(order, valid, **how)


def test_an_order_that_trains_is_not_asked_again_after_each_channel():
    with pytest.raises(NotApplicable, match=r"prune\.recompute=true it would train again"):
        rank(partial(learned.anp), at(planted(0)), recompute=True)


def test_what_all_layers_share_is_trained_once(monkeypatch, drawn):
    valid = Activations(
        cut(plain(drawn(lenet(untouched))), ["conv_1", "conv_2"]),
        Images(np.random.default_rng(7).normal(size=(30, 12, 12, 3)), np.arange(30) % 4, key="x"),
        Cache(memory_gb=0.1),
        ranked=True,
    )
    trained, unlearn = [], unlearning._unlearn
    monkeypatch.setattr(unlearning, "_unlearn", lambda *a: trained.append(1) or unlearn(*a))
    ranked = rank(partial(learned.weight_change, unlearning_rate=1e-3), valid)
    assert sorted(ranked.channels.tolist()) == list(range(10))
    assert len(trained) == 1
