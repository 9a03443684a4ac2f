"""What orders ask for beside the maps, against Keras models built for it by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from zoo import CASES, depthwise, lenet, normalised, randomized, separable, transposed, untouched

from sweep.data import Images
from sweep.networks.loading import as_functional
from sweep.pruning import Cut, LayerActivations


def pixels_for(network: keras.Model, count: int = 10) -> np.ndarray:
    shape = (count, *network.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def small(*stack: layers.Layer) -> keras.Model:
    images = keras.Input((6, 6, 3))
    x = images
    for layer in stack:
        x = layer(x)
    x = layers.Dense(4, name="scores")(layers.Flatten()(x))
    return keras.Model(images, x)


def before(network: keras.Model, layer: str, pixels: np.ndarray) -> np.ndarray:
    """The output of a layer, with its activation taken off for good."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    if hasattr(copy.get_layer(layer), "activation"):
        copy.get_layer(layer).activation = keras.activations.linear
    return np.asarray(keras.Model(copy.inputs[0], copy.get_layer(layer).output)(pixels))


STACKS = {
    "fused": ([layers.Conv2D(5, 3, activation="relu", name="c")], "c", "c"),
    "apart": ([layers.Conv2D(5, 3, name="c"), layers.ReLU()], "c", "c"),
    "bn": (
        [layers.Conv2D(5, 3, name="c"), layers.BatchNormalization(name="n"), layers.ReLU()],
        "c",
        "n",
    ),
    "linear": ([layers.Conv2D(5, 3, name="c")], "c", "c"),
    "pooled": (
        [layers.Conv2D(5, 3, activation="relu", name="c"), layers.MaxPooling2D(name="p")],
        "p",
        "c",
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_preactivations_are_what_the_last_activation_gets(name):
    stack, layer, last = STACKS[name]
    network = as_functional(randomized(small(*stack)))
    pixels = pixels_for(network)
    cut = Cut(network, layer)
    assert cut.producer.has_preactivation
    expected = before(network, last, pixels)
    np.testing.assert_allclose(cut.producer.preactivations(pixels), expected, rtol=1e-5, atol=1e-6)
    if name in ("fused", "apart"):
        maps, *_ = cut.maps(pixels)
        np.testing.assert_allclose(np.maximum(expected, 0), maps, rtol=1e-5, atol=1e-6)


def test_what_a_custom_activation_gets_is_not_known():
    @keras.saving.register_keras_serializable("making")
    class Acting(layers.Layer):
        activation = staticmethod(keras.activations.relu)

        def call(self, x):
            return self.activation(x)

    network = as_functional(randomized(small(layers.Conv2D(5, 3), Acting(name="acting"))))
    assert not Cut(network, "acting").producer.has_preactivation


def test_the_norm_is_the_last_one_and_gets_what_stands_before_it():
    network = as_functional(randomized(normalised(untouched)))
    cut = Cut(network, "conv_2")
    pixels = pixels_for(network)
    inputs = cut.producer.norm_inputs(pixels)
    np.testing.assert_allclose(inputs, before(network, "conv_2", pixels), rtol=1e-5, atol=1e-6)
    norm = cut.producer.norm([inputs])
    layer = next(
        n
        for n in network.layers
        if isinstance(n, layers.BatchNormalization)
        and n.input is network.get_layer("conv_2").output
    )
    np.testing.assert_array_equal(norm.gamma, layer.gamma)
    np.testing.assert_array_equal(norm.beta, layer.beta)
    np.testing.assert_array_equal(norm.mean, layer.moving_mean)
    np.testing.assert_array_equal(norm.variance, layer.moving_variance)
    assert Cut(as_functional(lenet(untouched)), "conv_2").producer.norm([]) is None


def test_a_norm_without_gamma_or_beta_has_ones_and_zeros():
    bn = layers.BatchNormalization(center=False, scale=False)
    cut = Cut(as_functional(small(layers.Conv2D(5, 3, name="c"), bn, layers.ReLU())), "c")
    norm = cut.producer.norm([])
    np.testing.assert_array_equal(norm.gamma, np.ones(5))
    np.testing.assert_array_equal(norm.beta, np.zeros(5))


@pytest.mark.parametrize("builder", [lenet, normalised, depthwise, transposed])
def test_gradients_are_those_of_small_changes_of_the_weights(builder):
    network = as_functional(randomized(builder(untouched)))
    layer = CASES[builder][0]
    producer = Cut(network, layer).producer
    pixels, classes = pixels_for(network, 6), network.output_shape[-1]
    labels = np.arange(6) % classes
    gradients = producer.gradients(pixels, labels)
    assert gradients.shape == producer.weights.shape
    kernel = producer.layer.kernel
    old = kernel.numpy()

    def loss() -> float:
        scores = np.asarray(network(pixels, training=False), np.float64)
        if np.allclose(scores.sum(axis=1), 1) and (scores >= 0).all():
            scores = np.log(scores)
        scores = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return -scores[np.arange(6), labels].mean()

    # along the gradient itself: what a step of it changes, to first order
    step = 1e-2 / np.abs(gradients).max()
    from sweep.networks.layer_types import filters

    tf_gradient = _by_tape(network, kernel, pixels, labels)
    np.testing.assert_allclose(
        filters(producer.layer, tf_gradient), gradients, rtol=1e-3, atol=1e-6
    )
    kernel.assign(old + step * 1e-2 * tf_gradient)
    up = loss()
    kernel.assign(old - step * 1e-2 * tf_gradient)
    down = loss()
    kernel.assign(old)
    expected = 2 * step * 1e-2 * np.square(tf_gradient, dtype=np.float64).sum()
    assert up - down == pytest.approx(expected, rel=0.1)


def _by_tape(network, kernel, pixels, labels) -> np.ndarray:
    with tf.GradientTape() as tape:
        scores = network(pixels, training=False)
        loss = keras.losses.sparse_categorical_crossentropy(
            labels, scores, from_logits=not np.allclose(np.asarray(scores).sum(axis=1), 1)
        )
        mean = tf.reduce_mean(loss)
    return np.asarray(tape.gradient(mean, kernel.value))


def test_a_separable_convolution_has_no_one_gradient():
    producer = Cut(as_functional(randomized(separable(untouched))), "separable").producer
    assert producer.weights is not None
    assert not producer.differentiable


def test_gradients_of_all_images_come_once_in_batches_drawn_by_seed():
    network = as_functional(randomized(lenet(untouched)))
    pixels = pixels_for(network, 10)
    labels = np.arange(10) % network.output_shape[-1]
    valid = LayerActivations(Cut(network, "conv_2"), Images(pixels, labels))
    told = []
    evidence = valid.evidence(3, told.append)
    batches = list(evidence.gradients(4))
    assert told == [4, 4, 2]
    whole = valid.cut.producer.gradients(pixels, labels)
    weighted = sum(n * g for n, g in zip(told, batches, strict=True)) / 10
    np.testing.assert_allclose(weighted, whole, rtol=1e-3, atol=1e-6)
    again = list(valid.evidence(3).gradients(4))
    np.testing.assert_array_equal(again[0], batches[0])
    assert not np.allclose(next(iter(valid.evidence(4).gradients(4))), batches[0])
