"""A network that learns by single steps: what was pruned stays so, and it can start anew."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from keras import layers
from students import (
    CLASSES,
    SHAPE,
    accuracy,
    convolutional,
    equal,
    fine_tuned,
    linear,
    noisy_patterns,
    one_hot,
    weights,
)
from zoo import CASES, randomized

from sweep.networks import outputs
from sweep.networks.loading import as_functional
from sweep.pruning import Cut
from sweep.training import trainee
from sweep.training.fine_tuning import FineTuning
from sweep.training.trainee import Trainee


def one_unit(activation: str | None) -> keras.Model:
    images = keras.Input(SHAPE)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(images))
    return keras.Model(images, layers.Dense(1, activation=activation)(x))


KINDS = [
    *((zoo.lenet, "zero"), (zoo.normalised, "zero"), (zoo.normalised, "gamma")),
    *((zoo.softplus, "zero"), (zoo.sigmoid, "zero"), (zoo.one_softplus, "zero")),
    *((zoo.depthwise, "zero"), (zoo.separable, "zero"), (zoo.transposed, "zero")),
    *((zoo.residual_sum, "zero"), (zoo.grouped, "zero"), (zoo.long_way, "zero")),
]


@pytest.mark.parametrize(("builder", "semantics"), KINDS)
def test_pruned_channels_stay_pruned_exactly_and_the_others_learn(builder, semantics):
    network = as_functional(randomized(builder(zoo.untouched)))
    cut = Cut(network, CASES[builder][0], semantics)
    channels = np.array([0, 2])
    pruned = cut.pruned(channels)
    before = weights(pruned)
    course = FineTuning(epochs=2, batch_size=25, patience=5, held_out=0.5, rates=[0.1])
    student = fine_tuned(pruned, (zoo.PIXELS, np.arange(50) % 5), course)
    assert equal(before, pruned.get_weights()), "the given network is as it was"
    names = [layer.name for layer in student.layers]
    site = cut.prune_layer if cut.by_weights else f"{cut.prune_layer}_mask"
    assert site in names
    node = student.get_layer(site)
    maps = node.output if len(node._inbound_nodes) == 1 else node._inbound_nodes[1].output_tensors
    maps = np.asarray(keras.Model(student.inputs[0], maps)(zoo.PIXELS))
    value = np.broadcast_to(cut.pruned_value[channels], maps[..., channels].shape)
    np.testing.assert_allclose(maps[..., channels], value, rtol=0, atol=1e-7)
    others = np.delete(maps, channels, axis=-1)
    assert (others.reshape(-1, others.shape[-1]).std(axis=0) > 0).any()
    for variable, was in zip(student.weights, before, strict=True):
        assert np.isfinite(variable.numpy()).all()
        if variable.name == "kernel" and len(variable.shape) == 2:
            assert not np.array_equal(variable.numpy(), was), "what is not pruned learns"


def test_a_pruned_channel_with_slopes_of_its_own_would_come_back_if_it_were_not_held(monkeypatch):
    network = convolutional(norm=False)
    kernel, bias = network.get_layer("conv").get_weights()
    kernel[..., 1], bias[1] = 0, 0.5  # constant, and alive behind the ReLU
    network.get_layer("conv").set_weights([kernel, bias])
    kernel, bias = fine_tuned(network).get_layer("conv").get_weights()
    assert not kernel[..., 1].any()
    assert bias[1] == 0.5
    assert kernel[..., 0].any()
    monkeypatch.setattr(trainee, "free_weights", lambda network: {})
    kernel, bias = fine_tuned(network).get_layer("conv").get_weights()
    assert kernel[..., 1].any()
    assert bias[1] != 0.5


def test_single_zeros_of_a_living_channel_are_free_to_learn():
    network = convolutional(norm=False)
    kernel, bias = network.get_layer("conv").get_weights()
    kernel[..., 1] = bias[1] = 0
    kernel[1, 1, 0, 0] = 0
    network.get_layer("conv").set_weights([kernel, bias])
    kernel, _ = fine_tuned(network).get_layer("conv").get_weights()
    assert not kernel[..., 1].any()
    assert kernel[1, 1, 0, 0] != 0


def test_frozen_layers_of_a_stranger_learn_too():
    network = convolutional()
    network.get_layer("conv").trainable = network.get_layer("norm").trainable = False
    student = fine_tuned(network)
    for name in ("conv", "norm"):
        assert not equal(network.get_layer(name).get_weights(), student.get_layer(name).weights)
        assert not network.get_layer(name).trainable


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_unit_learns_and_the_two_scores_made_of_it_stay_as_they_are(activation):
    images, labels = noisy_patterns(0)
    network = as_functional(one_unit(activation))
    student = fine_tuned(network, (images, labels % 2), FineTuning(4, 16, 5, 0.25, [0.3]))
    (two,) = (layer for layer in student.layers if layer.name == "two_scores")
    assert equal(two.get_weights(), network.get_layer("two_scores").get_weights())
    assert accuracy(student, (images, labels % 2)) > 0.9


def test_a_network_of_dropouts_learns_the_same_however_often_it_is_loaded(tmp_path):
    convolutional().save(tmp_path / "network.keras")
    loaded = (keras.models.load_model(tmp_path / "network.keras") for _ in range(2))
    assert equal(*(weights(fine_tuned(network)) for network in loaded))


def test_a_student_that_starts_anew_has_forgotten_everything():
    images, labels = noisy_patterns(0)
    fresh, student = Trainee(convolutional()), Trainee(convolutional())
    for _ in range(3):
        student.train_step(images[::-1], one_hot(labels), 1e-1)
    student.reset()
    losses = [
        [one.train_step(images, one_hot(labels), 1e-2) for _ in range(3)]
        for one in (fresh, student)
    ]
    assert losses[0] == losses[1]
    assert equal(weights(fresh.network), weights(student.network))


def test_batch_statistics_are_learned_and_judged_in_inference():
    network = convolutional()
    student = Trainee(network)
    images, labels = noisy_patterns(0)
    mean = network.get_layer("norm").moving_mean.numpy()
    judged = student.evaluate((images, labels))
    assert judged == student.evaluate((images, labels)), "nothing is dropped"
    assert np.array_equal(student.network.get_layer("norm").moving_mean, mean)
    assert judged[0] == pytest.approx(accuracy(network, (images, labels)))
    student.train_step(images, one_hot(labels), 1e-3)
    assert not np.array_equal(student.network.get_layer("norm").moving_mean, mean)


def test_what_is_judged_is_the_same_in_any_slices(monkeypatch):
    student, images = Trainee(convolutional()), noisy_patterns(0, 50)
    whole = student.evaluate(images)
    student._batch_size = 7
    assert student.evaluate(images) == pytest.approx(whole, rel=1e-5)


def test_a_network_that_gives_no_finite_scores_is_right_about_nothing():
    student, (images, _) = Trainee(linear()), noisy_patterns(0)
    student.network.get_layer("scores").bias.assign([np.nan] * CLASSES)
    assert student.evaluate((images, np.zeros(len(images), np.int64))) == (0, -np.inf)


def test_the_first_step_moves_each_weight_by_the_rate_in_units_of_its_size():
    network, (images, labels) = linear(), noisy_patterns(0)
    kernel, bias = weights(network)
    student = Trainee(network)
    loss = student.train_step(images, one_hot(labels), 1e-2)
    assert loss == pytest.approx(float(outputs.cross_entropy(network, images, labels)), rel=1e-5)
    with tf.GradientTape() as tape:
        value = outputs.cross_entropy(network, images, labels)
    gradients = tape.gradient(value, [variable.value for variable in network.trainable_variables])
    sizes = np.sqrt(np.mean(kernel**2)), 0.05
    for before, after, gradient, size in zip(
        (kernel, bias), weights(student.network), gradients, sizes, strict=True
    ):
        clear = np.abs(gradient) > 1e-3  # beyond what Adam adds lest it divide by 0
        assert clear.mean() > 0.9
        step = -1e-2 * size * np.sign(gradient)
        np.testing.assert_allclose((after - before)[clear], step[clear], rtol=2e-2)


def test_steps_are_those_of_adam_written_out_slowly():
    """In doubles, on one Dense layer: each array in units of its size, Keras' own Adam in these."""
    network, (images, labels) = linear(), noisy_patterns(0)
    student = Trainee(network)
    flat, wanted = images.reshape(len(images), -1).astype(np.float64), one_hot(labels)
    values = [value.astype(np.float64) for value in weights(network)]
    sizes = np.sqrt(np.mean(values[0] ** 2)), 0.05
    means, squares = ([np.zeros_like(value) for value in values] for _ in range(2))
    for number, rate in enumerate([0.1, 0.03, 0.03, 0.01, 0.1], start=1):
        rows = slice(8 * number, 8 * number + 16)
        student.train_step(images[rows], wanted[rows], rate)
        logits = flat[rows] @ values[0] + values[1]
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        slopes = (shares - wanted[rows]) / len(shares)
        for place, gradient in enumerate((flat[rows].T @ slopes, slopes.sum(axis=0))):
            gradient = gradient * sizes[place]
            means[place] = 0.9 * means[place] + 0.1 * gradient
            squares[place] = 0.999 * squares[place] + 0.001 * gradient**2
            factor = np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
            step = rate * factor * means[place] / (np.sqrt(squares[place]) + 1e-7)
            values[place] = values[place] - sizes[place] * step
        for value, expected in zip(weights(student.network), values, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_the_score_is_the_share_that_is_right_and_the_mean_log_likelihood():
    network, (images, labels) = linear(), noisy_patterns(0, 50)
    share, likelihood = Trainee(network).evaluate((images, labels))
    logits = np.asarray(network(images), np.float64)
    log_likelihoods = logits[np.arange(50), labels] - np.log(np.exp(logits).sum(axis=1))
    assert share == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert likelihood == pytest.approx(log_likelihoods.mean(), rel=1e-5)


def test_the_seed_is_that_of_what_is_dropped():
    images, labels = noisy_patterns(0)
    losses = [
        Trainee(convolutional(), seed).train_step(images, one_hot(labels), 1e-2)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_weights_of_a_channel_that_zeros_make_are_held_and_no_others():
    network = convolutional()
    assert trainee.free_weights(network) == {}
    kernel, bias = network.get_layer("conv").get_weights()
    kernel[..., 2] = 0
    kernel[0, 0, 0, 3] = 0
    network.get_layer("conv").set_weights([kernel, bias])
    paths = [variable.path for variable in network.trainable_variables]
    free = {paths[place]: is_free for place, is_free in trainee.free_weights(network).items()}
    assert free.keys() == {"conv/kernel", "conv/bias"}
    for name, values in (("conv/kernel", kernel), ("conv/bias", bias)):
        expected = np.broadcast_to(np.arange(6) != 2, values.shape)
        np.testing.assert_array_equal(free[name], expected)
