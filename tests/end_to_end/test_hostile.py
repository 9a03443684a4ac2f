"""A thousand files and settings made to break it: each ends in a sentence or in a right result.

No code of theirs runs, and nothing is written but where runs write.
"""

import io
import json
import os
import pickle
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import hydra
import keras
import mlflow
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep import BadInput, networks
from sweep.cli import checks, hydra_errors
from sweep.data import sources
from sweep.tracking import store

ROOT = Path(__file__).resolve().parents[2]
COUNT, SHAPE = 6, (3, 8, 7)


def cases(count: int):
    """So many drawn ones; what a test is given besides is the same for all of them."""
    ignored = [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ]
    return settings(
        max_examples=count, deadline=None, database=None,
        suppress_health_check=ignored,
    )  # fmt: skip


@contextmanager
def sentence():
    """What is refused is refused in one line."""
    try:
        yield
    except BadInput as error:
        told = str(error)
    else:
        return
    assert told
    assert "\n" not in told


def looked_at(path: Path) -> None:
    """Read a file as a run does; images and labels must be what they are said to be."""
    images = pixels = None
    with sentence():
        images = sources.h5(valid=str(path), test=str(path)).read("valid")
        pixels = images.pixels[:]
    if pixels is None:
        return
    assert pixels.dtype == np.float32
    assert pixels.shape == (len(images), *images.shape)
    assert np.isfinite(pixels).all()
    assert images.labels.shape == (len(images),)
    assert images.labels.min() >= 0


DTYPES = st.sampled_from(
    ["u1", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "?", "S3", "O", "compound", "enum"]
)
SHAPES = st.one_of(
    st.just((COUNT, *SHAPE)),
    st.just((COUNT, 8, 7, 3)),
    st.just((COUNT,)),
    st.lists(st.integers(0, 8), max_size=5).map(tuple),
)
HOW = st.sampled_from([None, "gzip", "lzf", "shuffle", "fletcher32", "scaleoffset", "chunks"])


