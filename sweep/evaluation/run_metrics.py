"""What B, B' and GoodNet are worth, as the metrics that a run logs.

What so many images can tell of a rate is in `intervals.py`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep.evaluation import detection, metrics, tradeoffs
from sweep.evaluation.curve import Predictions
from sweep.evaluation.metrics import Labels
from sweep.evaluation.rates import Hits, hits_on_clean, hits_on_poisoned

#: False alarms in % of clean validation images, to which a soft GoodNet's threshold is set.
ALARMS = (1, 5)

#: Points of clean accuracy that may be paid, at which it is logged what an attack has left.
DROPS = (1, 2, 4, 10)

#: What is logged of B' between pruning and its last repair.
STAGE_RATES = ("valid_accuracy", "clean_accuracy", "attack_success_rate")

#: Soft GoodNets, in the order of the rows that `evaluate` is given: by confidence drop, and
#: by divergence.
SOFT_GOODNETS = ("goodnet", "jensen_shannon")


def evaluate(
    classes: int,
    curve: Mapping[str, Predictions],
    repaired: Mapping[str, Labels],
    disagreement: Mapping[str, NDArray[np.floating]] | None = None,
    rates: Mapping[str, NDArray[np.float64]] | None = None,
    goodnet: Mapping[str, Labels] | None = None,
) -> dict[str, float]:
    """All rates of B (step 0 of the curve), B' and G on the images of the same name.

    `curve`, `repaired`, `goodnet` and `disagreement` hold "valid", "test" and, where there are any,
    "poisoned" images: `repaired` and `goodnet` the classes that B' and GoodNet give them,
    (images,), None for GoodNet's: by the vote; `disagreement` how far B and B' are apart on each,
    (2, images), by `detection.confidence_drop` and `jensen_shannon`, of "valid" on those alone that
    set thresholds. `rates` are those of the whole curve, for the trade-off. Robust accuracy and
    defence effectiveness need true labels of the poisoned images.
    """
    goodnet = goodnet or {
        name: metrics.goodnet(curve[name].predicted[0], repaired[name], classes) for name in curve
    }
    logged = _clean_rates(classes, curve, repaired, goodnet["test"])
    poisoned = curve.get("poisoned")
    if poisoned is not None:
        logged |= _poisoned_rates(classes, poisoned, repaired["poisoned"], goodnet["poisoned"])
        if poisoned.true_labels is not None:
            logged |= _effectiveness(logged)
    if disagreement:
        counted = None if poisoned is None else poisoned.counted
        for row, detector in enumerate(SOFT_GOODNETS):
            scores = {name: by_image[row] for name, by_image in disagreement.items()}
            logged |= _under(detector, evaluate_soft(scores, counted))
    return logged | _under("tradeoff", tradeoff(rates or {}))


def repaired_rates(
    name: str, classes: int, curve: Mapping[str, Predictions], predicted: Mapping[str, Labels]
) -> dict[str, float]:
    """The `STAGE_RATES` of B' under `name`, as it is at one moment between pruning and the end."""
    rates = evaluate(classes, curve, predicted)
    of_repaired = {rate: rates.get(f"repaired/{rate}") for rate in STAGE_RATES}
    return _under(name, {rate: v for rate, v in of_repaired.items() if v is not None})


def evaluate_soft(
    soft: Mapping[str, ArrayLike], counted: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """What a GoodNet is worth that gives each image a score, the higher the more suspect.

    `soft` holds the scores, (images,), of "valid", "test" and, where there are any, "poisoned"
    images; `counted`, (poisoned images,), says which of these count for an attack
    (`metrics.attacked`), None: all. The thresholds are set on clean validation images alone, so
    that at most 1 and 5 % of them are flagged; what is flagged of clean test images is their rate.

    >>> rates = evaluate_soft({"valid": [0.1, 0.2], "test": [0.1, 0.3], "poisoned": [0.9, 0.2]})
    >>> rates["auroc"], rates["detection_rate_at_1"], rates["false_alarm_rate_at_1"]
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
        hits = {f"false_alarm_rate_at_{alarm}": scores["test"] > threshold}
        if "poisoned" in scores:
            hits[f"detection_rate_at_{alarm}"] = scores["poisoned"] > threshold
        rates |= _shares(hits)
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


def _clean_rates(
    classes: int,
    curve: Mapping[str, Predictions],
    repaired: Mapping[str, Labels],
    goodnet: Labels,
) -> dict[str, float]:
    valid, test = curve["valid"], curve["test"]
    hits = {
        "badnet/valid_accuracy": valid.predicted[0] == valid.labels,
        "repaired/valid_accuracy": repaired["valid"] == valid.labels,
    }
    hits |= hits_on_clean(test.predicted[0], repaired["test"], goodnet, test.labels, classes)
    return _shares(hits)


def _poisoned_rates(
    classes: int, poisoned: Predictions, repaired: Labels, goodnet: Labels
) -> dict[str, float]:
    counted, true_labels = poisoned.counted, poisoned.true_labels
    hits = hits_on_poisoned(
        poisoned.predicted[0][counted],
        repaired[counted],
        goodnet[counted],
        poisoned.labels[counted],
        None if true_labels is None else true_labels[counted],
        classes,
    )
    return _shares(hits)


def _shares(hits: Hits) -> dict[str, float]:
    """The share of images that are hits, by name of the rate."""
    return {name: float(of_images.mean()) for name, of_images in hits.items()}


def _under(prefix: str, rates: Mapping[str, float]) -> dict[str, float]:
    """The same rates, their names behind `prefix` and a slash."""
    return {f"{prefix}/{name}": value for name, value in rates.items()}


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
