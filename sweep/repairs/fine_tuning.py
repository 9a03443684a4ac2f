"""Train B' further on clean images, as Fine-Pruning does."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from sweep import terminal
from sweep.data.augmentation import augment
from sweep.training import Defender
from sweep.training.fine_tuning import FineTuning, Transform, fine_tune
from sweep.training.perturbations import Array, Labels


def finetune(
    defender: Defender, *, shift: float, light: float, images: int | None = None, **course: Any
) -> keras.Model:
    """Train B' further on clean validation images.

    Fine-pruning's second half (Liu et al., RAID 2018, arXiv 1805.12185). Images are moved by up to
    `shift` of their size and lit otherwise by up to `light`; `images` are as many as are drawn by
    seed, None: all. For the rest, early stopping and the learning rate that is found among them,
    see `fine_tuning.FineTuning`.
    """

    def transform(pixels: Array, labels: Labels, rng: np.random.Generator) -> Array:
        return augment(pixels, rng, shift=shift, light=light)

    return train_further(
        "finetune", defender, FineTuning(**course), images, lambda network: transform
    )


def train_further(
    name: str,
    defender: Defender,
    settings: FineTuning,
    images: int | None,
    build_transform: Callable[[keras.Model], Transform],
) -> keras.Model:
    """The defender's network trained further on `images`, each batch transformed, with progress.

    `build_transform` makes the transform of the network as it learns; its teacher is the suspect.
    """
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
