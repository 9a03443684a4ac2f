"""What a detector is worth beside GoodNet: all are given the same images, and thresholds alike.

Half of the clean validation images are what it may learn from, the others set its threshold: those
that no repair has learned, where it looks at B' too. So no image is judged by itself.
"""

import time
from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import terminal
from sweep.data import Images
from sweep.detectors.reference import Detector, Reference
from sweep.detectors.rules import Rule
from sweep.evaluation import detection, metrics
from sweep.evaluation.run_metrics import evaluate_soft
from sweep.training import Defender

KINDS = ("test", "poisoned")


def detector_rates(
    detector: Detector,
    rule: Rule,
    defender: Defender,
    repaired: keras.Model,
    images: Mapping[str, Images],
    learned: int,
) -> dict[str, float]:
    """Return the metrics `detector/...` of a detector on "test" and, if there are any, "poisoned".

    `defender` has B and clean validation images, of which repairs have learned the first `learned`
    of `sample()`. Beside AUROC and what is flagged at 1 and 5 % false alarms on clean images:
    `detection_rate` and `false_alarm_rate` at the share that GoodNet's `rule` has, and the seconds
    that 1,000 images take.
    """
    half = len(defender.images) // 2
    pixels, labels = defender.sample(half)
    reference = Reference(defender.network, repaired, pixels, labels, defender.seed)
    score = detector(reference)
    clean = defender.images.pixels.take(defender.unlearned(max(half, learned)), axis=0)
    shown = {name: images[name].pixels for name in KINDS if name in images} | {"valid": clean}
    scores, started = {}, time.perf_counter()
    with terminal.progress("detector", sum(map(len, shown.values())), "images") as done:
        for name, of_name in shown.items():
            scores[name] = np.asarray(score(of_name), np.float64)
            done(len(of_name))
    seconds = time.perf_counter() - started
    poisoned = images.get("poisoned")
    counted = None
    if poisoned is not None:
        counted = metrics.attacked(poisoned.labels, poisoned.true_labels)
    rates = evaluate_soft(scores, counted) | _at(scores, counted, rule.false_alarm)
    rates["seconds_per_1000"] = 1000 * seconds / sum(map(len, shown.values()))
    return {f"detector/{name}": rate for name, rate in rates.items()}


def _at(
    scores: Mapping[str, NDArray[np.float64]], counted: NDArray[np.bool_] | None, alarm: float
) -> dict[str, float]:
    """What is flagged above the threshold for that share of false alarms."""
    threshold = detection.threshold(scores["valid"], alarm)
    rates = {"false_alarm_rate": float(np.mean(scores["test"] > threshold))}
    if "poisoned" in scores:
        poisoned = scores["poisoned"] if counted is None else scores["poisoned"][counted]
        rates["detection_rate"] = float(np.mean(poisoned > threshold))
    return rates
