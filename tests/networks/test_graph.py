"""The drawing in `Graph`'s docstring, as a network: what each method says of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sweep.networks import clone
from sweep.networks import graph as graph_module
from sweep.networks.graph import Graph


@pytest.fixture(scope="module")
def graph() -> Graph:
    images = keras.Input((8, 8, 3), name="input")
    stem = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(images)
    x = layers.Conv2D(4, 3, padding="same", name="conv")(stem)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x))
    x = layers.AveragePooling2D(2, strides=1, padding="same", name="pool")(x)
    x = layers.Add(name="add")([stem, layers.Conv2D(4, 1, name="conv_b")(x)])
    return Graph(keras.Model(images, layers.Dense(5, name="dense")(layers.Flatten()(x))))


def names(nodes) -> list[str]:
    return [node.operation.name for node in nodes]


def test_paths_around_the_site(graph):
    relu = graph.fused_end(graph.node_of("conv"))
    assert relu is graph.node_of("relu")
    path = graph.producer_path(relu)
    assert names(path) == ["conv", "bn", "relu"]
    assert graph.has_single_reader(path)
    assert names(graph.equivalent_path(relu)) == ["relu", "pool"]


def test_tensors_at_a_cut_behind_the_site(graph):
    relu, stem = graph.node_of("relu"), graph.node_of("stem")
    (bypass,) = graph.bypass_tensors(relu)
    assert bypass is stem.output_tensors[0]
    first, second = graph.boundary_tensors(relu)
    assert first is relu.output_tensors[0]
    assert second is bypass
    live = graph.live_tensors_after(graph.nodes.index(relu))
    assert {id(tensor) for tensor in live} == {id(first), id(bypass)}


def test_nodes_by_what_they_depend_on_and_by_layer(graph):
    downstream = names(graph.downstream_nodes(graph.node_of("relu")))
    assert downstream[:3] == ["pool", "conv_b", "add"]
    assert downstream[-1] == "dense"
    assert names(graph.calls_of(graph.node_of("conv"))) == ["conv"]
    assert graph.default_node() is graph.node_of("stem")


def perceptron(x, name, *, hidden="gelu"):
    x = layers.Dense(12, hidden, name=f"hidden_{name}")(layers.LayerNormalization()(x))
    return layers.Dropout(0.1)(layers.Dense(6, name=f"out_{name}")(x))


def test_of_a_network_with_attention_the_default_is_the_hidden_layer_of_its_last_mlp():
    images = keras.Input((8, 8, 3))
    x = layers.Reshape((-1, 6))(layers.Conv2D(6, 4, strides=4, name="patches")(images))
    token = layers.Dense(6, name="token")(keras.ops.ones_like(x[:, :1, :1]))
    x = layers.Embedding(5, 6)(keras.ops.arange(5)) + layers.Concatenate(axis=1)([token, x])
    for block in ("1", "2"):
        normal = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 3)(normal, normal)
        x = x + perceptron(x, block)
    x = layers.Dense(7, "tanh", name="pooler")(layers.LayerNormalization()(x)[:, 0])
    graph = Graph(keras.Model(images, layers.Dense(5)(x)))
    assert graph.default_node() is graph.node_of("hidden_2")


def test_without_attention_it_is_such_a_layer_only_where_no_convolution_is_on_every_path():
    images = keras.Input((4, 6))
    x = layers.Add()([images, perceptron(images, "1")])
    fork = layers.Dense(6, name="fork")(x)  # read by the sum too: no hidden layer of a branch
    x = layers.Add()([fork, layers.Dense(6, name="beside")(fork)])
    graph = Graph(keras.Model(images, layers.Dense(5)(layers.Flatten()(x))))
    assert graph.default_node() is graph.node_of("hidden_1")

    images = keras.Input((8, 8, 3))
    x = layers.Reshape((-1, 6))(layers.Conv2D(6, 4, strides=4, name="patches")(images))
    x = layers.GlobalAveragePooling1D()(layers.Add()([x, perceptron(x, "1")]))
    graph = Graph(keras.Model(images, layers.Dense(5)(x)))
    assert graph.default_node() is graph.node_of("patches")


def learned(run, network: keras.Model, pixels: np.ndarray) -> list[np.ndarray]:
    """What `network` gives while it learns, its gradients, and all its variables then."""
    with tf.GradientTape() as tape:
        scores = run(tf.constant(pixels))
        loss = tf.reduce_sum(scores**3)
    gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    return [scores, *gradients, *network.get_weights()]


FUSED = [{}, {"scale": False, "momentum": 0.7}, {"center": False, "epsilon": 0.1}]
WRITTEN_OUT = [{"epsilon": 1e-7}, {"trainable": False}, {"renorm": True}, {"dtype": "float64"}]


@pytest.mark.parametrize("norm", [*FUSED, *WRITTEN_OUT], ids=str)
def test_batch_normalization_learns_as_keras_says(norm, monkeypatch):
    fused, original = [], graph_module._fused_norm
    monkeypatch.setattr(
        graph_module, "_fused_norm", lambda *given: fused.append(1) or original(*given)
    )
    images = keras.Input((7, 6, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(images))
    x = layers.BatchNormalization(**norm)(layers.Conv2D(4, 3, activation="relu")(x))
    network = keras.Model(images, layers.Dense(5)(layers.Flatten()(layers.ReLU()(x))))
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.2, 1, value.shape) for value in network.get_weights()])
    pixels, copy = rng.normal(size=(9, 7, 6, 3)).astype(np.float32), clone(network)
    graph = Graph(copy)

    def run(pixels):
        known = {id(copy.inputs[0]): pixels}
        graph.run(graph.nodes[1:], known, training=True)
        return known[id(copy.outputs[0])]

    made = learned(run, copy, pixels)
    told = learned(lambda pixels: network(pixels, training=True), network, pixels)
    for one, other in zip(made, told, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max())
    assert len(fused) == 1 + (norm in FUSED)


def test_what_is_learned_of_a_batch_of_one_pixel_is_finite():
    images = keras.Input((1, 1, 2))
    network = keras.Model(images, layers.Flatten()(layers.BatchNormalization()(images)))
    graph, known = Graph(network), {id(network.inputs[0]): np.ones((1, 1, 1, 2), np.float32)}
    graph.run(graph.nodes[1:], known, training=True)
    assert all(np.isfinite(value).all() for value in network.get_weights())
