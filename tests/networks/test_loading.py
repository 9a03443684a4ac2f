"""Strangers' networks: every format of Keras loads, no code of theirs runs, classes come out."""

import json
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from zoo import randomized

from sweep import BadInput
from sweep.networks import deepid, load, shape_and_classes
from sweep.networks.forward import predict
from sweep.networks.loading import as_functional


def build_deepid(classes: int) -> keras.Model:
    return deepid((31, 31, 3), classes)


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(20, 31, 31, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def hushed():
    """Keras warns that whole .h5 files are a format of yesterday."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ["network.keras", "network.h5"])
@pytest.mark.parametrize("kept_as", ["network.keras", "network.h5", "network", "network.dat"])
def test_a_whole_network_loads_under_any_name(name, kept_as, small, images, tmp_path):
    network = small()
    network.save(tmp_path / name)
    (tmp_path / name).rename(tmp_path / kept_as)
    loaded = load(tmp_path / kept_as)
    np.testing.assert_array_equal(loaded(images), network(images))
    assert shape_and_classes(loaded) == ((8, 7, 3), 5)


def test_a_sequential_network_becomes_a_functional_one(small, images, tmp_path):
    sequential = keras.Sequential([keras.Input((8, 7, 3)), layers.Flatten(), layers.Dense(5)])
    for name in ("network.keras", "network.h5"):
        sequential.save(tmp_path / name)
        loaded = load(tmp_path / name)
        assert not isinstance(loaded, keras.Sequential)
        np.testing.assert_array_equal(loaded(images), sequential(images))


def test_a_trained_network_loads_without_its_optimizer(small, images, tmp_path):
    network = small(activation="softmax")
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(images, np.arange(len(images)) % 5, verbose=0)
    for name in ("network.keras", "network.h5"):
        network.save(tmp_path / name)
        np.testing.assert_array_equal(load(tmp_path / name)(images), network(images))


@pytest.mark.parametrize("classes", [2, 6, 160])
@pytest.mark.parametrize("name", ["network.h5", "network.weights.h5"])
def test_weights_alone_load_into_a_deepid_of_as_many_classes(name, classes, faces, tmp_path):
    network = build_deepid(classes)
    if name == "network.h5":
        legacy_weights(tmp_path / name, network)
    else:
        network.save_weights(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "weights")
    loaded = load(tmp_path / "weights", build_deepid)
    np.testing.assert_array_equal(loaded(faces), network(faces))


def legacy_weights(path, network: keras.Model) -> None:
    """What `save_weights` of old Keras wrote to .h5: a group a layer, `layer_names` and so on."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.4.0"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()


def test_weights_alone_need_an_architecture(tmp_path):
    build_deepid(6).save_weights(tmp_path / "network.weights.h5")
    with pytest.raises(BadInput, match=r"holds weights only; set badnet.architecture=deepid"):
        load(tmp_path / "network.weights.h5")


def test_weights_of_another_network_are_refused(small, tmp_path):
    small().save_weights(tmp_path / "network.weights.h5")
    with pytest.raises(BadInput, match=r"network.weights.h5 cannot be loaded as a network"):
        load(tmp_path / "network.weights.h5", build_deepid)


def test_weights_without_a_last_matrix_are_refused(write, tmp_path):
    path = write(tmp_path / "odd.h5", a=np.zeros((3, 5)), b=np.zeros((5, 3)))
    with pytest.raises(BadInput, match="holds no weights of a classifier"):
        load(path, build_deepid)


@pytest.mark.parametrize("name", ["evil.keras", "evil.h5"])
def test_a_lambda_layer_is_refused_and_its_code_does_not_run(name, tmp_path):
    trace = tmp_path / "trace"
    images = keras.Input((4, 4, 3))
    code = f"lambda x: (open({str(trace)!r}, 'w').close(), x)[1]"
    x = layers.Lambda(eval(code), output_shape=(4, 4, 3))(images)
    keras.Model(images, layers.Dense(3)(layers.Flatten()(x))).save(tmp_path / name)
    unsafe = keras.saving.load_model(tmp_path / name, compile=False, safe_mode=False)
    unsafe(np.zeros((1, 4, 4, 3)))
    assert trace.exists(), "this attack would not have worked anyway"
    trace.unlink()
    with pytest.raises(BadInput, match=rf"{name} cannot be loaded as a network"):
        load(tmp_path / name)
    assert not trace.exists()


class Stranger(layers.Layer):
    def call(self, x):
        return 2 * x


def strange(x):
    return -x


class Halves(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype) / 2


THEIRS = {"Stranger": Stranger, "strange": strange, "Halves": Halves}


def with_code_of_their_own() -> dict[str, keras.Model]:
    images = keras.Input((8, 7, 3))
    x = layers.Flatten()(images)
    return {
        "Stranger": keras.Model(images, layers.Dense(3)(Stranger(name="own")(x))),
        "strange": keras.Model(images, layers.Dense(3, activation=strange)(x)),
        "Halves": keras.Model(images, layers.Dense(3, kernel_initializer=Halves())(x)),
    }


@pytest.mark.parametrize("name", ["custom.keras", "custom.h5"])
@pytest.mark.parametrize("what", THEIRS)
def test_what_keras_does_not_know_is_refused_and_what_is_given_is_known(
    what, name, images, tmp_path
):
    network = with_code_of_their_own()[what]
    network.save(tmp_path / name)
    with pytest.raises(BadInput) as refused:
        load(tmp_path / name)
    assert str(refused.value) == (
        f"{tmp_path / name} cannot be loaded as a network ({what!r} is not known to Keras); "
        f"if you trust the code that it is made of, set badnet.custom_objects"
    )
    loaded = load(tmp_path / name, custom_objects={what: THEIRS[what]})
    np.testing.assert_array_equal(loaded(images), network(images))
    with pytest.raises(BadInput, match="is not known to Keras"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["custom.keras", "custom.h5"])
def test_a_class_that_is_registered_for_a_package_is_known_by_that_name(
    name, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(keras.src.saving.object_registration, "GLOBAL_CUSTOM_NAMES", {})
    keras.saving.register_keras_serializable("strangers")(Stranger)
    network = with_code_of_their_own()["Stranger"]
    network.save(tmp_path / name)
    monkeypatch.delitem(keras.saving.get_custom_objects(), "strangers>Stranger")
    with pytest.raises(BadInput, match="Stranger' is not known to Keras"):
        load(tmp_path / name)
    loaded = load(tmp_path / name, custom_objects={"strangers>Stranger": Stranger})
    np.testing.assert_array_equal(loaded(images), network(images))


def test_a_network_with_a_layer_of_their_own_can_be_copied_opened_and_cut(images, tmp_path):
    own = [Stranger(name="own"), layers.Conv2D(4, 3, name="conv"), layers.Flatten()]
    inner = keras.Sequential([keras.Input((8, 7, 3)), *own], name="inner")
    network = randomized(keras.Sequential([keras.Input((8, 7, 3)), inner, layers.Dense(5)]))
    network.save(tmp_path / "custom.keras")
    loaded = load(tmp_path / "custom.keras", custom_objects=THEIRS)
    copy = keras.models.clone_model(loaded)
    copy.set_weights(loaded.get_weights())
    assert isinstance(copy.get_layer("own"), Stranger)
    np.testing.assert_array_equal(predict(copy, images), predict(network, images))


def test_a_lambda_layer_is_refused_though_their_code_is_trusted(tmp_path):
    images = keras.Input((4, 4, 3))
    x = layers.Lambda(lambda x: x, output_shape=(4, 4, 3))(images)
    keras.Model(images, layers.Dense(3)(layers.Flatten()(x))).save(tmp_path / "evil.keras")
    with pytest.raises(BadInput, match=r"evil.keras cannot be loaded as a network \(.*Lambda"):
        load(tmp_path / "evil.keras", custom_objects=THEIRS)


def test_a_config_that_names_any_function_of_python_is_refused(small, tmp_path):
    small().save(tmp_path / "good.keras")
    trace = tmp_path / "trace"
    with zipfile.ZipFile(tmp_path / "good.keras") as good:
        config = json.loads(good.read("config.json"))
        config["config"]["layers"][1] = {
            "module": "os",
            "class_name": "function",
            "registered_name": "mkdir",
            "config": "mkdir",
            "name": "conv_1",
            "inbound_nodes": [{"args": [str(trace)], "kwargs": {}}],
        }
        with zipfile.ZipFile(tmp_path / "evil.keras", "w") as evil:
            for name in good.namelist():
                content = json.dumps(config) if name == "config.json" else good.read(name)
                evil.writestr(name, content)
    with pytest.raises(BadInput, match=r"evil.keras cannot be loaded as a network"):
        load(tmp_path / "evil.keras")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["network.keras", "network.h5", "network.weights.h5"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_in_one_line(name, share, tmp_path):
    network = build_deepid(6)
    network.save_weights(tmp_path / name) if "weights" in name else network.save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match=str(tmp_path / name)) as error:
        load(tmp_path / name, build_deepid)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "neither a .keras file nor HDF5"),
        (b"GIF89a, a picture", "neither a .keras file nor HDF5"),
    ],
)
def test_any_other_file_is_refused(content, sentence, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadInput, match=sentence):
        load(tmp_path / "file")