def filled(dtype: str, shape: tuple[int, ...], seed: int, odd: float | None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "compound":
        return np.zeros(shape, [("a", "f4"), ("b", "i4")])
    if dtype in ("S3", "O"):
        return np.full(shape, b"abc", dtype)
    values = rng.integers(0, 3, shape).astype("u1" if dtype == "enum" else dtype)
    if odd is not None and values.size and values.dtype.kind in "fc":
        values.reshape(-1)[rng.integers(values.size)] = odd
    return values


@st.composite
def datasets(draw) -> dict:
    odd = st.sampled_from([None, None, np.nan, np.inf, -1.0, 1e30])
    told = {}
    for name in draw(
        st.sampled_from([("data", "label"), ("data",), ("data", "label", "true_label")])
    ):
        dtype, shape = (
            draw(DTYPES),
            draw(
                SHAPES
                if name == "data"
                else st.sampled_from(
                    [(COUNT,), (COUNT,), (COUNT, 1), (COUNT, 4), (), (COUNT + 1,), (0,), (2, 3, 4)]
                )
            ),
        )
        told[name] = (filled(dtype, shape, draw(st.integers(0, 99)), draw(odd)), draw(HOW))
    return told


def put(file: h5py.File, name: str, values: np.ndarray, how: str | None) -> None:
    options = {} if how is None else {"compression": how} if how in ("gzip", "lzf") else {how: True}
    dtype = h5py.string_dtype() if values.dtype == object else None
    try:
        file.create_dataset(name, data=values, dtype=dtype, **options)
    except (TypeError, ValueError):  # what HDF5 itself does not put together so
        file.create_dataset(name, data=values, dtype=dtype)


@cases(350)
@given(told=datasets())
def test_files_of_any_dtype_shape_and_compression(told, tmp_path):
    path = tmp_path / "any.h5"
    with h5py.File(path, "w") as file:
        for name, (values, how) in told.items():
            put(file, name, values, how)
    looked_at(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        pixels = rng.integers(0, 256, (COUNT, *SHAPE), "u1")
        file.create_dataset("data", data=pixels, compression="gzip", chunks=(2, *SHAPE))
        file["label"] = np.arange(COUNT) % 3
    return path.read_bytes()


@cases(150)
@given(
    cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8)
)
def test_files_cut_off_and_with_flipped_bytes(whole, cut, flips, tmp_path):
    content = bytearray(whole[: int(len(whole) * (cut if len(flips) < 2 else 1))])
    for place, value in flips:
        if content:
            content[int(place * (len(content) - 1))] = value
    path = tmp_path / "damaged.h5"
    path.write_bytes(content)
    looked_at(path)


@cases(50)
@given(
    count=st.sampled_from([10**6, 10**9, 2**40]),
    chunks=st.booleans(),
    written=st.booleans(),
    name=st.sampled_from(["data", "label"]),
)
def test_files_that_declare_more_than_they_hold(count, chunks, written, name, tmp_path):
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        shapes = {"data": (COUNT, *SHAPE), "label": (COUNT,)}
        shapes[name] = (count, *shapes[name][1:])
        for each, shape in shapes.items():
            rows = (min(shape[0], 1000), *shape[1:])
            here = chunks or each == name
            made = file.create_dataset(each, shape, "u1", chunks=rows if here else None)
            if written or each != name:
                made[:COUNT] = 1
    looked_at(path)


@pytest.mark.parametrize("target", ["elsewhere.h5", "/etc/passwd", "itself", "nowhere.h5"])
@pytest.mark.parametrize("kind", ["external", "soft", "group", "virtual", "raw"])
def test_files_that_point_elsewhere(kind, target, whole, tmp_path):
    (tmp_path / "elsewhere.h5").write_bytes(whole)
    path = tmp_path / "links.h5"
    place = str(path if target == "itself" else tmp_path / target)
    with h5py.File(path, "w") as file:
        file["label"] = np.arange(COUNT) % 3
        if kind == "external":
            file["data"] = h5py.ExternalLink(place, "data")
        if kind == "soft":
            file["data"] = h5py.SoftLink("/data")
        if kind == "group":
            file.create_group("data")
        if kind == "virtual":
            layout = h5py.VirtualLayout((COUNT, *SHAPE), "u1")
            layout[:] = h5py.VirtualSource(place, "data", (COUNT, *SHAPE))
            file.create_virtual_dataset("data", layout)
        if kind == "raw":
            file.create_dataset("data", (COUNT, *SHAPE), "u1", external=[(place, 0, 10**4)])
    looked_at(path)


@pytest.mark.parametrize("kind", ["external", "chain", "virtual", "raw"])
def test_pipes_are_not_waited_for(kind, tmp_path):
    pipe, path = tmp_path / "pipe", tmp_path / "links.h5"
    os.mkfifo(pipe)
    with h5py.File(path, "w") as file:
        file["label"] = np.arange(COUNT) % 3
        if kind == "external":
            file["data"] = h5py.ExternalLink("pipe", "data")
        if kind == "chain":
            with h5py.File(tmp_path / "next.h5", "w") as other:
                other["data"] = h5py.ExternalLink("pipe", "data")
            file["data"] = h5py.ExternalLink("next.h5", "data")
        if kind == "virtual":
            layout = h5py.VirtualLayout((COUNT, *SHAPE), "u1")
            layout[:] = h5py.VirtualSource(str(pipe), "data", (COUNT, *SHAPE))
            file.create_virtual_dataset("data", layout)
        if kind == "raw":
            file.create_dataset("data", (COUNT, *SHAPE), "u1", external=[("pipe", 0, 10**4)])
    with pytest.raises(BadInput, match="pipe, which is not a file"):
        sources.h5(valid=str(path), test=str(path)).read("valid")


# Networks


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> dict[str, bytes]:
    """One small network as .keras, whole .h5 and weights."""
    folder, inputs = tmp_path_factory.mktemp("network"), keras.Input((8, 7, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv_1")(inputs)
    made = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    made.save(folder / "a.keras")
    made.save(folder / "b.h5")
    made.save_weights(folder / "c.weights.h5")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def loaded(path: Path) -> None:
    """Load it as a run does; what comes must be a classifier of images."""
    found = None
    with sentence():
        found = networks.load(path)
        shape, classes = networks.shape_and_classes(found)
    if found is None:
        return
    assert isinstance(found, keras.Model)
    assert classes >= 2
    assert len(shape) >= 1


@cases(120)
@given(
    name=st.sampled_from(["a.keras", "b.h5", "c.weights.h5"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=5),
)
def test_networks_cut_off_and_with_flipped_bytes(network, name, cut, flips, tmp_path):
    content = bytearray(network[name][: int(len(network[name]) * (cut if len(flips) < 2 else 1))])
    for place, value in flips:
        if content:
            content[int(place * (len(content) - 1))] = value
    path = tmp_path / name
    path.write_bytes(content)
    loaded(path)


class Evil:
    """What a pickle runs when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def config_of(content: bytes) -> dict:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("config.json"))


def with_config(content: bytes, config: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, config if name == "config.json" else old.read(name))
    return out.getvalue()


def calls(canary: Path) -> list[dict]:
    """Layers, or what stands for one, that would run code."""
    command = f"__import__('os').system('touch {canary}')"
    made = keras.layers.Lambda(lambda x, c=str(canary): os.system(f"touch {c}") or x)
    told = [keras.saving.serialize_keras_object(made)]
    for module, name in (("os", "system"), ("subprocess", "run"), ("builtins", "eval")):
        told.append({"module": module, "class_name": name, "config": {"x": command}})
        told.append({"module": module, "class_name": name, "config": [command]})
        told.append({"class_name": "function", "config": name, "module": module})
    told.append({"module": "keras.layers", "class_name": "Lambda", "config": {"function": command}})
    told.append({"class_name": "__lambda__", "config": {"value": command}})
    told.append(
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(canary)}}
    )
    return told


@pytest.mark.parametrize("place", ["layer", "activation", "initializer", "root"])
@pytest.mark.parametrize("number", range(13))
def test_networks_that_bring_code(network, number, place, tmp_path):
    canary = tmp_path / "canary"
    theirs, config = calls(canary)[number], config_of(network["a.keras"])
    layer = config["config"]["layers"][1]
    if place == "layer":
        layer |= theirs
    elif place == "root":
        config = theirs
    else:
        key = {"activation": "activation", "initializer": "kernel_initializer"}[place]
        layer["config"][key] = theirs
    path = tmp_path / "theirs.keras"
    path.write_bytes(with_config(network["a.keras"], json.dumps(config)))
    loaded(path)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5", "theirs.pkl", "theirs.npy"])
def test_pickles_are_not_read(name, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / name
    if name.endswith("npy"):
        np.save(path, np.array([Evil(canary)]), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Evil(canary)))
    loaded(path)
    with zipfile.ZipFile(tmp_path / "zipped.keras", "w") as archive:
        archive.writestr("config.json", pickle.dumps(Evil(canary)))
        archive.writestr("model.weights.h5", pickle.dumps(Evil(canary)))
        archive.writestr("metadata.json", "{}")
    loaded(tmp_path / "zipped.keras")
    assert not canary.exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@cases(100)
@given(drawn=st.data())
def test_networks_whose_description_is_nonsense(network, drawn, tmp_path):
    config = config_of(network["a.keras"])
    places: list[tuple] = []

    def walk(node) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(config)
    for _ in range(drawn.draw(st.integers(1, 3))):
        node, key = drawn.draw(st.sampled_from(range(len(places))).map(places.__getitem__))
        node[key] = drawn.draw(JSON)
    path = tmp_path / "nonsense.keras"
    path.write_bytes(with_config(network["a.keras"], json.dumps(config)))
    loaded(path)


# Settings


KEYS = """
seed verdict inspect rerun data.scale data.valid_images data.identities data.seed
data.images_per_identity data.folder attack.target attack.rate attack.white badnet.epochs
badnet.batch_size badnet.learning_rate badnet.seed badnet.folder prune.layer prune.unit prune.scope
prune.frac prune.count prune.keep prune.semantics prune.u prune.alpha prune.recompute prune.step
tracking.uri tracking.experiment tracking.models cache.folder cache.max_gb cache.memory_gb
data attack badnet prune/order prune/stop repair strategy case experiment nonsense
prune.nonsense +more
""".split()  # noqa: SIM905
GIVEN = """
null true -1 0 1 0.5 1e400 nan inf [] [1,2] {} {a:1} ../../x /etc/passwd '' '${seed}'
'${nope}' auto all conv_3 [conv_2,conv_3] [finetune] [unlearn,finetune] h5 file
9999999999999999999
""".split()  # noqa: SIM905
VALUES = st.one_of(
    st.sampled_from(GIVEN),
    st.text("abcdefgh_./-", min_size=1, max_size=8),
)


@cases(200)
@given(given=st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=4))
def test_settings_of_any_kind(given, tmp_path, monkeypatch):
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path / "project"))
    monkeypatch.chdir(tmp_path)
    overrides = ["data.identities=4", "data.images_per_identity=4"]
    overrides += [f"{key}={value}" for key, value in given]
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        try:
            cfg = hydra.compose("config", overrides=overrides)
            checks.check(cfg, checks.checked_parts(cfg))
        except BadInput:  # of several sentences
            pass
        except Exception as error:
            if hydra_errors.config_error(error) is None:
                raise
    assert {path.name for path in tmp_path.iterdir()} <= {"project"}


@pytest.mark.parametrize(
    "experiment", ["../../out", "/elsewhere/out", "a/../../b", "..", "a\0b", " "]
)
def test_an_experiments_name_does_not_lead_out_of_the_folder(experiment, root):
    found = None
    with suppress(BadInput):
        found = store.connect(None, experiment, root)
    if found is None:
        return
    place = mlflow.get_experiment(found).artifact_location.removeprefix("file://")
    assert Path(os.path.normpath(place)).is_relative_to(root / "mlruns")
