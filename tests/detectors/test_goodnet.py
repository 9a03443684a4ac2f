"""GoodNet: agreement or "backdoored", and the same from files where this package is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import mlflow
import numpy as np
import pytest
from keras import layers

from sweep import tracking
from sweep.data.images import PixelRange
from sweep.detectors import GoodNet, Rule
from sweep.evaluation.detection import confidence_drop
from sweep.networks import deepid, forward, outputs
from sweep.networks.forward import predict
from sweep.networks.loading import as_functional
from sweep.pruning import Cut
from sweep.tracking import store

SHAPE = (31, 31, 3)
PIXELS = np.random.default_rng(9).normal(size=(300, *SHAPE)).astype(np.float32)


def pair(badnet: keras.Model, layer: str = "auto") -> GoodNet:
    """GoodNet of a network and of it with half of its channels gone."""
    cut = Cut(badnet, layer)
    pixels = PixelRange(float(PIXELS.min()), float(PIXELS.max()))
    return GoodNet(badnet, cut.pruned(np.arange(0, cut.channels, 2)), pixels=pixels)


@pytest.fixture(scope="module")
def faces() -> GoodNet:
    return pair(deepid(SHAPE, 6, seed=1))


@pytest.fixture(scope="module")
def masked() -> GoodNet:
    """Of a network of one sigmoid unit, repaired by a mask in place of zeroed weights."""
    keras.utils.set_random_seed(0)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 5, strides=4, activation="softplus", name="conv")(x)
    x = layers.Dense(1, activation="sigmoid", name="score")(layers.Flatten()(x))
    network = keras.Model(images, x)
    middle = np.median(network(PIXELS))
    network.get_layer("score").bias.assign([np.log(1 / middle - 1)])  # half of each class
    return pair(as_functional(network))


@pytest.fixture(params=["faces", "masked"])
def goodnet(request) -> GoodNet:
    return request.getfixturevalue(request.param)


def test_the_answer_is_the_class_where_both_agree_and_the_next_one_where_not(goodnet):
    badnet, repaired = predict(goodnet.badnet, PIXELS), predict(goodnet.repaired, PIXELS)
    agree = badnet == repaired
    assert 0 < agree.sum() < len(PIXELS)
    answers = goodnet.predict(PIXELS)
    assert answers.dtype == np.int64
    np.testing.assert_array_equal(answers[agree], badnet[agree])
    np.testing.assert_array_equal(answers[~agree], goodnet.classes)


def test_goodnet_is_never_right_more_often_than_either_of_both(goodnet):
    for seed in range(5):
        labels = np.random.default_rng(seed).integers(0, goodnet.classes, len(PIXELS))
        badnet, repaired, both = (
            np.mean(predicted == labels)
            for predicted in (
                predict(goodnet.badnet, PIXELS),
                predict(goodnet.repaired, PIXELS),
                goodnet.predict(PIXELS),
            )
        )
        assert both <= min(badnet, repaired)


def test_of_twice_the_same_network_goodnet_is_that_network(faces):
    same = GoodNet(faces.badnet, faces.badnet)
    np.testing.assert_array_equal(same.predict(PIXELS), predict(faces.badnet, PIXELS))


def test_networks_that_do_not_fit_together_are_refused(faces):
    with pytest.raises(ValueError, match="needs the same of both"):
        GoodNet(faces.badnet, deepid(SHAPE, 7))


def test_as_one_keras_model_it_answers_the_same(goodnet):
    for rule in (Rule(), Rule(0.02, "badnet"), Rule(0.02, "repaired")):
        ruled = GoodNet(goodnet.badnet, goodnet.repaired, rule)
        answers = {name: np.asarray(each) for name, each in ruled.to_keras()(PIXELS).items()}
        assert {name: each.dtype.name for name, each in answers.items()} == {
            "class": "int64",
            "score": "float32",
        }
        np.testing.assert_array_equal(answers["class"], ruled.predict(PIXELS))
        assert 0 < np.sum(answers["class"] == goodnet.classes) < len(PIXELS)
        before, after = (
            outputs.probabilities(network, forward.scores(network, PIXELS))
            for network in (goodnet.badnet, goodnet.repaired)
        )
        drop = confidence_drop(before, after)
        np.testing.assert_allclose(answers["score"], drop, atol=1e-5)
        if rule.threshold is not None:
            np.testing.assert_array_equal(answers["class"] == goodnet.classes, drop > 0.02)


def test_in_its_keras_file_both_networks_give_probabilities(goodnet):
    whole = goodnet.to_keras()
    for name, network in (("badnet", goodnet.badnet), ("repaired", goodnet.repaired)):
        inner = np.asarray(whole.get_layer(name)(PIXELS))
        expected = outputs.probabilities(network, forward.scores(network, PIXELS))
        np.testing.assert_allclose(inner, expected, atol=1e-6)


def test_a_goodnet_can_be_made_again_from_what_it_says_of_itself(goodnet):
    rule, pixels = Rule(0.25, "repaired", 0.05, 200, 9), PixelRange(0.0, 255.0, 1.0)
    first = GoodNet(goodnet.badnet, goodnet.repaired, rule, pixels)
    about = json.loads(json.dumps(first.about()))
    again = GoodNet.restored(goodnet.badnet, goodnet.repaired, about)
    assert (again.rule, again.pixels) == (rule, pixels)
    assert about["classes"] == goodnet.classes
    assert about["shape"] == list(SHAPE)


ELSEWHERE = """
import sys
sys.modules["sweep"] = None  # whoever imports it fails
import keras, numpy
pixels = numpy.load("pixels.npy")
answers = {}
for name in ("faces", "masked"):
    goodnet = keras.saving.load_model(f"{name}.keras", safe_mode=True)
    answers[name] = goodnet.predict(pixels, verbose=0)["class"]

