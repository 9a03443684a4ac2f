"""`python -m sweep.export`: the engine's networks answer under onnxruntime as under Keras."""

import json
import logging
import os

import deployed
import keras
import numpy as np
import pytest
import zoo
from keras import layers, ops

from sweep import BadInput
from sweep.deployment import models, onnx_files
from sweep.deployment.commands import export
from sweep.detectors import GoodNet, Rule
from sweep.networks.loading import as_functional

#: Of the engine's networks: those with an operation that tf2onnx does not know, and its layer.
GELU = "layer hidden_1 (Erfc), layer hidden_2 (Erfc)"
REFUSED = {
    "grouped": "layer grouped (StatefulPartitionedCall)",
    "transformer": GELU,
    "first_token": GELU,
}
NAMES = [build.__name__ for build in zoo.CASES]


@pytest.fixture
def onnxruntime():
    pytest.importorskip("tf2onnx", reason="the extra onnx is not installed")
    return pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def save(path, badnet, repaired, rule=deployed.RULE):
    goodnet = GoodNet(as_functional(badnet), as_functional(repaired), rule)
    goodnet.to_keras().save(path / "goodnet.keras")
    (path / "goodnet.json").write_text(json.dumps(goodnet.about()))
    return models.find(str(path / "goodnet.keras"))


def answers(runtime, path, pixels):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": pixels}), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_engines_networks_answer_as_in_keras_or_are_refused(name, tmp_path, onnxruntime):
    build = getattr(zoo, name)
    networks = [zoo.randomized(build(zoo.untouched), seed) for seed in (0, 1)]
    found = save(tmp_path, *networks, Rule(0.1, "repaired"))
    if name in REFUSED:
        with pytest.raises(BadInput) as told:
            onnx_files.run(found, tmp_path)
        assert str(told.value) == (
            f"goodnet.onnx cannot be made: ONNX, or tf2onnx, has no operation for {REFUSED[name]}; "
            f"serve the MLflow model instead"
        )
        assert sorted(os.listdir(tmp_path)) == ["goodnet.json", "goodnet.keras"]
        return
    onnx_files.run(found, tmp_path)
    goodnet = GoodNet(*map(as_functional, networks), Rule(0.1, "repaired"))
    for count in (1, 20):
        pixels = np.random.default_rng(3).normal(size=(count, *found.shape)).astype(np.float32)
        b, repaired = (np.asarray(one(pixels)) for one in (found.badnet, found.repaired))
        given = answers(onnxruntime, tmp_path / "goodnet.onnx", pixels)
        assert (given["class"].dtype, given["score"].dtype) == (np.int64, np.float32)
        near = np.abs(given["score"] - 0.1) <= 1e-4
        for scores in (b, repaired):
            near |= np.diff(np.sort(scores, axis=1)[:, -2:], axis=1)[:, 0] <= 1e-4
        rows, said = np.arange(count), b.argmax(axis=1)
        drop = b[rows, said] - repaired[rows, said]
        np.testing.assert_allclose(given["score"][~near], drop[~near], atol=1e-4)
        np.testing.assert_array_equal(given["class"][~near], goodnet.predict(pixels)[~near])
        given = answers(onnxruntime, tmp_path / "repaired.onnx", pixels)
        assert list(given) == ["probabilities"]
        np.testing.assert_allclose(given["probabilities"], repaired, atol=1e-4)


@pytest.fixture
def plain(tmp_path):
    deployed.save(tmp_path / "model")
    return tmp_path / "model" / "goodnet.keras"


