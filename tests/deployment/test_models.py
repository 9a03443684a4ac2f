"""Where a GoodNet may be named, and what of it is refused."""

import json
import shutil

import deployed
import keras
import mlflow
import numpy as np
import pytest
from served_goodnet import about, logged

from sweep import BadInput
from sweep.deployment import models
from sweep.detectors import Rule


@pytest.fixture(scope="module")
def run(tmp_path_factory, database):
    """A run that was logged with its GoodNet: the folder of that, and the database."""
    folder = tmp_path_factory.mktemp("run")
    path, _ = logged(folder, about(images=100, flagged=1), database)
    return path, f"sqlite:///{folder / 'mlflow.db'}"


def check(found: models.Deployed) -> None:
    assert found.shape == (8, 6, 3)
    assert found.classes == 4
    assert found.rule == Rule(0.83, "repaired", 0.01, 100, 1)
    assert (found.scale, found.low, found.high) == (255.0, 0.0, 1.0)
    assert found.accepted == (0.0, pytest.approx(1))
    assert found.unknown == ""


def test_every_way_to_name_a_model_finds_the_same(run, tmp_path, monkeypatch):
    path, uri = run
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tests").experiment_id
    (one,) = client.search_runs([experiment])
    run_id = one.info.run_id
    client.create_registered_model("faces")
    version = client.create_model_version("faces", f"runs:/{run_id}/goodnet", run_id)
    client.set_registered_model_alias("faces", "best", version.version)
    kept = shutil.copytree(path, tmp_path / "kept")
    alone = shutil.copytree(path / "artifacts", tmp_path / "alone")
    (logged_model,) = client.search_logged_models([experiment], "name = 'goodnet'")
    source = logged_model.artifact_location
    client.create_registered_model("whole")
    client.create_model_version("whole", source)
    names = [run_id, f"runs:/{run_id}/goodnet", "models:/faces@best", "models:/faces/1"]
    names += ["models:/whole/1", f"models:/{logged_model.model_id}"]
    for name in [*names, str(kept), str(alone), str(alone / "goodnet.keras")]:
        check(models.find(name, uri))
    with pytest.raises(BadInput, match="is B' alone; expected GoodNet, the model `goodnet`"):
        models.find(f"runs:/{run_id}/repaired", uri)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("0" * 32, r"^runs:/0{32}/goodnet cannot be had from sqlite:.* not found"),
        ("runs:/x/goodnet", "runs:/x/goodnet cannot be had from sqlite:"),
        ("models:/nothing@best", "models:/nothing@best cannot be had from sqlite:.*nothing"),
        ("nothing", "^there is no nothing; expected a run's id, runs:/ID/goodnet, models:/NAME@AL"),
        ("0" * 31, "^there is no 0{31}; expected a run's id"),
    ],
)
def test_what_is_not_there_is_told(name, says, run):
    with pytest.raises(BadInput, match=says):
        models.find(name, run[1])


def test_a_database_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"mlflow.db is not there; expected the database"):
        models.find("0" * 32, f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_folders_and_files_that_are_no_goodnet(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty holds no goodnet.keras; expected a run's id"):
        models.find(str(tmp_path / "empty"))
    (tmp_path / "text.keras").write_text("no network")
    with pytest.raises(BadInput, match=r"text.keras cannot be loaded as a network \(\w+:"):
        models.find(str(tmp_path / "text.keras"))
    deployed.network(deployed.B).save(tmp_path / "b.keras")
    with pytest.raises(
        BadInput, match=r"b.keras is no GoodNet, whose output is class and score, of"
    ):
        models.find(str(tmp_path / "b.keras"))


SAID = {
    "no JSON": ("{", "goodnet.json is no JSON"),
    "a list": ("[]", "holds a list; expected a JSON object of facts"),
    "other classes": (
        {"classes": 43},
        "says classes 43, and the network beside it has 3; expected",
    ),
    "other shape": ({"shape": [1, 2, 3]}, r"says shape \[1, 2, 3\], and the network beside it has"),
    "scale 0": ({"scale": 0}, "says scale 0; expected a number"),
    "scale of text": ({"scale": "255"}, "says scale '255'; expected a number"),
    "half a range": ({"high": None}, "says one of low and high; expected both or none"),
    "other rule": ({"rule": "luck"}, "says rule 'luck', threshold 0.4, answer 'badnet'; expected"),
    "no threshold": ({"threshold": None}, "says rule 'score', threshold None"),
    "NaN": ({"threshold": float("nan")}, "says rule 'score', threshold nan"),
    "true": ({"threshold": True}, "says rule 'score', threshold True"),
    "other answer": ({"answer": "both"}, "answer 'both'; expected"),
    "counts": ({"images": 1, "flagged": 2}, "says {'images': 1, 'flagged': 2}; expected numbers"),
    "parts": ({"images": 1.5}, "says {'images': 1.5, 'flagged': 2}"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_goodnet_json_that_cannot_be_its_own_is_refused(name, tmp_path):
    said, part = SAID[name]
    path = deployed.save(tmp_path, told=said if isinstance(said, dict) else None)
    if isinstance(said, str):
        path.with_name("goodnet.json").write_text(said)
    with pytest.raises(BadInput, match=part):
        models.find(str(path))


def test_layers_of_ones_own_are_named_and_then_loaded(tmp_path):
    code = tmp_path / "layers.py"
    code.write_text(
        "import keras\n\nclass Doubled(keras.layers.Layer):\n    def call(self, x):\n"
        "        return 2 * x\n"
    )
    own = models.load_custom_objects(str(code))["Doubled"]
    images = keras.Input(deployed.SHAPE)
    means = keras.layers.GlobalAveragePooling2D()(own()(images))
    network = keras.Model(images, keras.layers.Dense(3, activation="softmax")(means))
    goodnet = deployed.GoodNet(network, deployed.network(deployed.B)).to_keras()
    goodnet.save(tmp_path / "goodnet.keras")
    with pytest.raises(
        BadInput, match=r"\('Doubled' is not known to Keras\); if you trust the code"
    ):
        models.find(str(tmp_path / "goodnet.keras"))
    with pytest.raises(BadInput, match=r"^--custom-objects: there is no file .*nothing.py"):
        models.find(str(tmp_path / "goodnet.keras"), custom_objects=["nothing.py"])
    found = models.find(str(tmp_path / "goodnet.keras"), custom_objects=[str(code)])
    pixels = deployed.images(4) / np.float32(255)
    np.testing.assert_allclose(found.badnet(pixels), network(pixels), atol=1e-6)


def test_what_is_not_known_is_said(tmp_path):
    path = deployed.save(tmp_path)
    assert models.find(str(path)).unknown == ""
    said = json.loads(path.with_name("goodnet.json").read_text())
    del said["scale"]
    path.with_name("goodnet.json").write_text(json.dumps(said))
    assert models.find(str(path)).unknown == (
        "goodnet.json does not say all, so these are not known: what pixels in files are divided "
        "by (taken as they are but for --scale)."
    )
