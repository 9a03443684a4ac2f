"""What B' says of all images, and how far B is apart from it: read off the curve, or by a pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import terminal
from sweep.data import Images
from sweep.evaluation.curve import Channels, Predictions
from sweep.evaluation.detection import doubt, jensen_shannon
from sweep.evaluation.metrics import Labels
from sweep.networks import forward, outputs
from sweep.pruning.activations import Activations
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Cut


@dataclass(frozen=True)
class RepairedNetwork:
    """A `network` B', and by name of the images what it says.

    predicted: classes, int64 (n,).
    disagreement: how far B and B' are apart on each image, (2, n), by `detection.doubt`, and by
        `detection.jensen_shannon`.
    """

    network: keras.Model
    predicted: dict[str, Labels]
    disagreement: dict[str, NDArray[np.float64]]


def of_steps(
    seen: Mapping[str, Activations], images: Mapping[str, Images], channels: Channels
) -> dict[str, Predictions]:
    """What B says of all images after 0, 1, 2 ... of `channels` are pruned, with progress shown."""
    with terminal.progress("pruning", sum(map(len, images.values())), "images") as done:
        return {
            name: Predictions(
                seen[name].predict_steps(channels, done), some.labels, some.true_labels
            )
            for name, some in images.items()
        }


def pruned(
    cut: Cut | JointCut,
    seen: Mapping[str, Activations],
    answers: Mapping[str, Predictions],
    channels: Channels,
) -> RepairedNetwork:
    """B' when `channels` are pruned, the first of those that the `answers` are of."""
    predicted = {name: told.predicted[len(channels)] for name, told in answers.items()}
    disagreement = {name: some.disagreement(channels) for name, some in seen.items()}
    return RepairedNetwork(cut.pruned(channels), predicted, disagreement)


def passed(
    network: keras.Model, badnet: keras.Model, images: Mapping[str, Images]
) -> RepairedNetwork:
    """B' is `network`, whatever was done to it, and runs on all images as B does."""
    predicted, disagreement = {}, {}
    for name, some in images.items():
        before, after = (
            outputs.probabilities(one, forward.scores(one, some.pixels))
            for one in (badnet, network)
        )
        predicted[name] = after.argmax(axis=1)
        disagreement[name] = np.stack([how(before, after) for how in (doubt, jensen_shannon)])
    return RepairedNetwork(network, predicted, disagreement)
