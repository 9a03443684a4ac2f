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
from sweep.data import hdf5
from sweep.data.images import Images

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
class Files:
    """Where the images lie and how they are read; absent files are None.

    `attack` is the one that made the poisoned files, None where somebody else did; `folder` is
    where files that are made of these are kept, `epochs` how long a BadNet is trained on these
    where nothing else is said, `cache` remembers what was seen of the files. A defender has
    `valid_images` of the clean validation images; None: all, or `valid_at_most`.
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
    attack: Attack | None = None
    folder: str = "outputs/data"
    epochs: int = 16
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.read("valid").shape

    @property
    def classes(self) -> int:
        """One more than the highest label of the clean images."""
        paths = [path for path in (self.train, self.valid, self.test) if path is not None]
        return 1 + max(int(hdf5.labels(path)[0].max()) for path in paths)

    @property
    def brightest(self) -> float:
        """Value of the brightest validation pixel, as it stands in the file."""
        return hdf5.facts(self.valid, self.cache).brightest

    def training_labels(self, shape: tuple[int | None, ...]) -> NDArray[np.int64] | None:
        """Labels of the training images, (n,), None where there are none; all are looked at."""
        train = self.read("train")
        return None if train is None else train.expect(shape, self.classes, "training").labels

    def files(self, attack: Attack) -> "Files":
        """Itself; where nothing is trained, own files come with the poisoned images they have."""
        return self

    def read(self, name: str) -> Images | None:
        """One of valid, test, poisoned_valid, poisoned_test, train; None where absent.

        Its pixels are looked at, once, and stay where they are. Raises BadInput where they or the
        labels are not what is expected.
        """
        path = getattr(self, name)
        if path is None:
            return None
        pixels = hdf5.pixels(path, self.scale, self.channels)
        seen = hdf5.facts(path, self.cache).digest
        classes = dict(zip(("label", "true_label"), hdf5.labels(path), strict=True))
        for what, values in classes.items():
            if values is not None and len(values) != len(pixels):
                raise BadInput(
                    f"{path} holds {len(pixels)} images and {len(values)} values of {what}"
                )
        told = [None if values is None else values.tolist() for values in classes.values()]
        key = files.key([seen, self.scale, self.channels, told], "data/hdf5.py")
        return Images(pixels, *classes.values(), key)

    def clean_index(self, name: str) -> NDArray[np.int64] | None:
        """For each image of a poisoned file the number of the clean one it was made from, (n,)."""
        return hdf5.clean_index(getattr(self, name))

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
        self._valid(seed=0)

    def images(self, shape: tuple[int, ...], classes: int, seed: int) -> dict[str, Images]:
        """What a run looks at, checked: "valid" (drawn by seed), "test", "poisoned" where known."""
        self.check(shape, classes)
        poisoned = self.read("poisoned_test")
        clean = {"valid": self._valid(seed), "test": self.read("test")}
        return clean | ({} if poisoned is None else {"poisoned": poisoned})

    def _valid(self, seed: int) -> Images:
        """The clean validation images that a defender has, drawn by seed."""
        there, count = self.read("valid"), self.valid_images
        if count is None and len(there) > (self.valid_at_most or len(there)):
            count = self.valid_at_most
        return there.sample(count, seed)

    def tags(self, images: Mapping[str, Images], attack: str) -> dict[str, str]:
        """What a run says of these `images` of the files: what they are, who poisoned them.

        `attack` is the name of the attack that made the poisoned ones, if they were made here.
        """
        tags = {"data_digest": self.digest()}
        if "poisoned" in images:
            tags["asr_counts"] = images["poisoned"].asr_counts
            tags["poisoned_by"] = "files" if self.attack is None else attack
        return tags

    def digest(self) -> str:
        """One digest of the content of all files that there are, and of how they are read."""
        digests = {name: self.digest_of(name) for name in LAYOUT if getattr(self, name) is not None}
        return files.key([digests, self.scale, self.channels])

    def digest_of(self, name: str) -> str:
        """SHA-256 of the content of the file of that name, which is there."""
        return hdf5.digest_of_images(getattr(self, name), self.cache)


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


def _layout() -> str:
    return " and ".join(LAYOUT[name] for name in REQUIRED) + " (poisoned: bd/bd_test.h5)"
