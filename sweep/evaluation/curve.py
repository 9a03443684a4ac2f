"""The pruning curve: every step, every rate.

`Predictions` are B's classes at every step, on one set of images. From those on clean validation,
clean test and poisoned test images a `PruningCurve` is counted. A step is known by how many
channels are pruned there: 0, 1, 2 ... or with `prune.step` fewer, see `steps_of`.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep.evaluation import metrics
from sweep.evaluation.rates import hits_on_clean, hits_on_poisoned
from sweep.evaluation.significance import TOLERANCE

Rates = dict[str, NDArray[np.float64]]
Scores = NDArray[np.float64]
Channels = NDArray[np.int64]
Steps = NDArray[np.int64]  # how many channels are pruned at each


def steps_of(channels: int, step: float = 1) -> Steps:
    """The steps of a curve of so many channels: the multiples of `step`, and all channels.

    A `step` below 1 is a share of the channels, rounded up.

    >>> steps_of(10, 4).tolist(), steps_of(10, 0.25).tolist()
    ([0, 4, 8, 10], [0, 3, 6, 9, 10])
    """
    at_a_time = int(step) if step >= 1 else max(1, math.ceil(step * channels - TOLERANCE))
    return np.append(np.arange(0, channels, at_a_time), channels)


@dataclass(frozen=True)
class Predictions:
    """Predicted classes of every step, (steps, images), and the images' labels, (images,).

    Of poisoned images `labels` are the target, `true_labels` the true class where known.
    """

    predicted: NDArray[np.integer]
    labels: NDArray[np.integer]
    true_labels: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        if self.predicted.shape[1:] != self.labels.shape:
            raise ValueError(f"predictions {self.predicted.shape} for labels {self.labels.shape}")

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which images a rate counts, (images,): of poisoned ones not those of the target class."""
        return metrics.attacked(self.labels, self.true_labels)


@dataclass(frozen=True)
class Ranking:
    """`channels`, first pruned first, and the `scores` of these, in that order.

    Scores are in standard deviations (ddof 1) from the mean of their layer. Of the curve along
    these channels there are the `steps` that follow from `step`, see `steps_of`.
    """

    channels: Channels
    scores: Scores
    step: float = 1

    @property
    def steps(self) -> Steps:
        """How many channels are pruned at each step of the curve."""
        return steps_of(len(self.channels), self.step)


@dataclass(frozen=True)
class ValidCurve:
    """The pruning curve on `images` clean validation images; arrays of shape (steps,).

    Entry k is after `steps[k]` channels were pruned, entry 0 the untouched network B; not given,
    `steps` are 0, 1, 2 ... All entries count images: `correct` are right, `newly_wrong` were right
    in B and are not now, `newly_right` the other way round, `differ` got another class than B gave.
    `scores`, (channels,), are what the order says of the channels, in pruning order: standard
    deviations (ddof 1) from the mean of their layer, the lower the earlier pruned.
    """

    images: int
    correct: NDArray[np.int64]
    newly_wrong: NDArray[np.int64]
    newly_right: NDArray[np.int64]
    differ: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    steps: Steps = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.steps):
            object.__setattr__(self, "steps", steps_of(len(self.correct) - 1))
        if self.steps.shape != self.correct.shape:
            raise ValueError(f"counts {self.correct.shape} at {len(self.steps)} steps")
        if self.scores is not None and self.scores.shape != (self.channels,):
            raise ValueError(f"scores {self.scores.shape} of {self.channels} channels")

    @classmethod
    def of(
        cls,
        predicted: NDArray[np.integer],
        labels: NDArray[np.integer],
        scores: NDArray[np.float64] | None = None,
        steps: ArrayLike = (),
    ) -> "ValidCurve":
        """Count `predicted`, shape (steps, images), against `labels`, shape (images,)."""
        right = predicted == labels
        return cls(
            images=len(labels),
            correct=right.sum(axis=1),
            newly_wrong=(right[0] & ~right).sum(axis=1),
            newly_right=(~right[0] & right).sum(axis=1),
            differ=(predicted != predicted[0]).sum(axis=1),
            scores=scores,
            steps=np.asarray(steps, np.int64),
        )

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return int(self.steps[-1])

    @property
    def drop(self) -> NDArray[np.int64]:
        """How many fewer images are right than in B; less than 0 where more are."""
        return self.correct[0] - self.correct


