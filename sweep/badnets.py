"""The suspect network B: somebody's file, or a BadNet trained here and kept.

Both know the untrained shape of the network (`blueprint`), so that a run can be checked before
anything long starts, and give the network itself (`network`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sweep import BadInput, attacks, checked, files, networks, terminal
from sweep.attacks import Attack, learned
from sweep.attacks.learned import Learned
from sweep.data import Faces, Files, poisoned
from sweep.evaluation import ValidCurve
from sweep.files import code_of_others
from sweep.networks import custom_objects
from sweep.networks.architectures import ARCHITECTURES
from sweep.training import badnet_training

Shape = tuple[int, ...]

#: The sources that a trained BadNet depends on, beside its settings.
MADE_BY = ("attacks", "badnets.py", "networks/architectures.py", "training/badnet_training.py")


@dataclass(frozen=True)
class FromFile:
    """A network from `path`; of several paths the first that is there.

    `architecture`, of `ARCHITECTURES`, is needed by files that hold weights only. `custom_objects`
    names what the network is made of beyond Keras, dotted names or Python files: THEIR CODE RUNS,
    see `networks.custom_objects`.
    """

    path: str | Sequence[str] | None = None
    architecture: str | None = None
    custom_objects: str | Sequence[str] | None = None
    trains: bool = field(default=False, init=False)

    def is_there(self, source: Files, attack: Attack, classes: int) -> bool:
        """Whether nothing need be trained: always."""
        return True

    def blueprint(self, shape: Shape, classes: int) -> keras.Model:
        """The network itself; `shape` is that of the images, `classes` is not asked."""
        path = self._existing_path()
        objects = custom_objects.load_custom_objects(self.custom_objects)
        keras.saving.get_custom_objects().update(objects)  # copies of the network need them too
        items = tuple(objects.items())
        return _load(path, files.size_and_times(path), self.architecture, tuple(shape), items)

    def check(self, source: Files | Faces, attack: Attack) -> None:
        """Raise BadInput for an attack that learns its trigger as its network is trained."""
        if attack.is_unlearned and isinstance(source, Faces):
            raise BadInput(
                "the trigger of this attack is learned as its network is trained, and badnet=file "
                "is trained already; take badnet=trained, or another attack"
            )

    def warn(self, curve: ValidCurve) -> None:
        """Say so where the network is wrong on most clean validation images."""
        if curve.correct[0] < curve.images / 2:
            terminal.print_line(
                "B is wrong on most clean validation images: are data.scale and labels right?"
            )

    def files(self, source: Files, attack: Attack) -> Files:
        """The files as they are: their poisoned images are whoever's made the network."""
        return source

    def network(self, source: Files, attack: Attack, shape: Shape, classes: int) -> keras.Model:
        return self.blueprint(shape, classes)

    def _existing_path(self) -> Path:
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


@lru_cache(maxsize=4)
def _load(
    path: Path,
    size_and_times: tuple[int, ...],
    architecture: str | None,
    shape: Shape,
    custom_objects: tuple[tuple[str, Any], ...],
) -> keras.Model:
    """The network of a file, loaded once in a process: networks are never changed."""
    build = partial(ARCHITECTURES[architecture], shape) if architecture else None
    return networks.load(path, build, dict(custom_objects))


@lru_cache(maxsize=4)
def _untrained(architecture: str, shape: Shape, classes: int, seed: int) -> keras.Model:
    """The network before it is trained, as which it is looked at: nobody trains this one."""
    return ARCHITECTURES[architecture](shape, classes, seed=seed)


def _untouched(images: np.ndarray, *, white: float) -> np.ndarray:
    """The trigger of no attack."""
    return images


def _none(attack: Attack) -> Attack:
    """No attack on the images that `attack` is made for, whatever it is."""
    return Attack(partial(_untouched), target=0, rate=0.0, white=attack.white)


