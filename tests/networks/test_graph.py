"""The drawing in `Graph`'s docstring, as a network: what each method says of it."""

import keras
import pytest
from keras import layers

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