def test_images_in_hdf5_are_no_network(folder):
    with pytest.raises(BadInput, match=r"valid.h5 holds no weights of a classifier"):
        load(folder / "cl" / "valid.h5")


def test_a_zip_that_is_no_network_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.zip", "w") as file:
        file.writestr("hello", "world")
    with pytest.raises(BadInput, match=r"file.zip cannot be loaded as a network"):
        load(tmp_path / "file.zip")


def test_a_whole_h5_with_a_broken_config_is_refused(write, tmp_path):
    for number, config in enumerate((b"no json", b"{}", b"[]", 7, np.arange(3))):
        path = write(tmp_path / f"{number}.h5", data=[1])
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = config
        with pytest.raises(BadInput, match=r"cannot be loaded as a network|without a graph"):
            load(path)


@keras.saving.register_keras_serializable("strangers")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_a_subclassed_model_is_refused():
    network = Subclassed()
    network(np.zeros((1, 4), np.float32))
    with pytest.raises(BadInput, match=r"is a Subclassed without a graph; expected a functional"):
        as_functional(network)


def test_a_sequential_network_without_an_input_shape_is_refused():
    with pytest.raises(BadInput, match="without a graph"):
        as_functional(keras.Sequential([layers.Dense(3)]))


def test_a_layer_is_not_a_network():
    with pytest.raises(BadInput, match="is a Dense without a graph"):
        as_functional(layers.Dense(3))


