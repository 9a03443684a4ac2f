"""Images and labels, from HDF5 files in the lab's layout.

A file holds `data`, (images, channels, height, width) or channels last, and `label`, (images,);
poisoned files carry the target as label and may hold `true_label` and `clean_index`. In memory
images are float32, (images, height, width, channels), divided by `data.scale`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files
from sweep.attacks import Attack

ROWS = 1024  # images read at a time
COLOURS = (1, 3, 4)  # numbers of colour channels by which a layout is told
LAYOUT = {
    "valid": "cl/valid.h5",
    "test": "cl/test.h5",
    "poisoned_valid": "bd/bd_valid.h5",
    "poisoned_test": "bd/bd_test.h5",
    "train": "cl/train.h5",
}
REQUIRED = ("valid", "test")
LOOKED_AT = (*REQUIRED, "poisoned_test")  # by every run


@dataclass(frozen=True)
class Images:
    """pixels: float32 (n, height, width, channels); labels, true_labels: int64 (n,)."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape[1:]

    @property
    def asr_counts(self) -> str:
        """Which of these poisoned images a rate of attack counts."""
        return "all images" if self.true_labels is None else "images not of the target's class"

    def expect(self, shape: tuple[int, ...], classes: int, name: str) -> "Images":
        """Return self; raise BadInput where a network of `shape` and `classes` cannot take it."""
        if not fits(self.shape, shape):
            raise BadInput(
                f"the {name} images are {_times(self.shape)}, the network expects {_times(shape)} "
                f"(height x width x channels)"
            )
        for labels in (self.labels, self.true_labels):
            if labels is not None and labels.max() >= classes:
                raise BadInput(
                    f"the {name} labels go up to {labels.max()}, the network has {classes} classes "
                    f"(0 to {classes - 1})"
                )
        return self

    def sample(self, count: int | None, seed: int) -> "Images":
        """`count` of the images, drawn by seed without replacement, in file order; None: all."""
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise BadInput(
                f"data.valid_images is {count}; expected 1 to {len(self)}, as many clean "
                f"validation images as there are"
            )
        drawn = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return Images(self.pixels[drawn], self.labels[drawn])


@dataclass(frozen=True)
class Files:
    """Where the images lie and how they are read; absent files are None.

    `attack` is the one that made the poisoned files, None where somebody else did; `folder` is
    where files that are made of these are kept.
    """

    valid: Path
    test: Path
    poisoned_valid: Path | None = None
    poisoned_test: Path | None = None
    train: Path | None = None
    scale: float = 1.0
    channels: str = "auto"
    valid_images: int | None = None
    attack: Attack | None = None
    folder: str = "outputs/data"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.read("valid").shape

    @property
    def classes(self) -> int:
        """One more than the highest label of the clean images."""
        paths = [path for path in (self.train, self.valid, self.test) if path is not None]
        return 1 + max(int(_open(path, _read_labels).max()) for path in paths)

    @property
    def brightest(self) -> float:
        """Value of the brightest validation pixel, as it stands in the file."""
        return float(self.read("valid").pixels.max()) * self.scale

    def training_labels(self, shape: tuple[int | None, ...]) -> NDArray[np.int64] | None:
        """Labels of the training images, (n,), None where there are none; all are looked at."""
        train = self.read("train")
        return None if train is None else train.expect(shape, self.classes, "training").labels

    def files(self, attack: Attack) -> "Files":
        """Itself; where nothing is trained, own files come with the poisoned images they have."""
        return self

    def read(self, name: str) -> Images | None:
        """Read one of valid, test, poisoned_valid, poisoned_test, train; None where absent."""
        path = getattr(self, name)
        if path is None:
            return None
        status = path.stat()
        return _read(path, self.scale, self.channels, status.st_size, status.st_mtime_ns)

    def check(self, shape: tuple[int, ...], classes: int) -> None:
        """Read what a run looks at; BadInput where a network of `shape` cannot take it."""
        for name in LOOKED_AT:
            images = self.read(name)
            if images is not None:
                images.expect(shape, classes, name.replace("_", " "))
                if images.true_labels is not None and np.all(images.true_labels == images.labels):
                    raise BadInput(
                        f"all {name.replace('_', ' ')} images are of the class that the attack "
                        f"wants, so they tell nothing of it; leave data.{name} out"
                    )
        self.read("valid").sample(self.valid_images, seed=0)

    def images(self, shape: tuple[int, ...], classes: int, seed: int) -> dict[str, Images]:
        """What a run looks at, checked: "valid" (drawn by seed), "test", "poisoned" where known."""
        self.check(shape, classes)
        poisoned = self.read("poisoned_test")
        return {
            "valid": self.read("valid").sample(self.valid_images, seed),
            "test": self.read("test"),
        } | ({} if poisoned is None else {"poisoned": poisoned})

    def digest(self) -> str:
        """One digest of the content of all files that there are, and of how they are read."""
        paths = {name: getattr(self, name) for name in LAYOUT}
        digests = {name: files.digest(path) for name, path in paths.items() if path is not None}
        return files.key([digests, self.scale, self.channels])