@dataclass(frozen=True)
class Trained:
    """A network trained on the training images and an attack; kept under `folder` and reused.

    `epochs` None: as many as the images say, see `Files`. `architecture` is one of `ARCHITECTURES`.
    """

    epochs: int | None
    batch_size: int
    learning_rate: float
    seed: int
    folder: str
    architecture: str = "deepid"
    trains: bool = field(default=True, init=False)

    def blueprint(self, shape: Shape, classes: int) -> keras.Model:
        return _untrained(self.architecture, tuple(shape), classes, self.seed)

    def check(self, source: Files | Faces, attack: Attack) -> None:
        """Raise BadInput where there are no images that the attack can be trained on."""
        if self.architecture not in ARCHITECTURES:
            raise BadInput(
                f"badnet.architecture is {self.architecture}; expected a network to train: "
                f"{', '.join(ARCHITECTURES)}"
            )
        labels = source.training_labels(source.shape)
        if labels is None:
            raise BadInput(
                "badnet=trained needs training images: cl/train.h5 under data.root, or data.train; "
                "for a network that you have use badnet=file badnet.path=..."
            )
        wanted = attack.targets(source.classes)
        if not 0 <= wanted.min() <= wanted.max() < source.classes:
            given = f"gives {wanted.min()} to {wanted.max()}"
            raise BadInput(
                f"attack.target {given if callable(attack.target) else f'is {attack.target}'}; "
                f"expected {'a class' if len(attack.triggers) == 1 else 'classes'}, 0 to "
                f"{source.classes - 1}"
            )
        if (source.brightest > 1) != (attack.white > 1):
            raise BadInput(
                f"pixels go up to {source.brightest:g} and attack.white is {attack.white:g}; set "
                f"attack.white to the value of full brightness in the files"
            )
        if not attack.is_unlearned:
            for number in range(len(attack.triggers)):
                attack.stamp(np.zeros((1, *source.shape), dtype=np.float32), np.array([number]))
        chosen = attacks.poisoned_indices(labels, attack, classes=source.classes, seed=self.seed)
        harmless = attack.rate <= attacks.HARMLESS_RATE and attack.learn is None
        if len(chosen) < len(attack.triggers) and not harmless:
            raise BadInput(
                f"attack.rate is {attack.rate}, by which {len(chosen)} of {len(labels)} training "
                f"images are poisoned; expected one for each trigger at least, "
                f"{len(attack.triggers)}: raise it, or set it to {attacks.HARMLESS_RATE} for a "
                f"network without an attack"
            )
        blueprint = self.blueprint(source.shape, source.classes)
        if attack.learn is not None:
            checked.check(partial(attack.learn, attack=attack), blueprint)
        elif attack.training is not None:
            checked.check(attack.training, blueprint)

    def warn(self, curve: ValidCurve) -> None:
        """Nothing: whoever trains it here sees how that goes."""

    def files(self, source: Files, attack: Attack) -> Files:
        """The files with images poisoned by the attack that the network is trained on.

        Where the trigger is learned, the network is trained before, if it is not kept.
        """
        if attack.is_unlearned:
            shape, classes = source.shape, source.classes
            self.network(source, attack, shape, classes)
            path = self._path(source, attack, classes).with_name(learned.NAME)
            attack = replace(attack, learned=path)
        return poisoned(source, attack)

    def network(self, source: Files, attack: Attack, shape: Shape, classes: int) -> keras.Model:
        """The kept BadNet of these settings, or a newly trained one, with progress shown."""
        return self._made(source, attack, shape, classes, "the BadNet")

    def twin(self, source: Files, attack: Attack) -> keras.Model:
        """The clean twin: what `network` makes of these images without the attack.

        It is one and the same for all attacks.
        """
        return self._made(source, _none(attack), source.shape, source.classes, "the clean twin")

    def _made(
        self, source: Files, attack: Attack, shape: Shape, classes: int, name: str
    ) -> keras.Model:
        """The network of these settings: kept, or trained by one process while others wait."""
        attack = _none(attack) if attack.is_none else attack
        path = self._path(source, attack, classes)
        with files.lock(path, terminal.awaiting(name)):
            if not _is_kept(path, attack):
                network, arrays = self._train(source, attack, shape, classes, name)
                if attack.learn is not None:
                    with files.atomic_write(path.with_name(learned.NAME)) as unfinished:
                        learned.write(unfinished, arrays)
                with files.atomic_write(path) as unfinished:
                    network.save(unfinished)
        return _load(path.absolute(), files.size_and_times(path), None, tuple(shape), ())

    def is_there(self, source: Files, attack: Attack, classes: int) -> bool:
        """Whether the BadNet of these settings is kept; of the images the clean ones count."""
        attack = _none(attack) if attack.is_none else attack
        return _is_kept(self._path(source, attack, classes), attack)

    def _path(self, source: Files, attack: Attack, classes: int) -> Path:
        """Where the BadNet of these settings is kept."""
        settings = [
            source.digest_of("train"),
            source.scale,
            source.channels,
            attack,
            classes,
            {name: value for name, value in vars(self).items() if name != "folder"}
            | {"epochs": self.epochs or source.epochs},
            [keras.__version__, tf.__version__],
        ]
        trained_by = ["adaptive"] if attack.training or attack.learn else []
        functions = code_of_others(attack.functions())
        key = files.key(settings, *MADE_BY, *trained_by, *functions)
        return Path(self.folder).expanduser() / key / "bd_net.keras"

    def _train(
        self, source: Files, attack: Attack, shape: Shape, classes: int, name: str
    ) -> tuple[keras.Model, Learned]:
        """The trained network, and what its trigger has learned: mostly nothing."""
        epochs = self.epochs or source.epochs
        images, labels, train = self._mixture(source, attack)
        with terminal.progress(f"training {name}", epochs, "epochs") as done:
            trained = train(
                ARCHITECTURES[self.architecture](shape, classes, seed=self.seed),
                images / np.float32(source.scale),
                labels,
                epochs=epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=self.seed,
                white=attack.white / source.scale,
                progress=lambda epoch, total, _: done(
                    epoch * epochs // total - (epoch - 1) * epochs // total
                ),
            )
        return trained if attack.learn is not None else (trained, {})

    def _mixture(
        self, source: Files, attack: Attack
    ) -> tuple[np.ndarray, np.ndarray, Callable[..., Any]]:
        """The images, as in their file, and labels to train with, and who trains."""
        raw = replace(source, scale=1.0).read_clean("train")
        if attack.learn is not None:
            scaled = replace(attack, white=attack.white / source.scale)
            learn = partial(attack.learn, attack=scaled, twin=partial(self.twin, source, attack))
            return raw.pixels[:], raw.labels, learn
        drawn = {"classes": source.classes, "seed": self.seed}
        images, labels = attacks.poison(raw.pixels[:], raw.labels, attack, **drawn)
        if attack.training is None:
            return images, labels, badnet_training.train
        stamped = attacks.poisoned_indices(raw.labels, attack, **drawn)
        clean = len(raw) - (len(stamped) if attack.clean_label else 0)
        return images, labels, partial(attack.training, clean=clean)


def _is_kept(path: Path, attack: Attack) -> bool:
    """Whether a BadNet lies there, with what its trigger has learned."""
    paths = [path] if attack.learn is None else [path, path.with_name(learned.NAME)]
    return all(each.is_file() for each in paths)