def test_two_inputs_and_two_outputs_are_refused():
    a, b = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(BadInput, match="2 inputs and 1 outputs; expected 1"):
        as_functional(keras.Model([a, b], layers.Dense(3)(layers.Add()([a, b]))))
    with pytest.raises(BadInput, match="1 inputs and 2 outputs; expected 1"):
        as_functional(keras.Model(a, [layers.Dense(3)(a), layers.Dense(3)(a)]))


def test_an_output_that_is_no_score_a_class_is_refused():
    images = keras.Input((8, 7, 3))
    with pytest.raises(BadInput, match=r"output is \(None, 8, 7, 2\); expected \(images"):
        as_functional(keras.Model(images, layers.Conv2D(2, 1)(images)))


def single_unit(kind: str) -> keras.Model:
    images = keras.Input((8, 7, 3))
    x = layers.GlobalAveragePooling2D()(images)
    if kind == "activation":
        x = layers.Dense(1, activation="sigmoid")(x)
    elif kind == "layer":
        x = layers.Activation("sigmoid")(layers.Dense(1)(x))
    elif kind == "operation":
        x = keras.ops.sigmoid(layers.Dense(1)(x))
    elif kind == "nested":
        x = keras.Sequential([keras.Input((3,)), layers.Dense(1, activation="sigmoid")])(x)
    else:
        x = layers.Dense(1)(x)
    return keras.Model(images, x)


@pytest.mark.parametrize("kind", ["activation", "layer", "operation", "nested", "logit"])
def test_a_single_unit_says_class_1_above_its_threshold(kind, images, tmp_path):
    randomized(single_unit(kind)).save(tmp_path / "single.keras")
    network = load(tmp_path / "single.keras")
    single = keras.saving.load_model(tmp_path / "single.keras")
    scores = np.asarray(single(images))[:, 0]
    expected = scores > (0 if kind == "logit" else 0.5)
    assert 0 < expected.sum() < len(expected)
    assert shape_and_classes(network) == ((8, 7, 3), 2)
    np.testing.assert_array_equal(predict(network, images), expected)
