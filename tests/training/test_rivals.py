"""What rivals train by, against the formulas of their papers, written out step by step."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from students import CLASSES, SHAPE, convolutional, equal, linear, noisy_patterns

from sweep import BadInput, NotApplicable
from sweep.data import Images
from sweep.networks import outputs
from sweep.networks.graph import Graph
from sweep.training import Defender
from sweep.training.rivals.attention import distilling, group_ends, plain
from sweep.training.rivals.bounds import COST, HIGHER, LOWER, BoundedNetwork, Cost, Tightening
from sweep.training.rivals.clipped_network import activation_nodes, clipped
from sweep.training.rivals.descent import Course, Descent, image_units
from sweep.training.rivals.feature_shift import feature_shift, last_layer
from sweep.training.rivals.hypergradient import INNER_RATE, PENALTY, MinimaxUnlearning, Rounds
from sweep.training.rivals.sharpness import sharpness_aware

COURSE = Course(epochs=1, batch_size=64, learning_rate=0.1, held_out=0.25, shift=0, light=0)
PIXELS, LABELS = noisy_patterns(0)
RATE = np.float32(0.1)


def defender(network: keras.Model) -> Defender:
    return Defender(network, Images(np.clip(PIXELS, 0, 1), LABELS), seed=3)


def gradients(network: keras.Model, weights: list[np.ndarray], smoothing: float = 0.0):
    """Of the smoothed cross-entropy of a linear network with these weights."""
    network.set_weights(weights)
    targets = np.full((len(LABELS), CLASSES), smoothing / (CLASSES - 1))
    targets[np.arange(len(LABELS)), LABELS] = 1 - smoothing
    scores = np.asarray(network(PIXELS), np.float64)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    error = (chances - targets) / len(LABELS)
    return [PIXELS.reshape(len(LABELS), -1).T @ error, error.sum(axis=0)]


def test_a_sharpness_aware_step_goes_down_the_gradient_at_the_moved_weights():
    network, slow = linear(), linear()
    start = [w + 0.1 for w in network.get_weights()]
    network.set_weights(start)
    descent = Descent(defender(network), COURSE)
    rho, smoothing = 0.5, 0.1
    sharpness_aware(descent, rho, smoothing)(tf.constant(PIXELS), tf.constant(LABELS), RATE)
    here = gradients(slow, start, smoothing)
    norm = np.sqrt(sum(np.square(w * g).sum() for w, g in zip(start, here, strict=True)))
    moved = [w + rho * w**2 * g / norm for w, g in zip(start, here, strict=True)]
    there = gradients(slow, moved, smoothing)
    for now, weight, gradient in zip(descent.network.get_weights(), start, there, strict=True):
        np.testing.assert_allclose(now, weight - RATE * gradient, rtol=1e-4, atol=1e-6)


def test_a_sharpness_aware_step_counts_one_pass_in_the_statistics():
    network = convolutional()
    descent, once = (Descent(defender(network), COURSE) for _ in range(2))
    sharpness_aware(descent, 2.0, 0.0)(tf.constant(PIXELS), tf.constant(LABELS), RATE)
    once.cross_entropy(tf.constant(PIXELS), tf.constant(LABELS))
    for one, other in zip(
        descent.network.non_trainable_weights, once.network.non_trainable_weights, strict=True
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5)


def test_momentum_and_weight_decay_are_those_of_sgd():
    course = Course(1, 64, 0.1, 0.25, 0, 0, weight_decay=0.2)
    network = linear()
    descent = Descent(defender(network), course)
    kernel = network.get_weights()[0]
    velocity = 0
    for gradient in (1.0, -2.0):
        descent.apply([tf.fill(kernel.shape, gradient), tf.zeros(CLASSES)], RATE)
        velocity = 0.9 * velocity + gradient + 0.2 * kernel
        kernel = kernel - RATE * velocity
    np.testing.assert_allclose(descent.network.get_weights()[0], kernel, rtol=1e-5, atol=1e-6)


def test_a_shifted_feature_step_pushes_away_from_the_old_kernel_and_keeps_its_norm():
    network, slow = linear(), linear()
    old, bias = network.get_weights()
    descent = Descent(defender(network), COURSE)
    step = feature_shift(descent, alpha=0.5)
    start = descent.network.get_weights()
    limit = 1 / np.sqrt(len(old))
    assert np.abs(start[0]).max() <= limit
    assert np.abs(start[0]).max() > 0.9 * limit
    assert not np.array_equal(start[1], bias)
    step(tf.constant(PIXELS), tf.constant(LABELS), RATE)
    expected = start[0] - RATE * (gradients(slow, start)[0] + 0.5 * old)
    expected *= np.linalg.norm(old) / np.linalg.norm(expected)
    np.testing.assert_allclose(descent.network.get_weights()[0], expected, rtol=1e-4, atol=1e-6)


def test_the_last_layer_is_the_one_that_makes_the_scores():
    assert last_layer(convolutional()).name == "scores"
    images = keras.Input(SHAPE)
    bare = keras.Model(images, layers.Flatten()(images))
    with pytest.raises(NotApplicable, match="needs a last layer with a kernel"):
        last_layer(bare)


def test_only_kernels_that_read_images_are_in_units_of_them():
    images = keras.Input(SHAPE)
    padded = layers.ZeroPadding2D()(images)
    x = layers.Conv2D(2, 3, name="reads")(padded)
    y = layers.Conv2D(2, 3, name="scaled")(layers.Rescaling(1 / 255)(padded))
    x = layers.Flatten()(layers.Conv2D(2, 1, name="later")(layers.Add()([x, y])))
    network = keras.Model(images, layers.Dense(2, name="scores")(x))
    units = zip(network.trainable_variables, image_units(network, 255.0), strict=True)
    assert [variable.path for variable, unit in units if unit != 1] == ["reads/kernel"]
    assert image_units(network, 255.0).count(1 / 255) == 1


def test_weights_that_are_not_finite_are_refused_in_a_sentence():
    course = Course(9, 16, 1e30, 0.25, 0, 0)
    descent = Descent(defender(convolutional()), course)
    with pytest.raises(BadInput, match=r"rate of 1e\+30 leaves no finite weights; expected a sma"):
        descent.run(sharpness_aware(descent, 2.0, 0.1), (PIXELS, LABELS), lambda done: None)


@pytest.mark.parametrize(("activation", "comes_back"), [("linear", True), ("relu", False)])
def test_what_was_pruned_may_come_back_where_the_course_does_not_keep_it(activation, comes_back):
    """Behind a ReLU a channel of zeros has no gradient."""
    images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation=activation, name="conv")(images)
    network = keras.Model(images, layers.Dense(CLASSES, name="scores")(layers.Flatten()(x)))
    kernel, bias = network.get_layer("conv").get_weights()
    kernel[..., 1], bias[1] = 0, 0
    network.get_layer("conv").set_weights([kernel, bias])
    for keeps in (True, False):
        course = replace(COURSE, epochs=2, keeps_pruned=keeps)
        descent = Descent(defender(network), course)
        after = descent.run(plain(descent), (PIXELS, LABELS), lambda done: None)
        kernel, bias = after.get_layer("conv").get_weights()
        assert kernel[..., 1].any() == bias[1:2].any() == (comes_back and not keeps)
        assert kernel[..., 0].any()


def test_a_course_that_holds_nothing_out_learns_all_images():
    def trained(held_out: float, count: int) -> list[np.ndarray]:
        descent = Descent(defender(linear()), replace(COURSE, held_out=held_out, epochs=2))
        images = PIXELS[:count], LABELS[:count]
        return descent.run(plain(descent), images, lambda done: None).get_weights()

    assert equal(trained(0.0, 48), trained(0.25, 64))
    assert not equal(trained(0.0, 64), trained(0.25, 64))


def undropped(seed: int) -> keras.Model:
    """A convolutional network in which nothing is drawn."""
    whole = convolutional(seed, norm=False)
    flat = layers.Flatten()(whole.get_layer("relu").output)
    return keras.Model(whole.inputs[0], whole.get_layer("scores")(flat))


def test_a_distilling_step_adds_what_the_attention_maps_differ_by():
    network, teacher = undropped(seed=0), undropped(seed=5)
    descent = Descent(defender(network), COURSE)
    (end,) = group_ends(Graph(network))
    assert end is network.get_layer("relu").output
    pixels, labels = tf.constant(PIXELS), tf.constant(LABELS)

    def maps(one: keras.Model) -> tf.Tensor:
        energy = tf.reduce_sum(
            keras.Model(one.inputs[0], one.get_layer("relu").output)(pixels) ** 2, -1
        )
        return energy / tf.sqrt(tf.reduce_sum(energy**2, axis=(1, 2), keepdims=True))

    weights = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        apart = tf.reduce_mean((maps(network) - maps(teacher)) ** 2)
        loss = outputs.cross_entropy(network, pixels, labels) + 300 * apart
    expected = [w - RATE * g for w, g in zip(weights, tape.gradient(loss, weights), strict=True)]
    distilling(descent, teacher, [7.0, 300.0])(pixels, labels, RATE)
    for now, wanted in zip(descent.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(now, wanted, rtol=1e-3, atol=1e-5)


# An implicit hypergradient


def test_the_gradient_goes_through_the_change_by_a_truncated_series(monkeypatch):
    """(S^0 + S^1 + S^2)' g, then J': with both Jacobians as matrices."""
    network = convolutional(norm=False)
    settings = Rounds(1, 3, norm=5.0, share=0.5, batch_size=64, learning_rate=0.1)
    one = defender(network)
    student = MinimaxUnlearning(one, (PIXELS, LABELS), settings)
    change = np.random.default_rng(1).normal(0, 0.2, (1, *SHAPE)).astype(np.float32)
    student._change.assign(change)
    taken = []
    monkeypatch.setattr(student._adam, "apply", lambda gradients, rate: taken.extend(gradients))
    carries = np.float32(np.arange(len(LABELS)) < 20)
    student._unlearn(tf.constant(PIXELS), tf.constant(LABELS), tf.constant(carries))

    low, high = student._low, student._high
    weights = [variable.value for variable in student.network.trainable_variables]
    change = tf.constant(change)

    def loss(amount: tf.Tensor) -> tf.Tensor:
        pixels = tf.clip_by_value(PIXELS + (high - low) * amount, low, high)
        return outputs.cross_entropy(student.network, pixels, tf.constant(LABELS))

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(change)
        outer = loss(change * carries[:, None, None, None])
        with tf.GradientTape() as inner:
            inner.watch(change)
            objective = PENALTY * tf.reduce_sum(change**2) - loss(change)
        mapped = tf.reshape(change - INNER_RATE * inner.gradient(objective, change), [-1])
    size = int(np.prod(SHAPE))
    by_itself = tape.jacobian(mapped, change).numpy().reshape(size, size)
    by_change = tape.gradient(outer, change).numpy().ravel()
    vector = sum(np.linalg.matrix_power(by_itself.T, k) @ by_change for k in range(3))
    for weight, given in zip(weights, taken, strict=True):
        jacobian = tape.jacobian(mapped, weight).numpy().reshape(size, -1)
        direct = tape.gradient(outer, weight).numpy()
        implicit = (jacobian.T @ vector).reshape(direct.shape)
        assert np.abs(implicit).max() > 1e-6
        np.testing.assert_allclose(given, direct + implicit, rtol=1e-3, atol=1e-6)


def test_a_change_is_bound_by_its_norm():
    settings = Rounds(1, 1, norm=0.5, share=0.5, batch_size=64, learning_rate=0.1)
    student = MinimaxUnlearning(defender(linear()), (PIXELS, LABELS), settings)
    before = float(student.ascend(PIXELS))
    student.bound()
    assert np.linalg.norm(student._change) == pytest.approx(0.5)
    assert float(student.ascend(PIXELS)) < before, "the change turns images away"
    student.begin()
    assert not student._change.numpy().any()


# Bounds of activations


def shared() -> keras.Model:
    """A layer that is used twice, an operation in a layer's place, and a score's activation."""
    keras.utils.set_random_seed(0)
    images, above = keras.Input(SHAPE), keras.initializers.RandomUniform(0, 0.4, seed=0)
    conv = layers.Conv2D(1, 3, padding="same", activation="relu", kernel_initializer=above)
    x = keras.ops.relu(layers.Dense(3, kernel_initializer=above)(conv(conv(images))))
    return keras.Model(images, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(x)))


def test_each_call_is_clipped_by_its_own_bounds_and_a_file_brings_them_back(tmp_path):
    network = shared()
    graph = Graph(network)
    nodes = activation_nodes(graph)
    assert len(nodes) == 3
    rng = np.random.default_rng(0)
    shapes = [node.output_tensors[0].shape[1:] for node in nodes]
    bounds = [rng.uniform(0, 0.3, shape).astype(np.float32) for shape in shapes]
    known = {id(network.inputs[0]): tf.constant(PIXELS)}
    for node in graph.nodes[1:]:
        graph.run([node], known)
        if node in nodes:
            place = id(node.output_tensors[0])
            known[place] = tf.minimum(known[place], bounds[nodes.index(node)])
    expected = known[id(network.outputs[0])]
    copy = clipped(network, bounds)
    np.testing.assert_allclose(copy(PIXELS), expected, atol=1e-6)
    assert np.abs(expected - network(PIXELS)).max() > 0.01
    copy.save(tmp_path / "clipped.keras")
    again = keras.models.load_model(tmp_path / "clipped.keras", safe_mode=True)
    np.testing.assert_array_equal(again(PIXELS), copy(PIXELS))
    assert len(copy.trainable_variables) == len(network.trainable_variables)


def test_bounds_begin_at_the_mean_and_four_deviations():
    network = convolutional()
    bounded = BoundedNetwork(network, (PIXELS, LABELS), Tightening(1, 1e-3, 4.0, 0.03))
    maps = np.asarray(keras.Model(network.inputs[0], network.get_layer("relu").output)(PIXELS))
    expected = maps.mean(axis=0) + 4 * maps.std(axis=0)
    np.testing.assert_allclose(bounded.bounds()[0], expected, rtol=1e-3, atol=1e-5)
    assert bounded.accuracy((PIXELS, LABELS)) == np.mean(
        np.asarray(clipped(network, bounded.bounds())(PIXELS)).argmax(axis=1) == LABELS
    )
    before = bounded.tightness()
    for _ in range(5):
        bounded.tighten(cost=10.0)
    assert bounded.tightness() < before


def test_the_cost_of_bounds_rises_while_accuracy_is_kept_and_falls_when_it_is_not():
    cost = Cost()
    for _ in range(5):
        cost.update(True)
    assert cost.value == COST * HIGHER
    for _ in range(10):
        cost.update(False)
    assert cost.value == pytest.approx(COST * HIGHER / LOWER**2)
    for _ in range(5):
        cost.update(True)
    assert cost.value == COST, "from below it comes back to where it began"
