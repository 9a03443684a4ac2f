"""Their code: what badnet.custom_objects names is imported, once, and nothing else is."""

from pathlib import Path

import keras
import pytest
from keras.src.saving import object_registration as registry

from sweep import BadInput
from sweep.networks.custom_objects import load_custom_objects

OWN = """
import dataclasses
import keras
from keras.layers import Dense

class Mine(Dense):
    pass

@keras.saving.register_keras_serializable(package="strangers")
class Registered(keras.layers.Layer):
    pass

@dataclasses.dataclass
class Half(keras.regularizers.Regularizer):
    share: float = 0.5

def double(x):
    return 2 * x

def _hidden(x):
    return x

LIMIT = 7
with open(__file__ + ".runs", "a") as runs:
    runs.write("run ")
"""
NAMES = {"Mine", "Registered", "strangers>Registered", "Half", "double"}


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """What is registered here is forgotten after."""
    monkeypatch.setattr(registry, "GLOBAL_CUSTOM_OBJECTS", {})
    monkeypatch.setattr(registry, "GLOBAL_CUSTOM_NAMES", {})


@pytest.fixture
def own(tmp_path) -> Path:
    (tmp_path / "layers.py").write_text(OWN)
    return tmp_path / "layers.py"


def test_nothing_is_named_by_default():
    assert load_custom_objects(None) == load_custom_objects([]) == {}


def test_a_file_brings_the_public_classes_and_functions_that_are_defined_in_it(own):
    found = load_custom_objects(str(own))
    assert set(found) == NAMES
    assert issubclass(found["Mine"], keras.layers.Dense)
    assert found["double"](3) == 6


def test_a_file_is_found_from_the_current_folder_and_from_the_home(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    monkeypatch.setenv("HOME", str(own.parent))
    assert (
        load_custom_objects("layers.py")
        == load_custom_objects(["~/layers.py"])
        == load_custom_objects(str(own))
    )


def test_a_file_runs_once_until_it_changes(own):
    first, runs = load_custom_objects(str(own)), Path(f"{own}.runs")
    assert load_custom_objects(str(own)) == first
    assert runs.read_text() == "run "
    own.write_text(OWN.replace("Mine", "Ours"))
    assert "Ours" in load_custom_objects(str(own))
    assert runs.read_text() == "run run "


def test_a_dotted_name_brings_itself(own, monkeypatch):
    package = own.parent / "strangers_own"
    package.mkdir()
    own.rename(package / "layers.py")
    monkeypatch.syspath_prepend(own.parent)
    found = load_custom_objects(["strangers_own.layers.Registered", "strangers_own.layers.double"])
    assert set(found) == {"Registered", "strangers>Registered", "double"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone.py", r"there is no file .*/gone.py$"),
        ("~/gone.py", r"there is no file /.*/gone.py$"),
        ("MyLayer", r"names 'MyLayer'; expected a dotted name \(.*\) or a Python file"),
        ("models/layers", "names 'models/layers'; expected a dotted name"),
        (".layers.MyLayer", "names '.layers.MyLayer'; expected a dotted name"),
        ("", "names ''; expected a dotted name"),
        (
            "no_such.layers.MyLayer",
            r"no_such.layers cannot be imported \(ModuleNotFoundError: No module named 'no_such'",
        ),
        ("keras.layers.Denze", "names '.*', but keras.layers has no class or function 'Denze'$"),
        ("keras.layers", "names 'keras.layers', but keras has no class or function 'layers'$"),
    ],
)
def test_a_name_that_brings_nothing_is_refused_in_a_sentence(name, sentence):
    with pytest.raises(BadInput, match=f"^badnet.custom_objects:? {sentence}") as refused:
        load_custom_objects([name])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("code", ["def half(", "1 / 0", "raise ValueError('two\\nlines')"])
def test_code_that_cannot_be_imported_is_refused_in_a_sentence(code, tmp_path):
    (tmp_path / "layers.py").write_text(code)
    with pytest.raises(BadInput, match=r"layers.py cannot be imported \(\w+Error: ") as refused:
        load_custom_objects(str(tmp_path / "layers.py"))
    assert "\n" not in str(refused.value)


def test_two_files_of_one_name_are_two_modules(tmp_path):
    found = []
    for folder, value in (("a", 1), ("b", 2)):
        path = tmp_path / folder / "layers.py"
        path.parent.mkdir()
        path.write_text(f"def act(x):\n    return {value} * x\n")
        found.append(load_custom_objects(str(path))["act"])
    assert [act(1) for act in found] == [1, 2]
    assert found[0].__module__ != found[1].__module__
