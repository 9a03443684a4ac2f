"""What B' says of all images, and how far B is apart from it: read off the curve, or by a pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import forward, outputs, terminal
from sweep.activations import Activations
from sweep.curve import Answers
from sweep.cuts import Cut
from sweep.data import Images
from sweep.joint import Joint
from sweep.metrics import Labels
from sweep.ranking import Channels
from sweep.statistics import doubt, jensen_shannon


@dataclass(frozen=True)
class Outcome:
    """A `network` B', and by name of the images what it says.

    predicted: classes, int64 (n,).
    apart: how far B and B' are apart on each image, (2, n), by `statistics.doubt`, and by
        `statistics.jensen_shannon`.
    """

    network: keras.Model
    predicted: dict[str, Labels]
    apart: dict[str, NDArray[np.float64]]


def answers(
    seen: Mapping[str, Activations], images: Mapping[str, Images], channels: Channels
) -> dict[str, Answers]:
    """What B says of all images after 0, 1, 2 ... of `channels` are pruned, with progress shown."""
    with terminal.progress("pruning", sum(map(len, images.values())), "images") as done:
        return {
            name: Answers(seen[name].answers(channels, done), some.labels, some.true_labels)
            for name, some in images.items()
        }


def pruned(
    cut: Cut | Joint,
    seen: Mapping[str, Activations],
    answers: Mapping[str, Answers],
    channels: Channels,
) -> Outcome:
    """B' when `channels` are pruned, the first of those that the `answers` are of."""
    predicted = {name: told.predicted[len(channels)] for name, told in answers.items()}
    apart = {name: some.disagreement(channels) for name, some in seen.items()}
    return Outcome(cut.pruned(channels), predicted, apart)


def passed(network: keras.Model, badnet: keras.Model, images: Mapping[str, Images]) -> Outcome:
    """B' is `network`, whatever was done to it, and runs on all images as B does."""
    predicted, apart = {}, {}
    for name, some in images.items():
        before, after = (
            outputs.probabilities(one, forward.scores(one, some.pixels))
            for one in (badnet, network)
        )
        predicted[name] = after.argmax(axis=1)
        apart[name] = np.stack([how(before, after) for how in (doubt, jensen_shannon)])
    return Outcome(network, predicted, apart)
