"""Unlearn what a trigger does: B' learns clean images, some of them changed as a trigger would.

`PERTURBATIONS` are the ways in which they are changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import keras
import numpy as np

from sweep import BadInput, terminal
from sweep.repairs.fine_tuning import train_further
from sweep.training import Defender, inversion, inversion_search
from sweep.training.corruptions import CorruptionPool
from sweep.training.fine_tuning import FineTuning
from sweep.training.perturbations import (
    AdaptiveMasks,
    AdversarialPerturbation,
    StampedTriggers,
    UniversalPerturbation,
)
from sweep.training.transforms import Augmentation, MatchedMixtures, Mixture, Transform


@dataclass(frozen=True)
class Limits:
    """What perturbations are made of, and how far they go; see `unlearn`.

    triggers: the reversed triggers of the suspect network, by kind, as far as they are asked for.
    """

    defender: Defender
    images: int | None
    triggers: Mapping[str, StampedTriggers]
    strength: float
    flow: float
    area: float
    count: int
    steps: int
    corruption: float
    pool: int


def _corruptions(network: keras.Model, limits: Limits) -> Transform:
    return CorruptionPool(
        network,
        *limits.defender.sample(limits.images),
        size=limits.pool,
        strength=limits.corruption,
        seed=limits.defender.seed,
    )


def _universal(network: keras.Model, limits: Limits) -> Transform:
    return UniversalPerturbation(
        network,
        *limits.defender.sample(limits.images),
        strength=limits.strength,
        flow=limits.flow,
        count=limits.count,
        seed=limits.defender.seed,
    )


def _adversarial(network: keras.Model, limits: Limits) -> Transform:
    return AdversarialPerturbation(
        network, limits.defender.pixels, strength=limits.strength, steps=limits.steps
    )


def _mask(network: keras.Model, limits: Limits) -> Transform:
    return limits.triggers["mask"]


def _additive(network: keras.Model, limits: Limits) -> Transform:
    return limits.triggers["additive"]


def _pursued(network: keras.Model, limits: Limits) -> Transform:
    return AdaptiveMasks(
        network,
        *limits.defender.sample(limits.images),
        stamped=limits.triggers["mask"],
        area=limits.area,
        seed=limits.defender.seed,
    )


#: The ways in which images are changed: each builds one for the network as it learns.
PERTURBATIONS: dict[str, Callable[[keras.Model, Limits], Transform]] = {
    "corruptions": _corruptions,
    "universal": _universal,
    "adversarial": _adversarial,
    "mask": _mask,
    "additive": _additive,
    "pursued": _pursued,
}
#: The kind of reversed triggers that some of them need.
TRIGGERS = {"mask": "mask", "additive": "additive", "pursued": "mask"}


def unlearn(
    defender: Defender,
    *,
    by: str | Sequence[str],
    share: float,
    enough: int,
    batches: int,
    corruption: float,
    pool: int,
    classes: int,
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
    "corruptions", by random ones, the same for all images, `pool` at a time, of those that B' heeds
    most (`CorruptionPool`), stripes, patterns and tints changing a pixel by at most `corruption`;
    "universal", by `count` changes that are the same for all images and are found anew while B'
    learns, `strength` and `flow` at most (`UniversalPerturbation`; I-BAU, arXiv 2110.03735);
    "adversarial", each image by its own, every pixel at most `strength`, in `steps`
    (`AdversarialPerturbation`, arXiv 1706.06083); "mask" or "additive", by the reversed triggers
    of that kind of the suspect network B, those of the `classes` of the smallest (Neural Cleanse,
    Wang et al., S&P 2019); "pursued", by such masks, which grow to at most a share `area` of the
    image and go after what still turns images into their class (`AdaptiveMasks`). The other
    images, and the training, are those of `finetune`.

    Few images are soon learned by heart, and B knows more than they tell. So of `m` images, fewer
    than `enough`, those that are not changed are mixed with each other and are to be what B says of
    the mixture (`MatchedMixtures`); the share that is changed is smaller by the root of m /
    `enough`, and the rates by the root of that. Of many there are fewer epochs, so that at most so
    many `batches` are learned.
    """
    names = [by] if isinstance(by, str) else list(by)
    if not names or not set(names) <= set(PERTURBATIONS):
        raise BadInput(f"repair.unlearn.by is {by!r}; expected some of {', '.join(PERTURBATIONS)}")
    settings = FineTuning(**course)
    if share * settings.batch_size < len(names):
        raise BadInput(
            f"repair.unlearn changes {share:g} of {settings.batch_size} images a batch; expected "
            f"at least {len(names)}, one for each of {', '.join(names)}: a larger share or "
            f"batch_size"
        )
    taken = min(images or len(defender.images), len(defender.images))
    less = min(1.0, taken / enough) ** 0.5
    share = max(less * share, len(names) / settings.batch_size)
    settings = _for_so_many(settings, taken, batches, less**0.5)
    triggers = _reversed_triggers(defender, names, classes)
    limits = Limits(
        defender, images, triggers, strength, flow, area, count, steps, corruption, pool
    )

    def build(network: keras.Model) -> Transform:
        changes = [PERTURBATIONS[name](network, limits) for name in names]
        few = MatchedMixtures(defender.suspect)
        return Mixture(changes, share, few if taken < enough else Augmentation(shift, light))

    made_of = {"by": names, "classes": classes, "share": share, "strength": strength, "flow": flow}
    made_of |= {"area": area, "count": count, "steps": steps, "shift": shift, "light": light}
    made_of |= {"corruption": corruption, "pool": pool}
    return train_further("unlearn", defender, settings, images, build, made_of)


def _for_so_many(settings: FineTuning, images: int, batches: int, factor: float) -> FineTuning:
    """The same settings, rates by `factor`, with no more epochs than make so many batches."""
    learned = images - round(settings.held_out * images)
    each = max(1, ceil(learned / settings.batch_size))
    return replace(
        settings,
        epochs=min(settings.epochs, ceil(batches / each)),
        rates=[factor * rate for rate in settings.rates],
    )


def _reversed_triggers(
    defender: Defender, names: Sequence[str], classes: int
) -> dict[str, StampedTriggers]:
    """The reversed triggers of the suspect network, of each kind that the perturbations need.

    Those of as many `classes`, the most suspicious.
    """
    suspect = defender.with_network(defender.suspect)
    needed = {TRIGGERS[name] for name in names if name in TRIGGERS}
    stamped = {}
    for kind in [kind for kind in inversion_search.KINDS if kind in needed]:
        total = inversion_search.Search(kind).total(suspect.suspect.outputs[0].shape[-1])
        with terminal.progress("reversing triggers", total, "steps") as done:
            triggers = inversion.invert(suspect, kind=kind, progress=done)
        count = min(classes, max(1, np.isfinite(triggers.sizes).sum()))
        stamped[kind] = StampedTriggers(triggers, triggers.ranked[:count].tolist())
    return stamped
