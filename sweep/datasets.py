"""Data sets made here: the embedded faces, and own images poisoned by an attack.

Both lie on disk in the lab's layout with `true_label` and `clean_index`, made once and kept, so
that they take the same path as files from elsewhere.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, attacks, faces, files, hdf5, terminal
from sweep.attacks import Attack
from sweep.cache import Cache
from sweep.data import LAYOUT, REQUIRED, Files, fits, h5
from sweep.evidence import code_of_others

EPOCHS = 8  # for which a BadNet is trained on the faces


MOST = 10_000_000  # images to render, which would take 120 GB


@dataclass(frozen=True)
class Faces:
    """The embedded faces, rendered once and kept under `folder`.

    Of each of the `identities` there are `images_per_identity` training images and a quarter as
    many (at least one) for validation and for test; the poisoned images are those of validation
    and test that do not show the attack's target. Equal settings give equal files.
    """

    identities: int
    images_per_identity: int
    seed: int
    folder: str
    scale: float = 1.0
    valid_images: int | None = None
    valid_at_most: int | None = None
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.identities * self.images_per_identity > MOST:
            raise BadInput(
                f"data.identities={self.identities} and data.images_per_identity="
                f"{self.images_per_identity} are more than {MOST:,} images; expected fewer"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return faces.SHAPE

    @property
    def classes(self) -> int:
        return self.identities

    @property
    def held_out(self) -> int:
        """Images of each person for validation, and as many for test."""
        return max(1, self.images_per_identity // 4)

    @property
    def brightest(self) -> float:
        """Value of the brightest pixel there can be."""
        return 255.0

    def training_labels(self, shape: tuple[int | None, ...]) -> NDArray[np.int64]:
        """Whom the training images will show, (n,)."""
        return np.tile(np.arange(self.identities), self.images_per_identity)

    def check(self, shape: tuple[int, ...], classes: int) -> None:
        """BadInput where the images to come cannot serve a network of `shape` and `classes`."""
        there = self.identities * self.held_out
        if (self.valid_images or 0) > there:
            raise BadInput(
                f"data.valid_images is {self.valid_images}; expected 1 to {there}, as many clean "
                f"validation images as there will be"
            )
        if not fits(self.shape, shape) or classes < self.classes:
            raise BadInput(
                f"the faces are {self.shape} (height, width, channels) of {self.classes} people; "
                f"the network expects {shape} and has {classes} classes"
            )

    def files(self, attack: Attack) -> Files:
        """The files, rendered and poisoned by `attack` where they are not there yet."""
        settings = [self.identities, self.images_per_identity, self.seed]
        made_by = files.key(settings, faces, sys.modules[__name__])
        root = Path(self.folder).expanduser() / f"faces-{made_by}"
        with files.lock(root):
            if not root.is_dir():
                with files.whole(root) as unfinished:
                    self._render(unfinished)
        clean = h5(
            str(root),
            scale=self.scale,
            valid_images=self.valid_images,
            valid_at_most=self.valid_at_most,
            folder=self.folder,
            epochs=EPOCHS,
            cache=self.cache,
        )
        return poisoned(clean, attack)

    def _render(self, root: Path) -> None:
        terminal.say(f"rendering photographs of {self.identities} people")
        people = faces.people(self.identities, self.seed)
        sizes = {"train": self.images_per_identity, "valid": self.held_out, "test": self.held_out}
        for number, (name, each) in enumerate(sizes.items(), start=1):
            who = np.tile(np.arange(self.identities), each)
            # two numbers seed apart from the people and from the other splits, whatever the seed
            photographs = faces.photographs(people, who, seed=[self.seed, number])
            _write(root / LAYOUT[name], [photographs], label=who)


def poisoned(source: Files, attack: Attack) -> Files:
    """`source` with the poisoned counterparts of its clean images, kept under its folder."""
    if source.attack == attack:
        return source
    settings = [source.digest(), attack.poisons()]
    made_by = files.key(settings, attacks, sys.modules[__name__], *code_of_others(attack.triggers))
    root = Path(source.folder).expanduser() / f"poisoned-{made_by}"
    with files.lock(root):
        if not root.is_dir():
            with files.whole(root) as unfinished:
                _poison(source, attack, unfinished)
    made = {f"poisoned_{name}": root / LAYOUT[f"poisoned_{name}"] for name in REQUIRED}
    return replace(source, **made, attack=attack)


def _poison(source: Files, attack: Attack, root: Path) -> None:
    """Write what `attack` makes of the clean validation and test files, in their own dtype."""
    for name in REQUIRED:
        clean = replace(source, scale=1.0).read(name)
        with h5py.File(getattr(source, name)) as file:
            dtype = file["data"].dtype
        index = attack.victims(clean.labels)
        dealt = attack.dealt(len(index))
        if not len(index):
            raise BadInput(
                f"all {name} images are of class {attack.target}, the attack's target, so that "
                f"there is none to poison; set attack.target to another class"
            )
        pixels = clean.pixels.take(index)
        _write(
            root / LAYOUT[f"poisoned_{name}"],
            (
                attack.stamp(pixels[rows].astype(dtype), dealt[rows])
                for rows in hdf5.steps(pixels.shape)
            ),
            channels=source.channels,
            label=attack.labels(dealt),
            true_label=clean.labels[index],
            clean_index=index,
        )


def _write(
    path: Path, blocks: Iterable[NDArray], channels: str = "auto", **labels: NDArray
) -> None:
    """Write images, block by block, and labels; channels first, as the lab, unless told "last"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in labels.items():
            file[name] = values
        done = 0
        for block in blocks:
            pixels = block if channels == "last" else np.moveaxis(block, -1, 1)
            shape = (len(labels["label"]), *pixels.shape[1:])
            file.require_dataset("data", shape, pixels.dtype)[done : done + len(pixels)] = pixels
            done += len(pixels)
