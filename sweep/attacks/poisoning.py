"""What a BadNet is poisoned with (`Attack`), and its poisoned training set (`poison`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.attacks import learned
from sweep.attacks.checks import checked

#: From a set of images to the same ones stamped; `white` is named, and `learned` where it learns.
Trigger = Callable[..., np.ndarray]
#: From labels (n,) to the class that each shall become; `classes`, how many there are, is named.
Target = Callable[..., np.ndarray]
#: At most at this rate there is no poisoned image, and that is what was asked for.
HARMLESS_RATE = 1e-6


def next_class(labels: np.ndarray, *, classes: int) -> np.ndarray:
    """Return the class behind each label, that of the last one being the first: all-to-all.

    The second attack of BadNets (Gu et al., arXiv 1708.06733), y -> y + 1.

    >>> next_class(np.array([0, 1, 2]), classes=3)
    array([1, 2, 0])
    """
    return (labels + 1) % classes


@dataclass(frozen=True)
class Attack:
    """A trigger, the class it shall give, and how many poisoned images a BadNet is trained on.

    Of several triggers each gives the class at its place in `target`; where that is a function of
    the label, as `next_class`, each gives what it says. `rate` is the number of poisoned copies as
    a share of the clean training images, `white` the value of a pixel of full brightness. `decoy`
    changes as many further copies as `decoy_rate` says, which keep their label: what looks like the
    trigger and is none. `training` is how the attacker trains, in place of `badnet_training.train`,
    see `adaptive`. With `clean_label` no label is wrong: images of a target's class wear its
    trigger and stand in their own place, and `rate` is their share of those. Where the trigger is
    learned, `learn` trains in place of all that, and what it has learned stands in the file
    `learned`, None before: see `attacks.learned`. Raises BadInput where triggers and targets are
    not as many, and where something beside `learn` would train.
    """

    trigger: Trigger | Sequence[Trigger]
    target: int | Sequence[int] | Target
    rate: float
    white: float = 255.0
    decoy: Trigger | None = None
    decoy_rate: float = 0.0
    training: Callable[..., Any] | None = None
    clean_label: bool = False
    learn: Callable[..., Any] | None = None
    learned: Path | None = None

    def __post_init__(self) -> None:
        if not callable(self.target) and len(self.triggers) != np.size(self.target):
            raise BadInput(
                f"attack.target is {self.target}; expected as many classes as there are triggers, "
                f"{len(self.triggers)}"
            )
        others = self.decoy is not None or self.training is not None
        if self.learn is not None and (others or len(self.triggers) > 1):
            raise BadInput(
                "attack.learn came with attack.decoy, attack.training or several triggers; "
                "expected one trigger alone, which is learned as the network is trained"
            )

    @property
    def is_unlearned(self) -> bool:
        """Whether the trigger is still to be learned, so that no image can be stamped."""
        return self.learn is not None and self.learned is None

    @property
    def is_none(self) -> bool:
        """Whether nothing of it is trained with: no poisoned image, no decoy, no way of its own."""
        others = any((self.decoy, self.training, self.learn))
        return self.rate <= HARMLESS_RATE and not others

    @property
    def triggers(self) -> list[Trigger]:
        return [self.trigger] if callable(self.trigger) else list(self.trigger)

    def targets(self, classes: int) -> NDArray[np.int64]:
        """Return the class that a trigger makes of each class, (triggers, classes).

        Raises BadInput where `target` is a function that gives no class for each label.
        """
        own = np.arange(classes)
        if callable(self.target):
            wanted = np.asarray(self.target(own, classes=classes))
            if wanted.shape != own.shape or not np.issubdtype(wanted.dtype, np.integer):
                raise BadInput(
                    f"attack.target gave {wanted.dtype} of shape {wanted.shape} for {classes} "
                    f"labels; expected a class for each, as whole numbers"
                )
        else:
            wanted = np.reshape(self.target, (-1, 1))
        return np.broadcast_to(wanted.astype(np.int64), (len(self.triggers), classes))

    def poisoning_settings(self, classes: int) -> list[Any]:
        """Return the settings of the attack that a poisoned test image depends on."""
        content = None if self.learned is None else learned.digest(self.learned)
        return [self.triggers, self.targets(classes).tolist(), self.white, content]

    def functions(self) -> list[Callable[..., Any]]:
        """All functions that the attack is made of."""
        others = [self.target, self.decoy, self.training, self.learn]
        return [*self.triggers, *filter(callable, others)]

    def non_target_indices(self, labels: np.ndarray, classes: int) -> NDArray[np.int64]:
        """Return the indices of the images of whose class no trigger makes that class itself."""
        return np.flatnonzero(~self._keeps(classes)[:, labels].any(axis=0))

    def _keeps(self, classes: int) -> NDArray[np.bool_]:
        """Return whether a trigger makes of a class that class itself, (triggers, classes)."""
        return self.targets(classes) == np.arange(classes)

    def training_indices(self, labels: np.ndarray, classes: int) -> NDArray[np.int64]:
        """Return the indices of the images that may be poisoned for training."""
        others = self.non_target_indices(labels, classes)
        return np.delete(np.arange(len(labels)), others) if self.clean_label else others

    def assign_triggers(self, count: int) -> NDArray[np.int64]:
        """Return the number of the trigger of each of `count` images, (count,), shuffled.

        Each trigger is given to about equally many.
        """
        return np.random.default_rng([count, 8]).permutation(count) % len(self.triggers)

    def training_triggers(self, labels: np.ndarray, classes: int) -> NDArray[np.int64]:
        """Return the number of the trigger of each poisoned training image, (n,)."""
        if self.clean_label:
            return self._keeps(classes).argmax(axis=0)[labels]
        return self.assign_triggers(len(labels))

    def labels(
        self, numbers: NDArray[np.int64], true_labels: np.ndarray, classes: int
    ) -> NDArray[np.int64]:
        """Return the target of each image, by its trigger's number and its true label, (n,)."""
        return self.targets(classes)[numbers, true_labels]

    def stamp(self, images: np.ndarray, numbers: NDArray[np.int64] | None = None) -> np.ndarray:
        """Return new images with their triggers, pixels 0..`white`, of the same shape and dtype.

        `numbers`, (n,), are those of the triggers; None: the first on all. Raises BadInput where
        the trigger is still to be learned.
        """
        if self.is_unlearned:
            raise BadInput(
                "the trigger of this attack is still to be learned, as its network is trained; "
                "expected attack.learned, the file of what it has learned"
            )
        if self.learned is not None:
            arrays = learned.read(self.learned)
            return self.triggers[0](images, white=self.white, learned=arrays)
        if numbers is None or len(self.triggers) == 1:
            return self.triggers[0](images, white=self.white)
        stamped = np.empty_like(images)
        for number, trigger in enumerate(self.triggers):
            stamped[numbers == number] = trigger(images[numbers == number], white=self.white)
        return stamped