def h5(root: str | None = None, **given: Any) -> Files:
    """Own files: a folder `root` in the lab's layout, single files named apart, or both.

    Single files are given by the names of `LAYOUT`; what else is given goes to `Files`. Raises
    BadInput where a required or a named file is missing.
    """
    folder = None if not root else Path(os.path.expanduser(root)).absolute()
    if folder is not None and not folder.is_dir():
        raise BadInput(f"data.root={root} is not a folder; expected one with {_layout()}")
    paths: dict[str, Path | None] = {}
    for name, place in LAYOUT.items():
        own = given.pop(name, None)
        if own is not None:
            paths[name] = Path(os.path.expanduser(own)).absolute()
            if not paths[name].is_file():
                raise BadInput(f"data.{name}={own} is not a file; expected an HDF5 file")
        elif folder is not None and (folder / place).is_file():
            paths[name] = folder / place
        elif name in REQUIRED:
            lacking = "data.root is not set" if folder is None else f"{folder} has no {place}"
            raise BadInput(
                f"no clean {name} images: {lacking}; set data.root to a folder with {_layout()}, "
                f"or data.{name} to a file"
            )
    return Files(**paths, **given)


@lru_cache(maxsize=len(LAYOUT))
def _read(path: Path, scale: float, channels: str, size: int, changed: int) -> Images:
    """Read one file; its size and time of change stand in the key so that a new one is read."""

    def read(file: h5py.File) -> tuple[NDArray, NDArray, NDArray | None]:
        pixels = _pixels(_dataset(file, "data"), scale, channels, path)
        true_labels = _read_labels(file, "true_label") if "true_label" in file else None
        return pixels, _read_labels(file), true_labels

    pixels, labels, true_labels = _open(path, read)
    for name, values in (("label", labels), ("true_label", true_labels)):
        if values is not None and len(values) != len(pixels):
            raise BadInput(f"{path} holds {len(pixels)} images and {len(values)} values of {name}")
    return Images(pixels, labels, true_labels)


def _open(path: Path, read: Callable[[h5py.File], Any]) -> Any:
    """What `read` makes of the HDF5 file at `path`; BadInput where it is none, or damaged."""
    if not h5py.is_hdf5(path):
        raise BadInput(f"{path} is not an HDF5 file; expected one with 'data' and 'label'")
    try:
        with h5py.File(path) as file:
            return read(file)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error}); is the file whole?") from error


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        held = ", ".join(map(repr, file)) or "nothing"
        raise BadInput(f"{file.filename} has no dataset {name!r}; it holds {held}")
    return found


def _pixels(data: h5py.Dataset, scale: float, channels: str, path: Path) -> NDArray[np.float32]:
    if data.ndim != 4 or not len(data) or data.dtype.kind not in "fiu":
        raise BadInput(
            f"{path}: data is {data.dtype} of shape {data.shape}; expected numbers, "
            f"(images, channels, height, width) or (images, height, width, channels)"
        )
    _, *image = _channels_last(np.empty((0, *data.shape[1:])), channels, path).shape
    pixels = np.empty((len(data), *image), dtype=np.float32)
    for start in range(0, len(data), ROWS):
        rows = data.astype(np.float32)[start : start + ROWS]
        if not np.isfinite(rows).all():
            bad = start + int(np.flatnonzero(~np.isfinite(rows).all(axis=(1, 2, 3)))[0])
            raise BadInput(
                f"{path}: image {bad} has pixels that are NaN or infinite; mend it or drop it"
            )
        pixels[start : start + ROWS] = _channels_last(rows, channels, path)
    pixels /= scale
    pixels.setflags(write=False)
    return pixels


def _channels_last(pixels: NDArray, channels: str, path: Path | str) -> NDArray:
    """View (n, channels, height, width) as (n, height, width, channels), or leave it so."""
    if channels == "auto":
        first, last = pixels.shape[1] in COLOURS, pixels.shape[3] in COLOURS
        if first == last:
            raise BadInput(
                f"{path}: cannot tell which axis of images {pixels.shape[1:]} is the colour; "
                f"set data.channels=first or data.channels=last"
            )
        channels = "first" if first else "last"
    return np.moveaxis(pixels, 1, -1) if channels == "first" else pixels


def _read_labels(file: h5py.File, name: str = "label") -> NDArray[np.int64]:
    data = _dataset(file, name)
    one_each = data.shape and data.shape[1:] in ((), (1,)) and data.dtype.kind in "fiu"
    values = data[:].reshape(-1) if one_each else np.array([np.nan])
    good = (values >= 0) & (values < 2**31) & (values == np.rint(values))
    if not good.all():
        bad = f", number {np.argmin(good)} is {values[np.argmin(good)]}" if one_each else ""
        raise BadInput(
            f"{file.filename}: {name} is {data.dtype} of shape {data.shape}{bad}; "
            f"expected one whole number >= 0 an image, its class"
        )
    labels = values.astype(np.int64)
    labels.setflags(write=False)
    return labels


def _layout() -> str:
    return " and ".join(LAYOUT[name] for name in REQUIRED) + " (poisoned: bd/bd_test.h5)"


def fits(image: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Whether a network of input `shape`, None being any size, takes an image of shape `image`."""
    return len(image) == len(shape) and all(
        size in (None, own) for size, own in zip(shape, image, strict=True)
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
