"""A GoodNet so simple that its answers can be computed by hand, as files; and pictures."""

import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from PIL import Image

from sweep.data.images import PixelRange
from sweep.detectors import GoodNet, Rule

SHAPE, CLASSES = (4, 5, 3), 3
#: From the mean of each colour to logits: B, and B' that believes less in class 0.
B = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])
B_REPAIRED = np.array([[1.0, 5, 0], [0, 9, 0], [0, 0, 9]])
RULE = Rule(0.4, "badnet", 0.01, images=200, flagged=2)
BYTES = PixelRange(0.0, 1.0, 255.0)


def network(weights: np.ndarray, shape: tuple[int | None, ...] = SHAPE) -> keras.Model:
    """Mean of each channel, times `weights`, through a softmax."""
    images = keras.Input(shape)
    means = layers.GlobalAveragePooling2D()(images)
    made = keras.Model(images, layers.Dense(CLASSES, activation="softmax", use_bias=False)(means))
    made.set_weights([weights])
    return made


def save(
    folder: Path,
    rule: Rule = RULE,
    shape: tuple[int | None, ...] = SHAPE,
    pixels: PixelRange = BYTES,
    told: Mapping[str, object] | None = None,
) -> Path:
    """Write goodnet.keras and goodnet.json, in which `told` replaces what it says; None: nothing.

    Returns the path of goodnet.keras.
    """
    folder.mkdir(parents=True, exist_ok=True)
    few = shape[2] or 3
    goodnet = GoodNet(network(B[:few], shape), network(B_REPAIRED[:few], shape), rule, pixels)
    goodnet.to_keras().save(folder / "goodnet.keras")
    about = {
        name: value
        for name, value in (goodnet.about() | dict(told or {})).items()
        if value is not None
    }
    (folder / "goodnet.json").write_text(json.dumps(about))
    return folder / "goodnet.keras"


def probabilities(weights: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What `network` gives for images as it sees them, computed apart, (n, CLASSES)."""
    powers = np.exp(seen.astype(np.float64).mean(axis=(1, 2)) @ weights[: seen.shape[3]])
    return powers / powers.sum(axis=1, keepdims=True)


def expected(seen: np.ndarray) -> dict[str, np.ndarray]:
    """What B and B' say of images, and the score, computed apart."""
    b, repaired = probabilities(B, seen), probabilities(B_REPAIRED, seen)
    rows, said = np.arange(len(seen)), b.argmax(axis=1)
    return {
        "score": b[rows, said] - repaired[rows, said],
        "badnet_class": said,
        "badnet_probability": b.max(axis=1),
        "repaired_class": repaired.argmax(axis=1),
        "repaired_probability": repaired.max(axis=1),
    }


def images(count: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Pixels uint8 of images of one colour each, with noise: all classes and scores occur."""
    rng = np.random.default_rng(seed)
    colours = rng.uniform(0, 235, (count, 1, 1, shape[2]))
    return (colours + rng.integers(0, 20, (count, *shape))).astype(np.uint8)


def write_h5(path: Path, pixels: np.ndarray, **labels: np.ndarray) -> Path:
    """Write images channels first, as the lab does."""
    with h5py.File(path, "w") as file:
        file["data"] = np.moveaxis(pixels, -1, 1)
        for name, values in labels.items():
            file[name] = values
    return path


def write_pictures(folder: Path, pixels: np.ndarray, suffix: str = "png") -> list[Path]:
    """Write each image as a file, 000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.{suffix}" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image if image.shape[2] > 1 else image[..., 0]).save(path)
    return paths
