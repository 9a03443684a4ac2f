"""The pruning curve: every step, every rate.

`Answers` are B's predicted classes after 0, 1, 2 ... channels were pruned, on one set of images.
From those on clean validation, clean test and poisoned test images a `PruningCurve` is counted.
"""

import csv
from dataclasses import dataclass
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from sweep import metrics
from sweep.orders import Channels
from sweep.stops import ValidCurve

Rates = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Answers:
    """Predicted classes of every step, (channels + 1, images), and the images' labels, (images,).

    Of poisoned images `labels` are the target, `true_labels` the true class where known.
    """

    predicted: NDArray[np.integer]
    labels: NDArray[np.integer]
    true_labels: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        if self.predicted.shape[1:] != self.labels.shape:
            raise ValueError(f"answers {self.predicted.shape} for labels {self.labels.shape}")


@dataclass(frozen=True)
class PruningCurve:
    """`channels` in the order pruned; `rates[name]` of shape (channels + 1,); `valid` for a stop.

    Entry k is after k channels were pruned, entry 0 the untouched network.
    """

    channels: Channels
    valid: ValidCurve
    rates: Rates

    def to_csv(self, layer: str) -> str:
        """One row a step: channels pruned, the last one (-1 at step 0), its layer, every rate."""
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["pruned", "channel", "layer", *self.rates])
        for step, channel in enumerate([-1, *self.channels.tolist()]):
            rates = (repr(float(rate[step])) for rate in self.rates.values())
            rows.writerow([step, channel, layer, *rates])
        return text.getvalue()


def pruning_curve(
    channels: Channels, classes: int, valid: Answers, test: Answers, poisoned: Answers | None = None
) -> PruningCurve:
    """Count the answers of every step into rates; without poisoned images only the clean ones."""
    rates: Rates = {"valid_accuracy": metrics.accuracy(valid.predicted, valid.labels)}
    rates |= _clean(test, classes)
    if poisoned is not None:
        rates |= _poisoned(poisoned, classes)
    return PruningCurve(channels, ValidCurve.of(valid.predicted, valid.labels), rates)


def _clean(test: Answers, classes: int) -> Rates:
    goodnet = metrics.goodnet(test.predicted[0], test.predicted, classes)
    return {
        "clean_accuracy": metrics.accuracy(test.predicted, test.labels),
        "goodnet_accuracy": metrics.accuracy(goodnet, test.labels),
        "goodnet_false_alarm_rate": metrics.flagged(goodnet, classes),
    }


def _poisoned(poisoned: Answers, classes: int) -> Rates:
    counted = metrics.attacked(poisoned.labels, poisoned.true_labels)
    predicted, target = poisoned.predicted[:, counted], poisoned.labels[counted]
    goodnet = metrics.goodnet(predicted[0], predicted, classes)
    return {
        "attack_success_rate": metrics.accuracy(predicted, target),
        "goodnet_attack_success_rate": metrics.accuracy(goodnet, target),
        "goodnet_detection_rate": metrics.flagged(goodnet, classes),
    }
