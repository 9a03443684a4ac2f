"""Repairs: what a defender does to the pruned network B', in turn, to lose the backdoor and keep

its accuracy. Each takes a `Defender`, whose `network` is B' as it is now, and gives a new network.
None sees more than clean validation images; what was pruned stays pruned.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.data.augmentation import augment
from sweep.training import Defender, inversion, inversion_search
from sweep.training.fine_tuning import FineTuning, fine_tune
from sweep.training.fine_tuning import Transform as Change
from sweep.training.perturbations import (
    AdaptiveMasks,
    AdversarialPerturbation,
    StampedTriggers,
    UniversalPerturbation,
)

Array = NDArray[np.float32]


def finetune(
    defender: Defender, *, shift: float, light: float, images: int | None = None, **course: Any
) -> keras.Model:
    """Train B' further on clean validation images.

    Fine-pruning's second half (Liu et al., RAID 2018, arXiv 1805.12185). Images are moved by up to
    `shift` of their size and lit otherwise by up to `light`; `images` are as many as are drawn by
    seed, None: all. For the rest, early stopping and the learning rate that is found among them,
    see `fine_tuning.FineTuning`.
    """

    def change(pixels: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        return augment(pixels, rng, shift=shift, light=light)

    return _tuned("finetune", defender, FineTuning(**course), images, lambda network: change)


def unlearn(
    defender: Defender,
    *,
    by: str | Sequence[str],
    classes: int,
    share: float,
    strength: float,
    flow: float,
    area: float,
    count: int,
    steps: int,
    shift: float,
    light: float,
    images: int | None = None,
    **course: Any,
) -> keras.Model:
    """Train B' on images of which a `share` is changed as a trigger would, labels kept.

    `by` says how they are changed, in one way or in several, each of an equal part of the share:
    "universal", by `count` changes that are the same for all images and are found anew while B'
    learns, `strength` and `flow` at most (`UniversalPerturbation`; I-BAU, arXiv 2110.03735);
    "adversarial", each image by its own, every pixel at most `strength`, in `steps`
    (`AdversarialPerturbation`, arXiv 1706.06083); "mask" or "additive", by the reversed triggers
    of that kind of the suspect network B, those of the `classes` of the smallest (Neural Cleanse,
    Wang et al., S&P 2019); "pursued", by such masks, which grow to at most a share `area` of the
    image and go after what still turns images into their class (`AdaptiveMasks`). The other
    images, and the training, are those of `finetune`.
    """
    ways = [by] if isinstance(by, str) else list(by)
    if not ways or not set(ways) <= set(WAYS):
        raise BadInput(f"repair.unlearn.by is {by!r}; expected some of {', '.join(WAYS)}")
    plan = FineTuning(**course)
    if share * plan.batch_size < len(ways):
        raise BadInput(
            f"repair.unlearn changes {share:g} of {plan.batch_size} images a batch; expected at "
            f"least {len(ways)}, one for each of {', '.join(ways)}: a larger share or batch_size"
        )
    asked = {REVERSED[kind] for kind in ways if kind in REVERSED}
    stamped = {
        kind: _reversed(defender, kind, classes) for kind in inversion_search.KINDS if kind in asked
    }

    def way(kind: str, network: keras.Model) -> Change:
        if kind == "universal":
            far = {"strength": strength, "flow": flow, "count": count, "seed": defender.seed}
            return UniversalPerturbation(network, *defender.sample(images), **far)
        if kind == "adversarial":
            return AdversarialPerturbation(network, defender.pixels, strength=strength, steps=steps)
        if kind == "pursued":
            start = {"stamped": stamped["mask"], "area": area, "seed": defender.seed}
            return AdaptiveMasks(network, *defender.sample(images), **start)
        return stamped[kind]

    def changes(network: keras.Model) -> Change:
        there = [way(kind, network) for kind in ways]

        def change(pixels: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
            ends = np.rint(np.linspace(0, share, len(there) + 1) * len(labels)).astype(int)
            parts = [
                alter(pixels[start:end], labels[start:end], rng)
                for alter, start, end in zip(there, ends, ends[1:], strict=False)
                if end > start
            ]
            rest = augment(pixels[ends[-1] :], rng, shift=shift, light=light)
            return np.concatenate([*parts, rest])

        return change

    return _tuned("unlearn", defender, plan, images, changes)


REVERSED = {"mask": "mask", "additive": "additive", "pursued": "mask"}  # and by which kind
WAYS = ("universal", "adversarial", *REVERSED)


def _tuned(
    name: str,
    defender: Defender,
    course: FineTuning,
    images: int | None,
    change: Callable[[keras.Model], Change],
) -> keras.Model:
    with terminal.progress(name, course.total_epochs, "epochs") as done:
        how = {"seed": defender.seed, "progress": done, "teacher": defender.suspect}
        return fine_tune(defender.network, defender.sample(images), course, change, **how)


def _reversed(defender: Defender, kind: str, classes: int) -> StampedTriggers:
    """The reversed triggers of as many `classes` of the suspect network, the most suspicious."""
    suspect = defender.of(defender.suspect)
    total = inversion.Search(kind).total(suspect.suspect.outputs[0].shape[-1])
    with terminal.progress("reversing triggers", total, "steps") as done:
        triggers = inversion.invert(suspect, kind=kind, progress=done)
    known = triggers.ranked[: max(1, np.isfinite(triggers.sizes).sum())]
    return StampedTriggers(triggers, known[:classes].tolist())
