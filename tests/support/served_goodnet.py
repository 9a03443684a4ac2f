"""Small GoodNets as files, logged as models of MLflow, and images for them in each form."""

import base64
import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
from keras import layers, ops
from PIL import Image

from sweep.tracking import models, store

SHAPE, CLASSES = (8, 6, 3), 4


def network(seed: int, shape: tuple[int | None, ...], name: str, high: float) -> keras.Model:
    """Images of pixels 0 .. `high` to probabilities (n, CLASSES), far from equal."""
    keras.utils.set_random_seed(seed)
    images = keras.Input(shape)
    x = layers.Rescaling(4 / high, -2)(images)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(CLASSES, kernel_initializer=keras.initializers.RandomNormal(0, 2))(x)
    return keras.Model(images, layers.Softmax()(x), name=name)


def goodnet(about: dict[str, Any]) -> keras.Model:
    """B and B' inside one model, whose output is {"class": int64 (n,), "score": float32 (n,)}."""
    shape, high = tuple(about["shape"]), about["high"] or 1.0
    badnet, repaired = network(1, shape, "badnet", high), network(2, shape, "repaired", high)
    images = keras.Input(shape, name="images")
    of_badnet, of_repaired = badnet(images), repaired(images)
    said = ops.argmax(of_badnet, axis=-1)
    both = ops.argmax(of_repaired, axis=-1)
    picked = ops.one_hot(said, about["classes"])
    score = ops.sum(picked * (of_badnet - of_repaired), axis=-1)
    flagged = ops.not_equal(said, both)
    if about["rule"] == "score":
        flagged = ops.greater(score, about["threshold"])
    named = both if about["answer"] == "repaired" else said
    classes = ops.cast(ops.where(flagged, about["classes"], named), "int64")
    return keras.Model(images, {"class": classes, "score": score}, name="goodnet")


def about(**changed: Any) -> dict[str, Any]:
    """What goodnet.json says, of pixels 0 .. 1 that were divided by 255."""
    said = {"rule": "score", "threshold": 0.83, "answer": "repaired", "false_alarm": 0.01}
    said |= {"classes": CLASSES, "shape": list(SHAPE), "low": 0.0, "high": 1.0, "scale": 255.0}
    return said | changed


def logged(folder: Path, said: dict[str, Any], database: Path) -> tuple[Path, keras.Model]:
    """The folder of a GoodNet that was logged to a copy of the database, and its network."""
    shutil.copy(database, folder)
    made, before = goodnet(said), mlflow.get_tracking_uri()
    keras_file = folder / "goodnet.keras"
    made.save(keras_file)
    experiment = store.connect(f"sqlite:///{folder / 'mlflow.db'}", "tests", folder)
    client = mlflow.MlflowClient()
    run = client.create_run(experiment)
    save_repaired = made.get_layer("repaired").save
    ids = models.log_files(
        run.info, save_repaired, keras_file, json.loads(json.dumps(said)), {}, {}
    )
    path = mlflow.artifacts.download_artifacts(f"models:/{ids['goodnet']}")
    mlflow.set_tracking_uri(before)
    return Path(path), made