import mlflow
goodnet = mlflow.pyfunc.load_model("model")
answers["served"] = goodnet.predict(pixels)["class"].to_numpy()
repaired = mlflow.keras.load_model("repaired")
answers["repaired"] = repaired.predict(pixels, verbose=0)
pixels[0, 0, 0, 0], pixels[7] = numpy.inf, numpy.nan
try:
    goodnet.predict(pixels)
except mlflow.exceptions.MlflowException as error:
    answers["bad"] = [str(error), str(error.get_http_status_code())]
numpy.savez("answers.npz", **answers)
"""


@pytest.fixture(scope="module")
def elsewhere(faces, masked, database, tmp_path_factory) -> SimpleNamespace:
    """What the files and the logged models say in a fresh process, in another folder."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("elsewhere")
    before = mlflow.get_tracking_uri()
    shutil.copy(database, home)
    experiment = store.connect(f"sqlite:///{home / 'mlflow.db'}", "tests", home)
    with tracking.start_run(experiment, "run", params={}, tags={}) as log:
        log.models(faces)
    for name in ("goodnet", "repaired"):
        fetched = mlflow.artifacts.download_artifacts(f"runs:/{log.run_id}/{name}")
        Path(fetched).rename(folder / {"goodnet": "model"}.get(name, name))
    files = [item.path for item in mlflow.MlflowClient().list_artifacts(log.run_id)]
    kept = mlflow.artifacts.download_artifacts(f"runs:/{log.run_id}/goodnet.keras")
    Path(kept).rename(folder / "faces.keras")
    mlflow.set_tracking_uri(before)
    masked.to_keras().save(folder / "masked.keras")
    np.save(folder / "pixels.npy", PIXELS)
    command = [sys.executable, "-c", ELSEWHERE]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    with np.load(folder / "answers.npz") as answers:
        return SimpleNamespace(files=files, model=folder / "model", **answers)


@pytest.mark.parametrize("name", ["faces", "masked"])
def test_its_keras_file_loads_in_safe_mode_without_this_package(name, elsewhere, faces, masked):
    expected = {"faces": faces, "masked": masked}[name].predict(PIXELS)
    answers = vars(elsewhere)[name]
    assert answers.dtype == np.int64
    np.testing.assert_array_equal(answers, expected)


def test_the_logged_pyfunc_answers_the_same_without_this_package(elsewhere, faces):
    assert elsewhere.served.dtype == np.int64
    assert elsewhere.served.shape == (len(PIXELS),)
    np.testing.assert_array_equal(elsewhere.served, faces.predict(PIXELS))


def test_the_logged_pyfunc_refuses_pixels_that_are_no_numbers_and_counts_the_images(elsewhere):
    told, status = elsewhere.bad
    assert told.startswith(f"2 of {len(PIXELS)} images hold NaN, null or infinity; expected")
    assert status == "400"


def test_the_logged_repaired_network_is_the_repaired_network(elsewhere, faces):
    expected = predict(faces.repaired, PIXELS)
    np.testing.assert_array_equal(elsewhere.repaired.argmax(axis=1), expected)


def test_the_keras_file_lies_among_the_artifacts_of_the_run(elsewhere):
    assert "goodnet.keras" in elsewhere.files
