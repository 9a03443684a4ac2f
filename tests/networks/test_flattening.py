"""Models inside models: opened, they say the same, and every layer of theirs has a name."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from zoo import randomized

from sweep import networks
from sweep.networks.flattening import flattened
from sweep.networks.graph import Graph
from sweep.pruning import Cut

SHAPE = (8, 7, 3)


def base(name: str = "base", shape: tuple[int, ...] = SHAPE, width: int = 4) -> keras.Model:
    """A small functional model of maps: convolution, norm, activation."""
    images = keras.Input(shape)
    x = layers.Conv2D(width, 3, padding="same", name="conv")(images)
    x = layers.ReLU(name="act")(layers.BatchNormalization(name="norm")(x))
    return keras.Model(images, x, name=name)


def headed(x, images) -> keras.Model:
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="scores")(pooled), name="outer")


def sequential_in_sequential() -> keras.Model:
    inner = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3, name="conv")], name="inner")
    head = keras.Sequential([layers.Flatten(), layers.Dense(5, name="scores")], name="head")
    return keras.Sequential([keras.Input(SHAPE), inner, layers.ReLU(), head])


def transfer_learning() -> keras.Model:
    pooled = [layers.GlobalAveragePooling2D(), layers.Dense(5, name="scores")]
    return keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 3), base(), *pooled])


def three_levels() -> keras.Model:
    maps = keras.Input(SHAPE)
    middle = keras.Model(maps, layers.Conv2D(4, 1, name="conv")(base("low")(maps)), name="middle")
    images = keras.Input(SHAPE)
    return headed(layers.Conv2D(6, 3, name="conv")(middle(images)), images)


def called_twice() -> keras.Model:
    images, shared = keras.Input(SHAPE), base(width=3)
    return headed(shared(shared(images)), images)


def colliding_names() -> keras.Model:
    images = keras.Input(SHAPE)
    x = base("right", width=3)(base("left", width=3)(images))
    return headed(layers.Conv2D(4, 1, name="left.conv")(x), images)


def residual() -> keras.Model:
    maps = keras.Input((8, 7, 4))
    block = keras.Model(maps, layers.Add(name="add")([maps, base("body", (8, 7, 4))(maps)]))
    images = keras.Input(SHAPE)
    return headed(block(layers.Conv2D(4, 3, padding="same", name="stem")(images)), images)


def operations() -> keras.Model:
    maps = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, name="conv")(maps)
    x = ops.relu(x * 0.5 - np.float32(0.1)) + ops.mean(x, axis=(1, 2), keepdims=True)
    images = keras.Input(SHAPE)
    return headed(keras.Model(maps, x[:, 1:], name="inner")(images), images)


def two_outputs() -> keras.Model:
    maps = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, name="conv")(maps)
    inner = keras.Model(maps, {"x": layers.ReLU(name="act")(x), "left": ops.tanh(x)}, name="inner")
    images = keras.Input(SHAPE)
    made = inner(images)
    return headed(layers.Subtract()([made["x"], made["left"]]), images)


def two_inputs(named: bool = False) -> keras.Model:
    zebra, ape = keras.Input((8, 7, 4), name="zebra"), keras.Input((8, 7, 4), name="ape")
    inner = keras.Model([zebra, ape], layers.Subtract()([zebra, ape]), name="inner")
    images = keras.Input(SHAPE)
    one = layers.Conv2D(4, 3, padding="same", name="one")(images)
    two = layers.Conv2D(4, 3, padding="same", name="two")(images)
    return headed(inner({"ape": two, "zebra": one} if named else [one, two]), images)


def two_inputs_by_name() -> keras.Model:
    return two_inputs(named=True)


def a_layer_inside_and_outside() -> keras.Model:
    shared = layers.Conv2D(3, 3, padding="same", name="conv")
    maps, images = keras.Input(SHAPE), keras.Input(SHAPE)
    inner = keras.Model(maps, shared(maps), name="inner")
    return headed(shared(inner(images)), images)


def whole_numbers_in() -> keras.Model:
    """The inner model casts; a convolution would not."""
    images = keras.Input(SHAPE, dtype="int32")
    return headed(base("second", (8, 7, 4))(base()(images)), images)


def mixed_precision() -> keras.Model:
    images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", dtype="mixed_float16", name="half")(images)
    x = layers.BatchNormalization(dtype="mixed_float16")(base("body", (8, 7, 4))(x))
    return headed(x, images)


def in_inference_always() -> keras.Model:
    images = keras.Input(SHAPE)
    inner = keras.Sequential([keras.Input(SHAPE), base(), layers.Dropout(0.9)], name="inner")
    return headed(inner(images, training=False), images)


NESTED = [
    sequential_in_sequential,
    transfer_learning,
    three_levels,
    called_twice,
    colliding_names,
    residual,
    operations,
    two_outputs,
    two_inputs,
    two_inputs_by_name,
    a_layer_inside_and_outside,
    whole_numbers_in,
    mixed_precision,
    in_inference_always,
]
#: What Keras itself cannot save and load: operations in .h5, a layer inside and outside of a model.
OPERATIONS = (operations, two_outputs, whole_numbers_in, mixed_precision)
SAVED = [build for build in NESTED if build is not a_layer_inside_and_outside]


def functional(network: keras.Model) -> keras.Model:
    return keras.Model(network.inputs[0], network.outputs[0], name=network.name)


def names(network: keras.Model) -> list[str]:
    return [node.operation.name for node in Graph(network).nodes]


def assert_same(ours: keras.Model, theirs: keras.Model, images: np.ndarray) -> None:
    images = images.astype(theirs.inputs[0].dtype)
    found, expected = (np.asarray(network(images, training=False)) for network in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("build", NESTED)
def test_a_flat_network_says_the_same_and_holds_no_model(build, images):
    network = functional(randomized(build()))
    before, weights = network.to_json(), network.get_weights()
    opened = flattened(network)
    assert not any(isinstance(operation, keras.Model) for operation in opened.operations)
    assert_same(opened, network, images)
    assert network.to_json() == before
    np.testing.assert_equal(network.get_weights(), weights)
    shared = {id(weight) for weight in network.weights} & {id(weight) for weight in opened.weights}
    assert not shared


@pytest.mark.parametrize(
    ("build", "suffix"),
    [(build, "keras") for build in NESTED]
    + [(build, "h5") for build in NESTED if build not in OPERATIONS],
)
def test_a_flat_network_says_the_same_saved_loaded_and_cloned(build, suffix, images, tmp_path):
    network = functional(randomized(build()))
    flattened(network).save(tmp_path / f"flat.{suffix}")
    loaded = keras.models.load_model(tmp_path / f"flat.{suffix}", compile=False)
    assert names(loaded) == names(flattened(network))
    assert_same(loaded, network, images)
    clone = keras.models.clone_model(loaded)
    clone.set_weights(loaded.get_weights())
    assert_same(clone, network, images)


@pytest.mark.parametrize("build", SAVED)
def test_a_nested_network_from_a_file_is_flat_and_has_one_digest(build, images, tmp_path):
    network = randomized(build())
    network.save(tmp_path / "nested.keras")
    loaded, again = (networks.load(tmp_path / "nested.keras") for _ in range(2))
    assert not any(isinstance(operation, keras.Model) for operation in loaded.operations)
    assert_same(loaded, network, images)
    assert networks.digest(loaded) == networks.digest(again)


def test_a_network_without_models_inside_is_returned_as_it_is(small):
    network = small()
    assert flattened(network) is network


def test_an_inner_layer_keeps_its_name_where_no_other_has_it():
    assert {"conv", "norm", "act"} <= set(names(flattened(functional(transfer_learning()))))


def test_an_inner_layer_of_a_name_that_another_has_is_named_after_the_models_around_it():
    opened = names(flattened(functional(three_levels())))
    assert {"conv", "middle.conv", "middle.low.conv", "norm", "act"} <= set(opened)


def test_an_outer_layer_keeps_its_name_even_if_it_looks_like_an_inner_one():
    opened = names(flattened(functional(colliding_names())))
    assert {"left.conv", "left.conv_", "right.conv", "left.norm", "right.norm"} <= set(opened)
    assert len(set(opened)) == len(opened)


def test_a_layer_that_is_used_several_times_stays_one_layer():
    for build in (called_twice, a_layer_inside_and_outside):
        network = functional(build())
        assert names(flattened(network)).count("conv") == 2
        assert flattened(network).count_params() == network.count_params()


def test_flags_and_types_of_inner_layers_are_kept():
    network = mixed_precision()
    inner = network.get_layer("body")
    inner.trainable = False
    opened = flattened(functional(network))
    assert not opened.get_layer("conv").trainable
    assert opened.get_layer("half").trainable
    assert opened.get_layer("half").dtype_policy.name == "mixed_float16"
    assert opened.get_layer("conv").dtype_policy.name == "float32"


def test_what_a_model_is_told_of_training_its_layers_are_told_too():
    opened = flattened(functional(in_inference_always()))
    told = {node.operation.name: node.arguments.kwargs for node in Graph(opened).nodes}
    assert told["norm"]["training"] is False
    assert "training" not in {*told["conv"], *told["pool"]}


def test_what_a_layer_learnt_outside_of_training_is_kept(images):
    norm = layers.Normalization(name="norm")
    norm.adapt(10 + 3 * images)
    inner = keras.Sequential([keras.Input(SHAPE), norm, layers.Dropout(0.5, seed=7, name="drop")])
    network = keras.Sequential([keras.Input(SHAPE), inner, layers.Flatten(), layers.Dense(5)])
    inner.get_layer("drop").seed_generator.state.assign([3, 4])
    opened = flattened(functional(network))
    assert_same(opened, network, images)
    assert opened.get_layer("drop").seed_generator.state.numpy().tolist() == [3, 4]


def test_a_wrapper_stays_closed(images):
    inner = keras.Sequential([keras.Input(SHAPE), layers.Reshape((8, 21), name="rows")])
    wrapped = layers.TimeDistributed(layers.Dense(4), name="wrapped")
    both = layers.Bidirectional(layers.LSTM(3), name="both")
    inner.add(wrapped)
    network = randomized(keras.Sequential([keras.Input(SHAPE), inner, both, layers.Dense(5)]))
    opened = flattened(functional(network))
    assert {"rows", "wrapped", "both"} <= set(names(opened))
    assert_same(opened, network, images)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


class Doubling(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


def test_a_model_that_says_more_than_its_graph_stays_closed(images):
    own = [Subclassed(name="own"), Doubling([layers.Dense(5)], name="doubling")]
    inner = keras.Sequential([keras.Input(SHAPE), layers.Flatten(name="flat"), *own], name="inner")
    network = randomized(keras.Sequential([keras.Input(SHAPE), inner]))
    opened = flattened(functional(network))
    assert {"flat", "own", "doubling"} <= set(names(opened))
    assert_same(opened, network, images)


@pytest.mark.filterwarnings("ignore:Layer 'inner'.*was passed an input with a mask")
def test_a_model_that_is_called_with_a_mask_stays_closed(images):
    rows = keras.Input((8, 21))
    inner = keras.Model(rows, layers.LSTM(4, name="lstm")(rows), name="inner")
    pixels = keras.Input(SHAPE)
    x = layers.Reshape((8, 21))(pixels)
    scores = layers.Dense(5)(inner(x, mask=x[:, :, 0] > 0))
    outer = keras.Sequential([keras.Input(SHAPE), keras.Model(pixels, scores, name="middle")])
    opened = flattened(functional(randomized(outer)))
    assert "inner" in names(opened)
    assert "middle" not in names(opened)
    assert_same(opened, outer, images)


def test_a_layer_of_an_inner_model_can_be_pruned(images, tmp_path):
    randomized(three_levels()).save(tmp_path / "nested.keras")
    network = networks.load(tmp_path / "nested.keras")
    for layer, site in (("middle.low.conv", "act"), ("middle.conv", "middle.conv")):
        cut = Cut(network, layer)
        assert cut.prune_layer == site
        pruned = cut.pruned(np.arange(cut.channels))
        assert np.ptp(np.asarray(pruned(images)), axis=0).max() == 0
