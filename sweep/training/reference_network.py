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
from sweep.networks import clone, forward
from sweep.networks.outputs import is_frozen_adapter
from sweep.training import fine_tuning, inversion
from sweep.training.defender import Defender
from sweep.training.fine_tuning import FineTuning
from sweep.training.inversion import ReversedTriggers
from sweep.training.inversion_search import Search
from sweep.training.transforms import Augmentation

BATCH_SIZE = 64
TRAIN_STEPS = 1200
MIN_EPOCHS, MAX_EPOCHS = 8, 60  # between which these steps are
AUGMENTATION = Augmentation(shift=0.04, light=0.1)
MIN_IMAGES = 100  # below which nothing is learned
MIN_ACCURACY = 0.5  # as a share of the suspect's, below which what was learned tells nothing
MAX_CLASSES = 64  # that are all compared
OTHER_CLASSES = 48  # compared beside the suspicious ones, where there are more


@dataclass(frozen=True)
class ReferenceNetwork:
    """A network that was learned anew, and the share of images held out on which it is right."""

    network: keras.Model
    accuracy: float


def train_reference(defender: Defender) -> ReferenceNetwork | None:
    """The reference of the defender's network, made once; None where it learns too little.

    The same layers; the values of each kernel, and of all else that is trained, in another order to
    begin with: that fits the units of the images, and tells nothing of what the suspect learned.
    """
    if len(defender.images) < MIN_IMAGES:
        return None
    network, settings = shuffled(defender.network, defender.seed), course(len(defender.images))

    def compute() -> dict[str, NDArray]:
        images = defender.sample()
        with terminal.progress("learning anew", settings.total_epochs, "epochs") as done:
            trained = fine_tuning.fine_tune(
                network, images, settings, lambda network: AUGMENTATION, defender.seed, done
            )
        _, (pixels, labels) = settings.split(images)
        accuracies = [
            np.mean(forward.predict(model, pixels) == labels)
            for model in (trained, defender.network)
        ]
        weights = {f"{place:05}": value for place, value in enumerate(trained.get_weights())}
        return weights | {"accuracies": np.array(accuracies)}

    try:
        arrays = dict(defender.get_or_compute("reference", settings, compute))
    except BadInput:  # no finite scores
        return None
    accuracy, suspect_accuracy = arrays.pop("accuracies")
    network.set_weights([arrays[name] for name in sorted(arrays)])
    if accuracy < MIN_ACCURACY * suspect_accuracy:
        return None
    return ReferenceNetwork(network, float(accuracy))


def course(images: int) -> FineTuning:
    """How the reference learns so many images: by about as many steps, whatever they are."""
    epochs = min(max(round(TRAIN_STEPS * BATCH_SIZE / images), MIN_EPOCHS), MAX_EPOCHS)
    return FineTuning(
        epochs, BATCH_SIZE, patience=epochs, held_out=0.1, rates=(0.03, 0.1), tolerance=0.02
    )


def shuffled(network: keras.Model, seed: int) -> keras.Model:
    """A copy of `network` whose trained values are each in another place of the same array."""
    copy, rng = clone(network), np.random.default_rng([seed, 8])
    for layer in copy.layers:
        layer.trainable = not is_frozen_adapter(layer)
        for variable in layer.trainable_variables:
            values = variable.numpy()
            variable.assign(rng.permutation(values.reshape(-1)).reshape(values.shape))
    return copy


def reference_sizes(
    reference: ReferenceNetwork,
    defender: Defender,
    triggers: ReversedTriggers,
    threshold: float,
) -> NDArray[np.float64]:
    """What the classes of `triggers` take in the reference, (classes,); NaN of those not asked.

    Asked are those whose index is above `threshold`, and all others, of many as many as tell how
    they spread.
    """
    rows = np.arange(len(triggers.classes))
    if len(rows) > MAX_CLASSES:
        is_suspicious = triggers.indices > threshold
        others = np.random.default_rng([defender.seed, 9]).permutation(rows[~is_suspicious])
        rows = np.sort(np.concatenate([rows[is_suspicious], others[:OTHER_CLASSES]]))
    with terminal.progress("reversing again", len(rows) * Search().steps, "steps") as done:
        again = inversion.invert(
            defender.with_network(reference.network),
            kind=triggers.kind,
            classes=triggers.classes[rows].tolist(),
            progress=done,
            refine=0,
        )
    sizes = np.full(len(triggers.classes), np.nan)
    sizes[rows] = again.sizes
    return sizes
