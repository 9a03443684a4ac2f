"""What B, B' and GoodNet are worth, as the metrics that a run logs."""

from collections.abc import Mapping

from sweep import metrics
from sweep.curve import Answers
from sweep.metrics import Labels


def evaluate(
    classes: int, curve: Mapping[str, Answers], repaired: Mapping[str, Labels]
) -> dict[str, float]:
    """All rates of B (step 0 of the curve), B' and G on the images of the same name.

    `curve` and `repaired` hold "valid", "test" and, where there are any, "poisoned" images;
    `repaired` the classes that B' gives them, (images,). Robust accuracy and defence effectiveness
    need true labels of the poisoned images.
    """
    rates = {}
    for name in ("badnet", "repaired"):
        predicted = curve["valid"].predicted[0] if name == "badnet" else repaired["valid"]
        rates[f"{name}/valid_accuracy"] = metrics.accuracy(predicted, curve["valid"].labels)
    answers = _answers(classes, curve["test"], repaired["test"])
    for name, predicted in answers.items():
        rates[f"{name}/clean_accuracy"] = metrics.accuracy(predicted, curve["test"].labels)
    rates["goodnet/false_alarm_rate"] = metrics.flagged(answers["goodnet"], classes)
    if "poisoned" in curve:
        rates |= _attack(classes, curve["poisoned"], repaired["poisoned"])
        if curve["poisoned"].true_labels is not None:
            rates |= _effectiveness(rates)
    return {name: float(rate) for name, rate in rates.items()}


def _answers(classes: int, curve: Answers, repaired: Labels) -> dict[str, Labels]:
    badnet = curve.predicted[0]
    goodnet = metrics.goodnet(badnet, repaired, classes)
    return {"badnet": badnet, "repaired": repaired, "goodnet": goodnet}


def _attack(classes: int, poisoned: Answers, repaired: Labels) -> dict[str, float]:
    rates = {}
    counted = metrics.attacked(poisoned.labels, poisoned.true_labels)
    for name, predicted in _answers(classes, poisoned, repaired).items():
        rates[f"{name}/attack_success_rate"] = metrics.accuracy(
            predicted[counted], poisoned.labels[counted]
        )
        if poisoned.true_labels is not None:
            rates[f"{name}/robust_accuracy"] = metrics.accuracy(
                predicted[counted], poisoned.true_labels[counted]
            )
        if name == "goodnet":
            rates["goodnet/detection_rate"] = metrics.flagged(predicted[counted], classes)
    return rates


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
