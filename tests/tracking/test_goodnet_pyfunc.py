"""GoodNet as a model of MLflow, in process: what it answers, and in what sentence it refuses."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import keras
import mlflow
import numpy as np
import pytest
from served_goodnet import (
    BAD_INPUTS,
    BAD_PARAMS,
    CLASSES,
    SHAPE,
    about,
    base64_of,
    goodnet,
    images,
    logged,
    npy,
    png,
)

from sweep.tracking.models import COLUMNS, accepted

PIXELS = images(40)
SEEN = (PIXELS / np.float32(255)).astype(np.float32)
TYPES = {"long": "int64", "float": "float32", "boolean": "bool"}


@pytest.fixture(scope="module")
def load(tmp_path_factory, database):
    """The model that is loaded from what was logged of a goodnet.json, and its network."""
    known = {}

    def loaded(**changed) -> SimpleNamespace:
        key = json.dumps(changed)
        if key not in known:
            path, network = logged(tmp_path_factory.mktemp("logged"), about(**changed), database)
            model = mlflow.pyfunc.load_model(str(path))
            known[key] = SimpleNamespace(path=path, network=network, predict=model.predict)
        return known[key]

    return loaded


@pytest.fixture
def model(load) -> SimpleNamespace:
    return load()


def refusal(model: SimpleNamespace, given: object, params: object = None) -> str:
    """The sentence of which it is certain that a server would send it as it is."""
    with pytest.raises(mlflow.MlflowException) as caught:
        model.predict(given, params)
    assert caught.value.get_http_status_code() == 400
    told = str(caught.value)
    caught.value.message = f"Failed to predict data '{given}'. \nError: {told}"
    assert json.loads(caught.value.serialize_as_json())["message"] == told
    assert len(told) < 400
    assert ". " not in told
    assert "\n" not in told
    return told


@pytest.mark.parametrize("answer", ["repaired", "badnet"])
@pytest.mark.parametrize("rule", ["score", "vote"])
def test_it_answers_as_the_keras_file(load, rule, answer):
    model = load(rule=rule, answer=answer, threshold=0.83 if rule == "score" else None)
    table, expected = model.predict(SEEN), model.network(SEEN)
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {
        name: TYPES[kind] for name, kind in COLUMNS.items()
    }
    np.testing.assert_array_equal(table["class"], expected["class"])
    np.testing.assert_allclose(table["score"], expected["score"], atol=1e-6)
    np.testing.assert_array_equal(table["flagged"], table["class"] == CLASSES)
    assert 0 < table["flagged"].sum() < len(SEEN)


def test_it_answers_what_each_network_says(model):
    table = model.predict(SEEN)
    for name in ("badnet", "repaired"):
        probabilities = np.asarray(model.network.get_layer(name)(SEEN))
        np.testing.assert_array_equal(table[f"{name}_class"], probabilities.argmax(axis=1))
        np.testing.assert_allclose(
            table[f"{name}_probability"], probabilities.max(axis=1), atol=1e-6
        )


@pytest.mark.parametrize("rule", ["score", "vote"])
def test_a_threshold_of_the_request_replaces_the_rule(load, rule):
    model = load(rule=rule, threshold=0.83 if rule == "score" else None)
    for threshold in (0, 0.5, 0.97, 1.0):
        table = model.predict(SEEN, {"threshold": threshold})
        np.testing.assert_array_equal(table["flagged"], table["score"] > np.float32(threshold))
        kept = table[~table["flagged"]]
        np.testing.assert_array_equal(kept["class"], kept["repaired_class"])
    own = model.predict(SEEN, {"threshold": None, "plain": False})
    assert own.equals(model.predict(SEEN))


@pytest.mark.parametrize("answer", ["repaired", "badnet"])
def test_plain_answers_the_classes_of_the_repaired_network(load, answer):
    table = load(answer=answer).predict(SEEN, {"plain": True, "threshold": 0.1})
    assert not table["flagged"].any()
    np.testing.assert_array_equal(table["class"], table["repaired_class"])


FORMS = {
    "float64": SEEN.astype(np.float64),
    "big-endian": SEEN.astype(">f4"),
    "by columns": np.asfortranarray(SEEN),
    "lists": SEEN.tolist(),
    "list of arrays": list(SEEN),
    "objects": SEEN.astype(object),
    "one npy": [base64_of(npy(SEEN))],
    "text alone": base64_of(npy(SEEN)),
    "array of texts": np.array([base64_of(npy(SEEN))]),
    "npy by columns": [base64_of(npy(np.asfortranarray(SEEN)))],
    "npy each": [base64_of(npy(one.astype(np.float64))) for one in SEEN],
    "png each": [base64_of(png(one)) for one in PIXELS],
    "mixed": [base64_of(npy(SEEN[:7])), *(base64_of(png(one)) for one in PIXELS[7:])],
    "folded lines": [base64_of(npy(SEEN)).replace("A", "A\n")],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_images_get_the_same_answers_in_each_form(model, form):
    table, expected = model.predict(FORMS[form]), model.predict(SEEN)
    np.testing.assert_array_equal(table["class"], expected["class"])
    np.testing.assert_allclose(table["score"], expected["score"], atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["uint8", "int64", "float16", "float32", "float64", "lists", "png"]
)
def test_pixels_of_0_to_255_are_taken_as_they_are_where_the_networks_want_these(load, kind):
    model = load(high=255.0, scale=1.0)
    given = PIXELS.tolist() if kind == "lists" else PIXELS
    if kind == "png":
        given = [base64_of(png(one)) for one in PIXELS]
    elif kind != "lists":
        given = PIXELS.astype(kind)
    expected = model.network(PIXELS.astype(np.float32))
    np.testing.assert_array_equal(model.predict(given)["class"], expected["class"])


@pytest.mark.parametrize("count", [1, 127, 128, 129, 10_000])
def test_any_number_of_images_is_answered(model, count):
    given = np.resize(SEEN, (count, *SHAPE))
    table = model.predict(given)
    np.testing.assert_array_equal(table["class"], np.resize(model.predict(SEEN)["class"], count))


def test_where_any_size_is_taken_too_small_images_are_refused(load):
    model = load(shape=[None, None, 3])
    for size in ((8, 6, 3), (20, 30, 3)):
        assert len(model.predict(np.full((2, *size), 0.5))) == 2
    told = refusal(model, np.full((2, 1, 1, 3), 0.5))
    # TensorFlow refuses an empty map on some processors, and gives its mean, NaN, on others
    assert told in (
        "the networks cannot take images of shape (1, 1, 3)",
        "B' gives these images probabilities that are NaN",
    )
    shapes = [base64_of(png(images(1, size)[0])) for size in ((8, 6, 3), (9, 6, 3))]
    assert "several shapes" in refusal(model, shapes)


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused_in_one_sentence(model, name):
    given, part = BAD_INPUTS[name]
    assert part in refusal(model, given)


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_params_are_refused(model, name):
    with pytest.raises(mlflow.MlflowException) as caught:
        model.predict(SEEN, {"threshold": BAD_PARAMS[name]})
    assert caught.value.get_http_status_code() == 400


def test_in_process_refusals_count_the_images(model):
    bad = SEEN.copy()
    bad[0, 0, 0, 0], bad[7] = np.inf, np.nan
    assert refusal(model, bad).startswith("2 of 40 images hold NaN, null or infinity; expected 0")
    assert refusal(model, PIXELS) == (
        f"40 of 40 images hold pixels out of range, all lie between 0 and {PIXELS.max()}; "
        "expected 0 to 1, as B sees them: divide pixels of 0 to 255 by 255 (data.scale), once"
    )


def test_pixels_that_were_divided_twice_are_refused_and_dark_images_are_not(load):
    for scale, high in ((255.0, 1.0), (1.0, 255.0)):
        model = load(high=high, scale=scale)
        assert "divided twice" in refusal(model, SEEN * np.float32(high / 255))
        dark = (PIXELS > 200) / np.float32(scale)
        assert len(model.predict(dark)) == len(model.predict(dark * 0)) == len(PIXELS)


@pytest.mark.parametrize(
    ("seen", "scale", "most"),
    [
        ((0.0, 1.0), 255.0, (0, 1)),
        ((0.02, 0.97), 255.0, (0, 1)),
        ((0.0, 1.0), 1.0, (0, 1)),
        ((3.0, 250.0), 1.0, (0, 255)),
        ((0.0, 2.0), 127.5, (0, 2)),
        ((-2.0, 3.0), 1.0, (-2.5, 3.5)),
        ((0.0, 0.2), 255.0, (-0.02, 0.22)),
        ((None, None), 1.0, (-3.4028235e38, 3.4028235e38)),
    ],
)
def test_which_pixels_are_accepted(seen, scale, most):
    np.testing.assert_allclose(accepted(*seen, scale), most, rtol=2e-6)


def test_what_is_pickled_is_not_opened(model, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "opened").write_text, ("",))

    trap = np.array([Trap()], dtype=object)
    assert "no numbers" in refusal(model, [base64_of(npy(trap))])
    assert not (tmp_path / "opened").exists()


def test_the_model_says_what_it_takes_and_what_its_classes_mean(model):
    saved = mlflow.models.Model.load(str(model.path))
    assert saved.metadata == {
        "images": "float32 (n, height, width, channels), pixels as B sees them",
        "shape": [8, 6, 3],
        "pixels": {"low": 0.0, "high": 1.0, "accepted": [0.0, 1.000001], "scale": 255.0},
        "classes": 4,
        "backdoored": 4,
        "answer": "class is 0 .. 3, or 4: backdoored",
    }
    assert saved.signature.inputs is None
    assert [column.name for column in saved.signature.outputs] == list(COLUMNS)
    assert [param.name for param in saved.signature.params] == ["threshold", "plain"]
    files = {path.name for path in (model.path / "artifacts").iterdir()}
    assert files == {"goodnet.keras", "goodnet.json"}
    sizes = {path.name: path.stat().st_size for path in model.path.rglob("*") if path.is_file()}
    of_mlflow = sizes["MLmodel"] + sizes["registered_model_meta"]
    assert saved.model_size_bytes == sum(sizes.values()) - of_mlflow


def test_networks_whose_answers_are_no_numbers_are_told(load):
    model = load(false_alarm=0.5)  # one of its own
    assert len(model.predict(SEEN)) == len(SEEN)
    broken = goodnet(about())
    weights = broken.get_layer("repaired").get_weights()
    broken.get_layer("repaired").set_weights([one * np.nan for one in weights])
    path = model.path / "artifacts" / "goodnet.keras"
    keras.saving.save_model(broken, path)
    loaded = mlflow.pyfunc.load_model(str(model.path))
    assert refusal(loaded, SEEN) == "B' gives these images probabilities that are NaN"


def test_a_png_of_many_pixels_is_refused_by_its_header(load):
    huge = bytearray(png(PIXELS[0]))
    huge[16:24] = (30_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    told = refusal(load(shape=[None, None, 3]), [base64_of(bytes(huge))])
    assert "30000 x 30000" in told
