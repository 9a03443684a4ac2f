"""A network of the suspect's layers that learns the same clean images anew, without a backdoor.

Some classes are easy to draw: a yellow square turns many images into a priority road, backdoor or
not. Such a class takes little in every network that learned these images, a backdoor's in one only;
so the sizes of reversed triggers are compared with those in the reference.
"""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.data import augmentation
from sweep.networks import clone, forward
from sweep.networks.outputs import is_frozen_adapter
from sweep.training import fine_tuning, inversion
from sweep.training.defender import Defender
from sweep.training.inversion import ReversedTriggers
from sweep.training.inversion_search import Search

BATCH, STEPS = 64, 1200  # images a step; steps to learn
FEWEST, MOST = 8, 60  # epochs that this comes to, at least and at most
ENOUGH = 100  # images, below which nothing is learned
WORTH = 0.5  # of the suspect's accuracy, below which what was learned tells nothing
ALL, SOME = 64, 48  # classes at most that are all compared; of more, so many beside the suspicious


@dataclass(frozen=True)
class ReferenceNetwork:
    """A network that was learned anew, and the share of images held out on which it is right."""

    network: keras.Model
    accuracy: float


def reference(defender: Defender) -> ReferenceNetwork | None:
    """The reference of the defender's network, made once; None where it learns too little.

    The same layers; the values of each kernel, and of all else that is trained, in another order to
    begin with: that fits the units of the images, and tells nothing of what the suspect learned.
    """
    if len(defender.images) < ENOUGH:
        return None
    begun = shuffled(defender.network, defender.seed)
    epochs = min(max(round(STEPS * BATCH / len(defender.images)), FEWEST), MOST)
    course = fine_tuning.FineTuning(
        epochs, BATCH, patience=epochs, held_out=0.1, rates=(0.03, 0.1), tolerance=0.02
    )

    def make() -> dict[str, NDArray]:
        images = defender.sample()
        with terminal.progress("learning anew", course.total_epochs, "epochs") as done:
            network = fine_tuning.fine_tune(
                begun, images, course, lambda _: _changed, defender.seed, done
            )
        _, (pixels, labels) = course.split(images)
        right, came = (
            np.mean(forward.predict(of, pixels) == labels) for of in (network, defender.network)
        )
        weights = {f"{place:05}": value for place, value in enumerate(network.get_weights())}
        return weights | {"right": np.array([right, came])}

    try:
        kept = dict(defender.get_or_compute("reference", course, make))
    except BadInput:  # no finite scores
        return None
    right, came = kept.pop("right")
    begun.set_weights([kept[name] for name in sorted(kept)])
    return ReferenceNetwork(begun, float(right)) if right >= WORTH * came else None


def _changed(pixels: NDArray, labels: NDArray, rng: np.random.Generator) -> NDArray:
    return augmentation.augment(pixels, rng, shift=0.04, light=0.1)


def shuffled(network: keras.Model, seed: int) -> keras.Model:
    """A copy of `network` whose trained values are each in another place of the same array."""
    copy, rng = clone(network), np.random.default_rng([seed, 8])
    for layer in copy.layers:
        layer.trainable = not is_frozen_adapter(layer)
        for variable in layer.trainable_variables:
            values = variable.numpy()
            variable.assign(rng.permutation(values.reshape(-1)).reshape(values.shape))
    return copy


def sizes(
    found: ReferenceNetwork, defender: Defender, triggers: ReversedTriggers, bar: float
) -> NDArray:
    """What the classes of `triggers` take in the reference, (classes,); NaN of those not asked.

    Asked are those whose index is above `bar`, and all others, of many as many as tell how they
    spread.
    """
    places = np.arange(len(triggers.classes))
    if len(places) > ALL:
        far = triggers.indices > bar
        others = np.random.default_rng([defender.seed, 9]).permutation(places[~far])
        places = np.sort(np.concatenate([places[far], others[:SOME]]))
    how = {"kind": triggers.kind, "classes": triggers.classes[places].tolist(), "refine": 0}
    total = len(places) * Search().steps
    with terminal.progress("reversing again", total, "steps") as done:
        again = inversion.invert(defender.of(found.network), progress=done, **how)
    told = np.full(len(triggers.classes), np.nan)
    told[places] = again.sizes
    return told