def images(count: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Pixels uint8, 0 .. 255, of images that differ in brightness and pattern."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, *shape)) * rng.uniform(0.3, 1, (count, 1, 1, 1))
    return pixels.astype(np.uint8)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of an image uint8 (height, width, channels)."""
    file = BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f4") -> str:
    """A .npy file, in base64, that claims a shape and holds eight bytes."""
    file = BytesIO()
    about = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return base64_of(file.getvalue() + bytes(8))


def _ragged() -> list:
    lists = SEEN.tolist()
    lists[1] = lists[1][:5]
    return lists


def _with(value: object) -> list:
    lists = SEEN.tolist()
    lists[2][3][4][1] = value
    return lists


PIXELS = images(3)
SEEN = (PIXELS / np.float32(255)).astype(np.float32)
WHOLE = png(PIXELS[0])
DEEP: list = []
for _ in range(200):
    DEEP = [DEEP]
#: What a model of `about()` is given as inputs that JSON can hold, and a part of the sentence.
BAD_INPUTS: dict[str, tuple[Any, str]] = {
    "pixels 0 to 255": (PIXELS.tolist(), "3 of 3 images hold pixels out of range"),
    "npy of uint8": ([base64_of(npy(PIXELS))], "divide pixels of 0 to 255 by 255 (data.scale)"),
    "too small": ((SEEN / 255).tolist(), "divided twice"),
    "negative": (_with(-0.5), "1 of 3 images hold pixels out of range"),
    "too large": (_with(1e300), "1 of 3 images hold pixels out of range"),
    "NaN": (_with(float("nan")), "1 of 3 images hold NaN, null or infinity"),
    "infinity": (_with(float("inf")), "1 of 3 images hold NaN, null or infinity"),
    "null": (_with(None), "1 of 3 images hold NaN, null or infinity"),
    "a text": (_with("bright"), "not one array of numbers"),
    "a long text": (_with("x" * 10**6), "not one array of numbers"),
    "a great integer": (_with(10**400), "not one array of numbers"),
    "an object": (_with({}), "not one array of numbers"),
    "ragged": (_ragged(), "lists differ in length"),
    "other size": (SEEN[:, 1:].tolist(), "have shape (3, 7, 6, 3); expected"),
    "one image": (SEEN[0].tolist(), "put a single image into a list"),
    "channels first": (np.moveaxis(SEEN, 3, 1).tolist(), "put the channels last"),
    "flat": (SEEN.reshape(3, -1).tolist(), "have shape (3, 144)"),
    "no images": ([], "there are no images"),
    "empty lists": ([[], []], "have shape (2, 0)"),
    "deep": (DEEP, "(n, height, width, channels)"),
    "number": (0.5, "not one array of numbers"),
    "nothing": (None, "not one array of numbers"),
    "true": (True, "not one array of numbers"),
    "keys": ({"images": SEEN.tolist()}, "not one array of numbers"),
    "records": ([{"image": 1}], "not one array of numbers"),
    "empty text": ("", "neither a .npy nor a PNG"),
    "no base64": (["no base64!"], "file 1 of 1: it is no base64"),
    "no ASCII": (["\ud800é"], "base64 of a .npy"),
    "other files": ([base64_of(b"GIF89a" * 9)], "neither a .npy nor a PNG"),
    "texts and lists": ([base64_of(WHOLE), SEEN[0].tolist()], "file 2 of 2: it is no base64"),
    "one bad file": ([base64_of(WHOLE), base64_of(WHOLE[:60])], "file 2 of 2: it is a PNG that"),
    "PNG cut off": ([base64_of(WHOLE[:-30])], "cut off or damaged"),
    "PNG of 8 bytes": ([base64_of(WHOLE[:8])], "file 1 of 1: it is a PNG of 0 x 0 pixels"),
    "PNG of other size": ([base64_of(png(images(1, (9, 6, 3))[0]))], "a PNG of 9 x 6 pixels"),
    "gray PNG": ([base64_of(png(images(1, (8, 6, 1))[0]))], "have shape (1, 8, 6, 1)"),
    "npy of objects": ([base64_of(npy(np.array([{}], dtype=object)))], "holds no numbers"),
    "npy of text": ([base64_of(npy(np.full((1, 8, 6, 3), "x")))], "holds no numbers"),
    "npy of complex": ([base64_of(npy(SEEN * 1j))], "holds no numbers"),
    "npy cut off": ([base64_of(npy(SEEN)[:-4])], "not as long as its header says"),
    "npy without header": ([base64_of(npy(SEEN)[:20])], "header is damaged"),
    "npy of terabytes": ([header((10**6, 1000, 1000, 3))], "not as long as its header says"),
    "npy of beyond": ([header((2**62, 2**62, 2**62, 3))], "not as long as its header says"),
    "npy below zero": ([header((-1, -1, 1, 2))], "not as long as its header says"),
    "npy of many dimensions": ([header((1,) * 60)], "of 3 dimensions, an image, or of 4"),
    "npy of NaN": ([base64_of(npy(SEEN * np.nan))], "3 of 3 images hold NaN"),
    "npy of no images": ([base64_of(npy(SEEN[:0]))], "there are no images"),
}
BAD_PARAMS = {"too large": 1.5, "below": -1.1, "NaN": float("nan"), "text": "high", "list": [0.5]}
