"""Images and labels, from HDF5 files in the lab's layout.

A file holds `data` and `label` (see hdf5.py); poisoned files carry the target as label and may hold
`true_label` and `clean_index`. Images are float32, (images, height, width, channels), divided by
`data.scale`, and stay in their file until they are sliced.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files
from sweep.attacks import Attack
from sweep.cache import Cache
from sweep.data import changes, hdf5
from sweep.data.images import Images, PixelRange, full_brightness, pixel_range

LOOKED_AT = 256  # images, to judge the range of pixels by
LAYOUT = {
    "valid": "cl/valid.h5",
    "test": "cl/test.h5",
    "poisoned_valid": "bd/bd_valid.h5",
    "poisoned_test": "bd/bd_test.h5",
    "train": "cl/train.h5",
}
REQUIRED = ("valid", "test")
READ_BY_RUNS = (*REQUIRED, "poisoned_test")


@dataclass(frozen=True)
class Files:
    """Paths of the files of images, None where absent, and how they are read.

    `attack` is the one that made the poisoned files, None where somebody else did; `folder` is
    where files that are made of these are kept, `epochs` how long a BadNet is trained on these
    where nothing else is said, `cache` keeps what a scan of the files found. A defender has
    `valid_images` of the clean validation images, or `valid_per_class` of each class; None: all, or
    `valid_at_most`. They are `valid_changed` in a way of `changes.KINDS`; None: as in the file.
    """

    valid: Path
    test: Path
    poisoned_valid: Path | None = None
    poisoned_test: Path | None = None
    train: Path | None = None
    scale: float = 1.0
    channels: str = "auto"
    valid_images: int | None = None
    valid_at_most: int | None = None
    valid_per_class: int | None = None
    valid_changed: str | None = None
    attack: Attack | None = None
    folder: str = "outputs/data"
    epochs: int = 16
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)

    def __post_init__(self) -> None:
        changes.require(self.valid_images, self.valid_per_class, self.valid_changed)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.read_clean("valid").shape

    @property
    def classes(self) -> int:
        """Number of classes: one more than the highest label of the clean images."""
        paths = [path for path in (self.train, self.valid, self.test) if path is not None]
        return 1 + max(int(hdf5.labels(path)[0].max()) for path in paths)

    @property
    def brightest(self) -> float:
        """Value of the brightest validation pixel, as it stands in the file."""
        return hdf5.summarize(self.valid, self.cache).brightest

    def training_labels(self, shape: tuple[int | None, ...]) -> NDArray[np.int64] | None:
        """Return the labels of the training images, (n,), after a check; None without images."""
        train = self.read("train")
        if train is None:
            return None
        train.require_fit(shape, self.classes, "training")
        return train.labels

    def validation_labels(self) -> NDArray[np.int64]:
        """Return the labels of all clean validation images, (n,)."""
        return self.read_clean("valid").labels

    def files(self, attack: Attack) -> "Files":
        """Return itself: own files come with the poisoned images that they have."""
        return self

    def read(self, name: str) -> Images | None:
        """Return the images of one name of `LAYOUT`; None where the file is absent.

        Its pixels are scanned once, and stay in the file. Raises BadInput where they or the labels
        are not what is expected.
        """
        path = getattr(self, name)
        return None if path is None else self._read(path)

    def read_clean(self, name: str) -> Images:
        """Return the clean images of `name`, whose file is there; see `read`."""
        return self._read(getattr(self, name))

    def _read(self, path: Path) -> Images:
        pixels = hdf5.pixels(path, self.scale, self.channels)
        digest = hdf5.summarize(path, self.cache).digest
        labels, true_labels = hdf5.labels(path)
        for dataset, classes in (("label", labels), ("true_label", true_labels)):
            if classes is not None and len(classes) != len(pixels):
                raise BadInput(
                    f"{path} holds {len(pixels)} images and {len(classes)} values of {dataset}"
                )
        values = [labels.tolist(), None if true_labels is None else true_labels.tolist()]
        key = files.key([digest, self.scale, self.channels, values], "data/hdf5.py")
        return Images(pixels, labels, true_labels, key)

    def clean_index(self, name: str) -> NDArray[np.int64] | None:
        """Return the index of the clean image behind each image of a poisoned file, (n,)."""
        return hdf5.whole_numbers(getattr(self, name), "clean_index")

    def check(self, shape: tuple[int, ...], classes: int) -> None:
        """Read what a run reads; BadInput where a network of `shape` cannot take it."""
        for name in READ_BY_RUNS:
            images = self.read(name)
            if images is None:
                continue
            images.require_fit(shape, classes, name.replace("_", " "))
            if images.true_labels is not None and np.all(images.true_labels == images.labels):
                raise BadInput(
                    f"all {name.replace('_', ' ')} images are of the class that the attack "
                    f"wants, so they tell nothing of it; leave data.{name} out"
                )
        self._valid(seed=0)

    def images(self, shape: tuple[int, ...], classes: int, seed: int) -> dict[str, Images]:
        """Return what a run reads, checked: "valid" (sampled), "test", "poisoned" where known."""
        self.check(shape, classes)
        images = {"valid": self._valid(seed), "test": self.read_clean("test")}
        poisoned = self.read("poisoned_test")
        if poisoned is not None:
            images["poisoned"] = poisoned
        return images

    def pixel_range(self, images: Images) -> PixelRange:
        """What pixels a network expects that has learned such images, judged by the first ones."""
        return PixelRange(*pixel_range(images.pixels[:LOOKED_AT]), scale=self.scale)

    def paths(self) -> dict[str, str]:
        """Return the files of what a run reads, by the names of `images`."""
        paths = {"valid": self.valid, "test": self.test, "poisoned": self.poisoned_test}
        return {name: str(path) for name, path in paths.items() if path is not None}

    def _valid(self, seed: int) -> Images:
        """Return the clean validation images that a defender has, drawn and changed by seed."""
        valid = self._drawn(self.read_clean("valid"), seed)
        if self.valid_changed is None:
            return valid
        white = full_brightness(self.brightest) or self.brightest
        of_labels = {"classes": self.classes, "seed": seed}
        return changes.changed(valid, self.valid_changed, white=white, **of_labels)

    def _drawn(self, valid: Images, seed: int) -> Images:
        """Return as many of the clean validation images as a defender has, sampled by seed."""
        if self.valid_per_class is not None:
            return valid.sample_per_class(self.valid_per_class, seed)
        count = self.valid_images
        if count is None and len(valid) > (self.valid_at_most or len(valid)):
            count = self.valid_at_most
        return valid.sample(count, seed)

    def tags(self, images: Mapping[str, Images], attack: str) -> dict[str, str]:
        """Return the tags of a run on these `images`: what they are, who poisoned them.

        `attack` is the name of the attack that made the poisoned ones, if they were made here.
        """
        tags = {"data_digest": self.digest()}
        if "poisoned" in images:
            tags["asr_counts"] = images["poisoned"].asr_counts
            tags["poisoned_by"] = "files" if self.attack is None else attack
        return tags

    def digest(self) -> str:
        """Return one digest of the content of all files present, and of how they are read."""
        digests = {name: self.digest_of(name) for name in LAYOUT if getattr(self, name) is not None}
        return files.key([digests, self.scale, self.channels])

    def digest_of(self, name: str) -> str:
        """Return the SHA-256 of the content of the file of that name, which is present."""
        return hdf5.digest_of_images(getattr(self, name), self.cache)


def h5(root: str | None = None, **given: Any) -> Files:
    """Return own files: a folder `root` in the lab's layout, single files, or both.

    Single files are given by the names of `LAYOUT`; what else is given goes to `Files`. Raises
    BadInput where a required or a named file is missing.
    """
    folder = None if not root else Path(os.path.expanduser(root)).absolute()
    if folder is not None and not folder.is_dir():
        raise BadInput(f"data.root={root} is not a folder; expected one with {_layout()}")
    paths: dict[str, Any] = {name: _path(name, given.pop(name, None), folder) for name in LAYOUT}
    return Files(**paths, **given)


def _path(name: str, given: str | None, folder: Path | None) -> Path | None:
    """Return the path of one file of `LAYOUT`: `given`, or that in `folder`, or None."""
    if given is not None:
        path = Path(os.path.expanduser(given)).absolute()
        if not path.is_file():
            raise BadInput(f"data.{name}={given} is not a file; expected an HDF5 file")
        return path
    if folder is not None and (folder / LAYOUT[name]).is_file():
        return folder / LAYOUT[name]
    if name in REQUIRED:
        lacking = "data.root is not set" if folder is None else f"{folder} has no {LAYOUT[name]}"
        raise BadInput(
            f"no clean {name} images: {lacking}; set data.root to a folder with {_layout()}, "
            f"or data.{name} to a file"
        )
    return None


def _layout() -> str:
    return " and ".join(LAYOUT[name] for name in REQUIRED) + " (poisoned: bd/bd_test.h5)"
