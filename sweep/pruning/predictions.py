"""What B' says of all images, and how far B is apart from it: read off the curve, or by a pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.data import Images
from sweep.evaluation.curve import Predictions, Ranking, Steps
from sweep.evaluation.detection import confidence_drop, jensen_shannon
from sweep.evaluation.metrics import Labels
from sweep.networks import forward, outputs
from sweep.pruning.activations import Activations
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Cut


@dataclass(frozen=True)
class RepairedNetwork:
    """What B' says, by name of the images, and the network that it is, which `make` gives.

    predicted: classes, int64 (n,).
    disagreement: how far B and B' are apart on each image, (2, n), by
        `detection.confidence_drop`, and by `detection.jensen_shannon`.
    """

    make: Callable[[], keras.Model]
    predicted: dict[str, Labels]
    disagreement: dict[str, NDArray[np.float64]]

    @cached_property
    def network(self) -> keras.Model:
        """B' itself: a copy of B that takes longer to make than to read off what it says."""
        return self.make()

    def disagreement_on(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The same, of "valid" images only `rows`: those that may set a threshold."""
        return self.disagreement | {"valid": self.disagreement["valid"][:, rows]}

    @classmethod
    def from_curve(
        cls,
        cut: Cut | JointCut,
        at_cut: Mapping[str, Activations],
        by_step: Mapping[str, Predictions],
        ranking: Ranking,
        pruned: int,
    ) -> "RepairedNetwork":
        """B' when so many channels are `pruned`: a step of `ranking`, whose steps `by_step` are."""
        place, channels = place_of(pruned, ranking.steps), ranking.channels[:pruned]
        predicted = {name: curve.predicted[place] for name, curve in by_step.items()}
        with terminal.progress("comparing B'", sum(map(len, at_cut.values())), "images") as done:
            disagreement = {
                name: each.disagreement(channels, done) for name, each in at_cut.items()
            }
        return cls(lambda: cut.pruned(channels), predicted, disagreement)

    @classmethod
    def from_pass(
        cls, network: keras.Model, badnet: keras.Model, images: Mapping[str, Images]
    ) -> "RepairedNetwork":
        """B' when it is `network`, whatever was done to it: it runs on all images, as B does."""
        predicted, disagreement = {}, {}
        with terminal.progress("comparing B'", sum(map(len, images.values())), "images") as done:
            half = forward.scaled(done, 1 / 2)
            for name, each in images.items():
                before, after = (
                    outputs.probabilities(one, forward.scores(one, each.pixels, half))
                    for one in (badnet, network)
                )
                predicted[name] = after.argmax(axis=1)
                apart = [confidence_drop(before, after), jensen_shannon(before, after)]
                disagreement[name] = np.stack(apart)
        return cls(lambda: network, predicted, disagreement)


def predict_steps(
    at_cut: Mapping[str, Activations], images: Mapping[str, Images], ranking: Ranking
) -> dict[str, Predictions]:
    """What B says of all images at every step of `ranking`, with progress shown."""
    by_step = {}
    with terminal.progress("pruning", sum(map(len, images.values())), "images") as done:
        for name, each in images.items():
            predicted = at_cut[name].predict_steps(ranking.channels, done, ranking.step)
            by_step[name] = Predictions(predicted, each.labels, each.true_labels)
    return by_step


def place_of(pruned: int, steps: Steps) -> int:
    """The place among `steps` of the one that a stop has chosen, at which so many are `pruned`.

    Raises BadInput where it is none of them.
    """
    places = np.flatnonzero(steps == pruned)
    if not len(places):
        known = ", ".join(map(str, steps[:3])) + f" ... {steps[-1]}"
        raise BadInput(
            f"the stop ends after {pruned} channels, which is no step of this curve ({known}, see "
            f"prune.step); expected a stop that chooses one of curve.steps"
        )
    return int(places[0])
