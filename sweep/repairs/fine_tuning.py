"""Train B' further on clean images, as Fine-Pruning does."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import keras

from sweep import files, networks, terminal
from sweep.training import Defender
from sweep.training.fine_tuning import FineTuning, TransformBuilder, fine_tune
from sweep.training.transforms import Array, Augmentation


def finetune(
    defender: Defender, *, shift: float, light: float, images: int | None = None, **course: Any
) -> keras.Model:
    """Train B' further on clean validation images.

    Fine-pruning's second half (Liu et al., RAID 2018, arXiv 1805.12185). Images are moved by up to
    `shift` of their size and lit otherwise by up to `light`; `images` are as many as are drawn by
    seed, None: all. For the rest, early stopping and the learning rate that is found among them,
    see `fine_tuning.FineTuning`.
    """

    made_of = {"shift": shift, "light": light}
    augmentation, settings = Augmentation(shift, light), FineTuning(**course)
    return train_further(
        "finetune", defender, settings, images, lambda network: augmentation, made_of
    )


def train_further(
    name: str,
    defender: Defender,
    settings: FineTuning,
    images: int | None,
    build_transform: TransformBuilder,
    made_of: Mapping[str, Any],
) -> keras.Model:
    """The defender's network trained further on `images`, each batch transformed, with progress.

    `build_transform` makes the transform of the network as it learns; its teacher is the suspect.
    What it is `made_of` tells one from another, as in `trained_once`.
    """

    def train() -> keras.Model:
        with terminal.progress(name, settings.total_epochs, "epochs") as done:
            return fine_tune(
                defender.network,
                defender.sample(images),
                settings,
                build_transform,
                seed=defender.seed,
                progress=done,
                teacher=defender.suspect,
            )

    course = asdict(settings) | {"rates": list(settings.rates)}
    return trained_once(name, defender, [images, course, dict(made_of)], train)


def trained_once(
    name: str, defender: Defender, settings: list[Any], train: Callable[[], keras.Model]
) -> keras.Model:
    """What `train` makes of the defender's network, with other weights; made once.

    `settings` tell one from another: cells that repair alike train once.
    """

    def compute() -> dict[str, Array]:
        return {str(number): weight for number, weight in enumerate(train().get_weights())}

    code = files.key([networks.digest(defender.suspect)], "repairs")
    weights = defender.get_or_compute(name, [*settings, code], compute)
    network = networks.clone(defender.network)
    network.set_weights([weights[str(number)] for number in range(len(weights))])
    return network