@dataclass(frozen=True)
class PruningCurve:
    """`channels` in the order pruned; `rates[name]` of shape (steps,); `valid` for a stop.

    Entry k is after `steps[k]` channels were pruned, entry 0 the untouched network. `images[name]`
    is how many images a rate is a share of.
    """

    channels: Channels
    valid: ValidCurve
    rates: Rates
    images: dict[str, int]

    @property
    def steps(self) -> Steps:
        """How many channels are pruned at each step."""
        return self.valid.steps

    def to_csv(self, locate: Callable[[int], tuple[str, int]]) -> str:
        """One row a step: channels pruned, the last one (-1 at step 0), its layer, every rate.

        `locate` gives the layer of a channel, and its number there. Step 0 is of no layer where
        there are several. Where several channels are pruned at a step, a last column names all.
        """
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        several = len(self.steps) <= len(self.channels)
        rows.writerow(["pruned", "channel", "layer", *self.rates, *["channels"] * several])
        places = [locate(channel) for channel in self.channels.tolist()]
        layers = {layer for layer, _ in places}
        untouched = (layers.pop() if len(layers) == 1 else "", -1)
        for number, (before, step) in enumerate(pairwise([0, *self.steps.tolist()])):
            layer, channel = places[step - 1] if step else untouched
            rates = (repr(float(rate[number])) for rate in self.rates.values())
            pruned = " ".join(f"{layer}:{channel}" for layer, channel in places[before:step])
            rows.writerow([step, channel, layer, *rates, *[pruned] * several])
        return text.getvalue()


#: The rates of a curve, by their names among the metrics of a run.
CLEAN_RATES = {
    "repaired/clean_accuracy": "clean_accuracy",
    "goodnet/clean_accuracy": "goodnet_accuracy",
    "goodnet/false_alarm_rate": "goodnet_false_alarm_rate",
}
POISONED_RATES = {
    "repaired/attack_success_rate": "attack_success_rate",
    "goodnet/attack_success_rate": "goodnet_attack_success_rate",
    "goodnet/detection_rate": "goodnet_detection_rate",
}


def pruning_curve(
    ranking: Ranking,
    classes: int,
    valid: Predictions,
    test: Predictions,
    poisoned: Predictions | None = None,
) -> PruningCurve:
    """Count the predictions of every step into rates; without poisoned images the clean ones.

    GoodNet's are by the vote (`metrics.goodnet`): a threshold would be another at every step.
    """
    rates: Rates = {"valid_accuracy": np.mean(valid.predicted == valid.labels, axis=1)}
    images = {"valid_accuracy": len(valid.labels)}

    vote = metrics.goodnet(test.predicted[0], test.predicted, classes)
    clean_hits = hits_on_clean(test.predicted[0], test.predicted, vote, test.labels, classes)
    for metric, name in CLEAN_RATES.items():
        rates[name] = clean_hits[metric].mean(axis=1)
        images[name] = len(test.labels)
    if poisoned is not None:
        counted = poisoned.counted
        predicted, target = poisoned.predicted[:, counted], poisoned.labels[counted]
        vote = metrics.goodnet(predicted[0], predicted, classes)
        poisoned_hits = hits_on_poisoned(predicted[0], predicted, vote, target, None, classes)
        for metric, name in POISONED_RATES.items():
            rates[name] = poisoned_hits[metric].mean(axis=1)
            images[name] = len(target)

    counts = ValidCurve.of(valid.predicted, valid.labels, ranking.scores, ranking.steps)
    return PruningCurve(ranking.channels, counts, rates, images)
