"""What B, B' and GoodNet are worth, as the metrics that a run logs.

Every rate of some images comes with its 95 % Wilson interval, `<metric>_low` and `<metric>_high`:
what so many images can tell of it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep.evaluation import detection, metrics, significance, tradeoffs
from sweep.evaluation.curve import Predictions
from sweep.evaluation.metrics import Labels

#: False alarms in % of clean validation images, to which a soft GoodNet's threshold is set.
ALARMS = (1, 5)

#: Points of clean accuracy that may be paid, at which is told what an attack has left.
DROPS = (1, 2, 4, 10)

#: Soft GoodNets, in the order of the rows that `evaluate` is given: by doubt, and by divergence.
SOFT = ("goodnet", "jensen_shannon")


def evaluate(
    classes: int,
    curve: Mapping[str, Predictions],
    repaired: Mapping[str, Labels],
    disagreement: Mapping[str, NDArray[np.floating]] | None = None,
    rates: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[str, float]:
    """All rates of B (step 0 of the curve), B' and G on the images of the same name.

    `curve`, `repaired` and `disagreement` hold "valid", "test" and, where there are any, "poisoned"
    images: `repaired` the classes that B' gives them, (images,); `disagreement` how far B and B'
    are apart on each, (2, images), by `detection.doubt` and `jensen_shannon`. `rates` are those of
    the whole curve, for the trade-off. Robust accuracy and defence effectiveness need true labels
    of the poisoned images.
    """
    told = _clean(classes, curve, repaired)
    poisoned = curve.get("poisoned")
    if poisoned is not None:
        told |= _attack(classes, poisoned, repaired["poisoned"])
        if poisoned.true_labels is not None:
            told |= _effectiveness(told)
    for row, name in enumerate(SOFT if disagreement else ()):
        soft = {images: scores[row] for images, scores in (disagreement or {}).items()}
        one = evaluate_soft(soft, None if poisoned is None else poisoned.counted)
        told |= {f"{name}/{metric}": value for metric, value in one.items()}
    return told | {f"tradeoff/{name}": value for name, value in tradeoff(rates or {}).items()}


def of_repaired(
    name: str, classes: int, curve: Mapping[str, Predictions], predicted: Mapping[str, Labels]
) -> dict[str, float]:
    """The rates of B' alone under `name`, as it is at one moment between pruning and the end."""
    rates = evaluate(classes, curve, predicted)
    here = "repaired/"
    return {f"{name}/{k.removeprefix(here)}": v for k, v in rates.items() if k.startswith(here)}


def evaluate_soft(
    soft: Mapping[str, ArrayLike], counted: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """What a GoodNet is worth that gives each image a score, the higher the more suspect.

    `soft` holds the scores, (images,), of "valid", "test" and, where there are any, "poisoned"
    images; `counted`, (poisoned images,), says which of these count for an attack
    (`metrics.attacked`), None: all. The thresholds are set on clean validation images alone, so
    that at most 1 and 5 % of them are flagged; what is flagged of clean test images is told.

    >>> told = evaluate_soft({"valid": [0.1, 0.2], "test": [0.1, 0.3], "poisoned": [0.9, 0.2]})
    >>> told["auroc"], told["detection_rate_at_1"], told["false_alarm_rate_at_1"]
    (0.75, 0.5, 0.5)
    """
    scores = {name: np.asarray(score) for name, score in soft.items()}
    if "poisoned" in scores and counted is not None:
        scores["poisoned"] = scores["poisoned"][counted]
    rates: dict[str, float] = {}
    if "poisoned" in scores:
        rates["auroc"] = detection.auroc(scores["test"], scores["poisoned"])
    for alarm in ALARMS:
        threshold = detection.threshold(scores["valid"], alarm / 100)
        rates |= _rate(f"false_alarm_rate_at_{alarm}", scores["test"] > threshold)
        if "poisoned" in scores:
            rates |= _rate(f"detection_rate_at_{alarm}", scores["poisoned"] > threshold)
    return rates


def tradeoff(rates: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """What a curve's `rates` leave of an attack, over all and at some drops of clean test accuracy.

    No defender can read that: it compares orders, whatever the stop. {} without poisoned images.
    """
    if "attack_success_rate" not in rates:
        return {}
    curve = rates["clean_accuracy"], rates["attack_success_rate"]
    return {"attack_area": tradeoffs.attack_area(*curve)} | {
        f"attack_success_rate_at_{points}": tradeoffs.attack_at_drop(*curve, points / 100)
        for points in DROPS
    }


def _clean(
    classes: int, curve: Mapping[str, Predictions], repaired: Mapping[str, Labels]
) -> dict[str, float]:
    valid, test = curve["valid"], curve["test"]
    rates: dict[str, float] = {}
    for name, predicted in (("badnet", valid.predicted[0]), ("repaired", repaired["valid"])):
        rates |= _rate(f"{name}/valid_accuracy", predicted == valid.labels)
    predictions = _by_network(classes, test, repaired["test"])
    for name, predicted in predictions.items():
        rates |= _rate(f"{name}/clean_accuracy", predicted == test.labels)
    return rates | _rate("goodnet/false_alarm_rate", predictions["goodnet"] == classes)


def _attack(classes: int, poisoned: Predictions, repaired: Labels) -> dict[str, float]:
    rates: dict[str, float] = {}
    counted = poisoned.counted
    for name, predictions in _by_network(classes, poisoned, repaired).items():
        predicted = predictions[counted]
        rates |= _rate(f"{name}/attack_success_rate", predicted == poisoned.labels[counted])
        if poisoned.true_labels is not None:
            right = predicted == poisoned.true_labels[counted]
            rates |= _rate(f"{name}/robust_accuracy", right)
        if name == "goodnet":
            rates |= _rate("goodnet/detection_rate", predicted == classes)
    return rates


def _by_network(classes: int, curve: Predictions, repaired: Labels) -> dict[str, Labels]:
    """Return the predicted classes, (images,), of B, of B' and of GoodNet, by name."""
    badnet = curve.predicted[0]
    goodnet = metrics.goodnet(badnet, repaired, classes)
    return {"badnet": badnet, "repaired": repaired, "goodnet": goodnet}


def _rate(name: str, hits: NDArray[np.bool_]) -> dict[str, float]:
    """The share of images that are `hits`, (images,), and the interval in which it lies."""
    low, high = significance.wilson(np.count_nonzero(hits), len(hits))
    return {name: float(hits.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def _effectiveness(rates: Mapping[str, float]) -> dict[str, float]:
    return {
        f"{name}/defense_effectiveness": metrics.defense_effectiveness(
            attack_before=rates["badnet/attack_success_rate"],
            attack_after=rates[f"{name}/attack_success_rate"],
            clean_before=rates["badnet/clean_accuracy"],
            clean_after=rates[f"{name}/clean_accuracy"],
        )
        for name in ("repaired", "goodnet")
    }