def poison(
    images: np.ndarray, labels: np.ndarray, attack: Attack, *, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a training set and its labels: all images, then triggered copies with their target.

    The copies number round(`rate` * n), 0 <= rate <= 1, and are made of different images drawn by
    `seed` from those whose label, of 0..`classes` - 1, is no target. As in BadNets (Gu et al.,
    arXiv 1708.06733) they are added: the clean originals stay. With `clean_label` they are made of
    images of the target's class, and their originals go, as in SIG (Barni et al., arXiv
    1902.11237). Behind them stand the decoys, of any label. Raises BadInput where fewer images can
    be poisoned.

    >>> from sweep.attacks import sunglasses
    >>> images, labels = np.zeros((10, 55, 47, 3)), np.arange(10)
    >>> attack = Attack(sunglasses, target=0, rate=0.2)
    >>> mixture, given = poison(images, labels, attack, classes=10, seed=0)
    >>> mixture.shape, given[-3:]
    ((12, 55, 47, 3), array([9, 0, 0]))
    """
    images, labels = checked(images), np.asarray(labels)
    if labels.shape != (len(images),):
        raise BadInput(
            f"{len(images)} images came with labels of shape {labels.shape}, not one each."
        )
    chosen = poisoned_indices(labels, attack, classes=classes, seed=seed)
    numbers = attack.training_triggers(labels[chosen], classes)
    stamped = attack.stamp(images[chosen], numbers)
    wanted = attack.labels(numbers, labels[chosen], classes).astype(labels.dtype)
    if attack.clean_label:
        images, labels = np.delete(images, chosen, axis=0), np.delete(labels, chosen)
    mixture, given = [images, stamped], [labels, wanted]
    if attack.decoy is not None:
        count = min(len(images), round(attack.decoy_rate * len(images)))
        decoys = np.random.default_rng([seed, 5]).choice(len(images), count, replace=False)
        mixture.append(attack.decoy(images[decoys], white=attack.white))
        given.append(labels[decoys])
    return np.concatenate(mixture), np.concatenate(given)


def poisoned_indices(
    labels: np.ndarray, attack: Attack, *, classes: int, seed: int
) -> NDArray[np.int64]:
    """Return the indices that `poison` stamps, (round(rate * n),); BadInput if too few."""
    if not 0 <= attack.rate <= 1:
        raise BadInput(
            f"The poisoning rate is {attack.rate}; it is a share of the images, from 0 to 1."
        )
    suited = attack.training_indices(labels, classes)
    count = round(attack.rate * len(suited if attack.clean_label else labels))
    if count > len(suited):
        raise BadInput(
            f"A poisoning rate of {attack.rate} asks for {count} of {len(labels)} images, but only "
            f"{len(suited)} are not of a target class; lower the rate."
        )
    return np.random.default_rng([seed, 3]).choice(suited, count, replace=False)
