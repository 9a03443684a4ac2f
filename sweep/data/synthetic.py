"""The embedded faces as a data set: rendered, poisoned by an attack, and kept on disk.

The files have the lab's layout with `true_label` and `clean_index`, and are made once, so that they
take the same path as files from elsewhere.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files, terminal
from sweep.attacks import Attack
from sweep.cache import Cache
from sweep.data import changes, faces, hdf5_writing
from sweep.data.images import fits
from sweep.data.poisoned_files import poisoned
from sweep.data.sources import LAYOUT, Files, h5

EPOCHS = 8  # for which a BadNet is trained on the faces
MAX_IMAGES = 10_000_000  # images to render, which would take 120 GB


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
    valid_per_class: int | None = None
    valid_changed: str | None = None
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)

    def __post_init__(self) -> None:
        changes.require(self.valid_images, self.valid_per_class, self.valid_changed)
        if self.identities * self.images_per_identity > MAX_IMAGES:
            raise BadInput(
                f"data.identities={self.identities} and data.images_per_identity="
                f"{self.images_per_identity} are more than {MAX_IMAGES:,} images; expected fewer"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return faces.SHAPE

    @property
    def classes(self) -> int:
        return self.identities

    @property
    def held_out(self) -> int:
        """Number of images of each person for validation, and as many for test."""
        return max(1, self.images_per_identity // 4)

    @property
    def brightest(self) -> float:
        """Value of the brightest pixel there can be."""
        return 255.0

    def training_labels(self, shape: tuple[int | None, ...]) -> NDArray[np.int64]:
        """Return the labels that the training images will have, (n,)."""
        return np.tile(np.arange(self.identities), self.images_per_identity)

    def validation_labels(self) -> NDArray[np.int64]:
        """Return the labels that the clean validation images will have, (n,)."""
        return np.tile(np.arange(self.identities), self.held_out)

    def check(self, shape: tuple[int, ...], classes: int) -> None:
        """Raise BadInput where the images to come do not fit a network of `shape`, `classes`."""
        count = self.identities * self.held_out
        if (self.valid_images or 0) > count:
            raise BadInput(
                f"data.valid_images is {self.valid_images}; expected 1 to {count}, as many clean "
                f"validation images as there will be"
            )
        if not fits(self.shape, shape) or classes < self.classes:
            raise BadInput(
                f"the faces are {self.shape} (height, width, channels) of {self.classes} people; "
                f"the network expects {shape} and has {classes} classes"
            )

    def files(self, attack: Attack) -> Files:
        """Return the files, rendered and poisoned by `attack` where they do not exist yet."""
        with files.lock(self.root, terminal.awaiting("the photographs")):
            if not self.root.is_dir():
                with files.atomic_write(self.root) as unfinished:
                    self._render(unfinished)
        return poisoned(self.rendered(), attack)

    @property
    def root(self) -> Path:
        """Where the clean files lie, or will."""
        settings = [self.identities, self.images_per_identity, self.seed]
        key = files.key(settings, "data/faces", "data/hdf5_writing.py", "data/synthetic.py")
        return Path(self.folder).expanduser() / f"faces-{key}"

    def rendered(self) -> Files:
        """Return the clean files, which exist."""
        return h5(
            str(self.root),
            scale=self.scale,
            valid_images=self.valid_images,
            valid_at_most=self.valid_at_most,
            valid_per_class=self.valid_per_class,
            valid_changed=self.valid_changed,
            folder=self.folder,
            epochs=EPOCHS,
            cache=self.cache,
        )

    def _render(self, root: Path) -> None:
        """Write the clean files of all splits under `root`."""
        terminal.print_line(f"rendering photographs of {self.identities} people")
        people = faces.people(self.identities, self.seed)
        sizes = {"train": self.images_per_identity, "valid": self.held_out, "test": self.held_out}
        for number, (name, per_person) in enumerate(sizes.items(), start=1):
            labels = np.tile(np.arange(self.identities), per_person)
            # two numbers seed apart from the people and from the other splits, whatever the seed
            photographs = faces.photographs(people, labels, seed=[self.seed, number])
            hdf5_writing.write(root / LAYOUT[name], [photographs], label=labels)
