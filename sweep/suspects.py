"""The suspect network B: somebody's file, or a BadNet trained here and kept.

Both know the untrained shape of the network (`blueprint`), so that a run can be checked before
anything long starts, and give the network itself (`network`).
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sweep import BadInput, attacks, badnets, files, networks, terminal
from sweep.attacks import Attack
from sweep.data import Files
from sweep.datasets import Faces, poisoned

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FromFile:
    """A network from `path`; of several paths the first that is there.

    `architecture` ("deepid") is needed by files that hold weights only.
    """

    path: str | Sequence[str] | None = None
    architecture: str | None = None
    trains: bool = field(default=False, init=False)

    def blueprint(self, shape: Shape, classes: int) -> keras.Model:
        """The network itself; `shape` is that of the images, `classes` is not asked."""
        build = None
        if self.architecture == "deepid":

            def build(classes: int) -> keras.Model:
                return badnets.deepid(shape, classes)

        return networks.load(self._found(), build)

    def check(self, source: Files | Faces, attack: Attack) -> None:
        """Nothing: the network is there, or `blueprint` says so."""

    def files(self, source: Files, attack: Attack) -> Files:
        """The files as they are: their poisoned images are whoever's made the network."""
        return source

    def network(self, source: Files, attack: Attack, shape: Shape, classes: int) -> keras.Model:
        return self.blueprint(shape, classes)

    def _found(self) -> Path:
        if not self.path:
            raise BadInput("badnet.path is not set; expected the file of the suspect network")
        names = [self.path] if isinstance(self.path, str) else list(self.path)
        paths = [Path(os.path.expanduser(name)).absolute() for name in names]
        for path in paths:
            if path.is_file():
                return path
        raise BadInput(
            f"badnet.path: there is no file {' nor '.join(map(os.path.normpath, paths))}; "
            f"set badnet.path to the network's file"
        )


@dataclass(frozen=True)
class Trained:
    """DeepID trained on the training images and an attack; kept under `folder` and reused."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    folder: str
    trains: bool = field(default=True, init=False)

    def blueprint(self, shape: Shape, classes: int) -> keras.Model:
        return badnets.deepid(shape, classes, seed=self.seed)

    def check(self, source: Files | Faces, attack: Attack) -> None:
        """Raise BadInput where there are no images that the attack can be trained on."""
        labels = source.training_labels(source.shape)
        if labels is None:
            raise BadInput(
                "badnet=trained needs training images: cl/train.h5 under data.root, or data.train; "
                "for a network that you have use badnet=file badnet.path=..."
            )
        if attack.target >= source.classes:
            raise BadInput(
                f"attack.target is {attack.target}; expected a class, 0 to {source.classes - 1}"
            )
        if (source.brightest > 1) != (attack.white > 1):
            raise BadInput(
                f"pixels go up to {source.brightest:g} and attack.white is {attack.white:g}; set "
                f"attack.white to the value of full brightness in the files"
            )
        attack.stamp(np.zeros((1, *source.shape), dtype=np.float32))
        attacks.drawn(labels, target=attack.target, rate=attack.rate, seed=self.seed)

    def files(self, source: Files, attack: Attack) -> Files:
        """The files with images poisoned by the attack that the network is trained on."""
        return poisoned(source, attack)

    def network(self, source: Files, attack: Attack, shape: Shape, classes: int) -> keras.Model:
        """The kept BadNet of these settings, or a newly trained one, with progress shown."""
        settings = [
            files.digest(source.train),
            source.scale,
            source.channels,
            attack,
            classes,
            {name: value for name, value in vars(self).items() if name != "folder"},
            [keras.__version__, tf.__version__],
        ]
        made_by = files.key(settings, badnets, attacks, sys.modules[__name__])
        path = Path(self.folder) / made_by / "bd_net.keras"
        with files.lock(path):
            if not path.is_file():
                network = self._train(source, attack, shape, classes)
                with files.whole(path) as unfinished:
                    network.save(unfinished)
        return networks.load(path)

    def _train(self, source: Files, attack: Attack, shape: Shape, classes: int) -> keras.Model:
        raw = replace(source, scale=1.0).read("train")
        images, labels = attacks.poison(
            raw.pixels,
            raw.labels,
            attack.stamp,
            target=attack.target,
            rate=attack.rate,
            seed=self.seed,
        )
        with terminal.progress("training the BadNet", self.epochs, "epochs") as done:
            return badnets.train(
                self.blueprint(shape, classes),
                images / np.float32(source.scale),
                labels,
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=self.seed,
                white=attack.white / source.scale,
                progress=lambda *_: done(1),
            )