def test_the_command_writes_what_is_computed_apart(plain, tmp_path, onnxruntime, capsys):
    folder = tmp_path / "new" / "onnx"
    assert export([str(plain), str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = " ".join(printed.out.split())
    assert f"written: {folder}/goodnet.onnx (class, score)" in lines
    assert f"written: {folder}/repaired.onnx (probabilities)" in lines
    assert "On 64 random images both answer as Keras does, to " in lines
    seen = (deployed.images(40) / 255).astype(np.float32)
    apart = deployed.expected(seen)
    given = answers(onnxruntime, folder / "goodnet.onnx", seen)
    np.testing.assert_allclose(given["score"], apart["score"], atol=1e-5)
    classes = np.where(apart["score"] > 0.4, deployed.CLASSES, apart["badnet_class"])
    np.testing.assert_array_equal(given["class"], classes)
    given = answers(onnxruntime, folder / "repaired.onnx", seen)
    by_hand = deployed.probabilities(deployed.B_REPAIRED, seen)
    np.testing.assert_allclose(given["probabilities"], by_hand, atol=1e-5)
    session = onnxruntime.InferenceSession(folder / "goodnet.onnx")
    assert session.get_inputs()[0].shape == ["n", *deployed.SHAPE]
    known = session.get_modelmeta().custom_metadata_map["goodnet.json"]
    assert json.loads(known)["scale"] == 255


def test_without_goodnet_json_the_files_own_rule_is_exported(plain, tmp_path, onnxruntime):
    plain.with_name("goodnet.json").unlink()
    assert export([str(plain), str(tmp_path)]) == 0
    seen = (deployed.images(40) / 255).astype(np.float32)
    flagged = deployed.expected(seen)["score"] > 0.4
    given = answers(onnxruntime, tmp_path / "goodnet.onnx", seen)["class"]
    np.testing.assert_array_equal(given == deployed.CLASSES, flagged)


def test_networks_of_any_size(tmp_path, onnxruntime):
    path = deployed.save(tmp_path / "any", shape=(None, None, 3))
    assert export([str(path), str(tmp_path)]) == 0
    seen = (deployed.images(7, (9, 4, 3)) / 255).astype(np.float32)
    given = answers(onnxruntime, tmp_path / "goodnet.onnx", seen)["score"]
    np.testing.assert_allclose(given, deployed.expected(seen)["score"], atol=1e-5)


def with_layer(layer) -> keras.Model:
    images = keras.Input((12, 12, 3))
    maps = layer(layers.Conv2D(4, 3)(images))
    scores = layers.Dense(3, activation="softmax")(layers.Flatten()(maps))
    return keras.Model(images, scores)


UNSUPPORTED = {
    "gelu": (lambda maps: layers.Activation("gelu", name="bent")(maps), "layer bent (Erfc)"),
    "lanczos": (
        lambda maps: layers.Resizing(5, 5, interpolation="lanczos3", name="smaller")(maps),
        "layer smaller (ScaleAndTranslate)",
    ),
    "operation": (lambda maps: ops.fft2((maps, maps))[0], "(FFT2D)"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_layers_that_tf2onnx_does_not_know_are_named(name, tmp_path, onnxruntime, capsys):
    layer, named = UNSUPPORTED[name]
    save(tmp_path, with_layer(layer), with_layer(layer))
    assert export([str(tmp_path / "goodnet.keras"), str(tmp_path / "onnx")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("prunesweep: goodnet.onnx cannot be made: ONNX, or tf2onnx, has")
    assert named in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "onnx").exists()


def test_what_answers_otherwise_is_not_written(plain, tmp_path, onnxruntime, monkeypatch):
    found = models.find(str(plain))
    made = onnx_files._export

    def wrong(network, path, goodnet):
        made(network, path, goodnet)
        network.get_layer("badnet").set_weights([deployed.B * 1.01])

    monkeypatch.setattr(onnx_files, "_export", wrong)
    with pytest.raises(
        BadInput, match=r"^goodnet.onnx is not written: it and Keras differ on \d+ "
    ):
        onnx_files.run(found, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_what_keras_cannot_export_is_told(plain, tmp_path, onnxruntime, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no such thing " * 50)

    monkeypatch.setattr(keras.Model, "export", fails)
    with pytest.raises(BadInput) as told:
        onnx_files.run(models.find(str(plain)), tmp_path / "onnx")
    assert str(told.value).startswith("goodnet.onnx cannot be made (RuntimeError: no such thing")
    assert len(str(told.value)) < 300


def test_a_file_that_onnxruntime_cannot_run_is_told(plain, tmp_path, onnxruntime):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"^x.onnx cannot be run by onnxruntime \("):
        onnx_files._compare(tmp_path / "x.onnx", None, models.find(str(plain)))


def test_a_folder_that_cannot_be_written_is_told(plain, tmp_path, onnxruntime, capsys):
    (tmp_path / "file").write_text("no folder")
    assert export([str(plain), str(tmp_path / "file")]) == 2
    assert "file cannot be written (" in capsys.readouterr().err


def test_the_extra_that_is_missing_is_told_before_a_model_is_loaded(monkeypatch, capsys):
    there = onnx_files.find_spec
    lacking = {"onnxruntime", "tf2onnx"}
    monkeypatch.setattr(
        onnx_files, "find_spec", lambda name: None if name in lacking else there(name)
    )
    monkeypatch.setattr(onnx_files, "PACKAGES", ("json", "onnxruntime", "tf2onnx"))
    assert export(["nothing"]) == 2
    assert capsys.readouterr().err == (
        "prunesweep: the extra onnx is not installed (there is no onnxruntime and no tf2onnx): pip "
        'install -e ".[onnx]" -c constraints.txt\n'
    )


@pytest.mark.parametrize(
    ("given", "near", "wrong"),
    [
        ({"class": [0, 1], "score": [0.5, 0.1]}, [0, 0], 0),
        ({"class": [0, 2], "score": [0.5, 0.1]}, [0, 0], 1),
        ({"class": [0, 2], "score": [0.5, 0.9]}, [0, 1], 0),
        ({"class": [0, 1], "score": [0.5002, 0.1]}, [0, 1], 1),
        ({"class": [0, 1], "score": [0.50009, 0.1]}, [0, 0], 0),
        ({"class": [0, 1], "score": [np.nan, 0.1]}, [1, 1], 2),
        ({"class": [0], "score": [0.5]}, [1, 1], 2),
    ],
)
def test_which_differences_count(given, near, wrong):
    expected = {"class": np.array([0, 1]), "score": np.array([0.5, 0.1])}
    arrays = {name: np.array(values) for name, values in given.items()}
    assert onnx_files._differences(expected, arrays, np.array(near, bool))[0] == wrong


def test_ties_of_each_kind_are_seen(tmp_path):
    found = models.find(str(deployed.save(tmp_path)))
    seen = np.zeros((3, *deployed.SHAPE), np.float32)
    seen[0, ..., 0] = 0.8  # clear, flagged
    seen[1, ..., 1] = seen[1, ..., 2] = 0.5  # B and B' waver between 1 and 2
    low, high = 0.0, 0.8  # between which GoodNet's score reaches its threshold
    for _ in range(40):
        seen[2, ..., 0] = (low + high) / 2
        above = deployed.expected(seen[2:])["score"][0] > 0.4
        low, high = (low, (low + high) / 2) if above else ((low + high) / 2, high)
    assert onnx_files._near_a_tie(found, seen).tolist() == [False, True, True]


def test_the_log_of_tf2onnx_is_as_before_afterwards():
    logger = logging.getLogger("tf2onnx")
    before = logger.propagate, list(logger.handlers)
    with onnx_files._logged() as lines:
        logger.error("Tensorflow op [a/b: C] is not supported")
    assert lines == ["Tensorflow op [a/b: C] is not supported"]
    assert (logger.propagate, logger.handlers) == before
