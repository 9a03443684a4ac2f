"""What a run logs of B, B' and G: the names of the contract, the values of a slow loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.curve import Answers, pruning_curve
from sweep.evaluation import evaluate

CLASSES = 3
TARGET = 2
modest = settings(max_examples=25, deadline=None)

# the names that DESIGN.md gives, and the validation accuracy of B to which B' is compared
CLEAN = {
    "badnet/valid_accuracy",
    "badnet/clean_accuracy",
    "repaired/valid_accuracy",
    "repaired/clean_accuracy",
    "goodnet/clean_accuracy",
    "goodnet/false_alarm_rate",
}
POISONED = {
    "badnet/attack_success_rate",
    "repaired/attack_success_rate",
    "goodnet/attack_success_rate",
    "goodnet/detection_rate",
}
TRUE_LABELS = {
    "badnet/robust_accuracy",
    "repaired/robust_accuracy",
    "goodnet/robust_accuracy",
    "repaired/defense_effectiveness",
    "goodnet/defense_effectiveness",
}


def by_hand() -> tuple[dict[str, Answers], dict[str, np.ndarray]]:
    """Four images of each kind; the last poisoned one is of the target's class."""
    labels = np.array([0, 1, 2, 0])
    curve = {
        "valid": Answers(np.array([[0, 1, 2, 0]]), labels),
        "test": Answers(np.array([[0, 1, 2, 1]]), labels),
        "poisoned": Answers(np.array([[2, 2, 0, 2]]), np.full(4, TARGET), np.array([0, 1, 0, 2])),
    }
    repaired = {
        "valid": np.array([0, 1, 0, 1]),
        "test": np.array([0, 0, 2, 0]),
        "poisoned": np.array([2, 1, 0, 2]),
    }
    return curve, repaired


@st.composite
def answered(draw: st.DrawFn) -> tuple[dict[str, Answers], dict[str, np.ndarray]]:
    """A curve of three steps and the answers of its last one as those of B'."""
    some = st.integers(0, CLASSES - 1)
    curve = {}
    for name in ("valid", "test", "poisoned"):
        images = draw(st.integers(1, 6))
        predicted = draw(arrays(np.int64, (3, images), elements=some))
        labels = draw(arrays(np.int64, images, elements=some))
        if name == "poisoned":
            labels[0] = 0  # at least one image that is not of the target's class
            curve[name] = Answers(predicted, np.full(images, TARGET), labels)
        else:
            curve[name] = Answers(predicted, labels)
    return curve, {name: seen.predicted[-1] for name, seen in curve.items()}


def test_all_rates_by_hand():
    assert evaluate(CLASSES, *by_hand()) == pytest.approx(
        {
            "badnet/valid_accuracy": 4 / 4,
            "repaired/valid_accuracy": 2 / 4,
            "badnet/clean_accuracy": 3 / 4,
            "repaired/clean_accuracy": 3 / 4,
            "goodnet/clean_accuracy": 2 / 4,  # 0, -, 2, -
            "goodnet/false_alarm_rate": 2 / 4,
            # of the first three poisoned images, true classes 0, 1, 0
            "badnet/attack_success_rate": 2 / 3,
            "repaired/attack_success_rate": 1 / 3,
            "goodnet/attack_success_rate": 1 / 3,  # 2, -, 0
            "goodnet/detection_rate": 1 / 3,
            "badnet/robust_accuracy": 1 / 3,
            "repaired/robust_accuracy": 2 / 3,
            "goodnet/robust_accuracy": 1 / 3,
            "repaired/defense_effectiveness": (1 / 3 - 0 + 1) / 2,
            "goodnet/defense_effectiveness": (1 / 3 - 1 / 4 + 1) / 2,
        }
    )


def test_the_names_are_those_of_the_contract_and_the_values_plain_floats():
    rates = evaluate(CLASSES, *by_hand())
    assert set(rates) == CLEAN | POISONED | TRUE_LABELS
    assert {type(rate) for rate in rates.values()} == {float}


def test_without_poisoned_images_only_clean_rates_are_there():
    curve, repaired = by_hand()
    everything = evaluate(CLASSES, curve, repaired)
    del curve["poisoned"], repaired["poisoned"]
    assert evaluate(CLASSES, curve, repaired) == {name: everything[name] for name in CLEAN}


def test_without_true_labels_all_poisoned_images_count_and_what_needs_them_is_absent():
    curve, repaired = by_hand()
    poisoned = curve["poisoned"]
    rates = evaluate(
        CLASSES, curve | {"poisoned": Answers(poisoned.predicted, poisoned.labels)}, repaired
    )
    assert set(rates) == CLEAN | POISONED
    assert rates["badnet/attack_success_rate"] == 3 / 4
    assert rates["repaired/attack_success_rate"] == 2 / 4
    assert rates["goodnet/attack_success_rate"] == 2 / 4
    assert rates["goodnet/detection_rate"] == 1 / 4


@modest
@given(answered())
def test_goodnet_is_never_better_nor_more_often_fooled_than_b_or_b_repaired(drawn):
    rates = evaluate(CLASSES, *drawn)
    for rate in ("clean_accuracy", "attack_success_rate", "robust_accuracy"):
        bound = min(rates[f"badnet/{rate}"], rates[f"repaired/{rate}"])
        assert rates[f"goodnet/{rate}"] <= bound


@modest
@given(answered(), st.integers(0, CLASSES - 1))
def test_further_poisoned_images_of_the_targets_class_change_nothing(drawn, said):
    curve, repaired = drawn
    poisoned = curve["poisoned"]
    more = Answers(
        np.hstack([poisoned.predicted, np.full((3, 2), said)]),
        np.append(poisoned.labels, [TARGET] * 2),
        np.append(poisoned.true_labels, [TARGET] * 2),
    )
    extended = repaired | {"poisoned": np.append(repaired["poisoned"], [TARGET, said])}
    assert evaluate(CLASSES, curve | {"poisoned": more}, extended) == evaluate(CLASSES, *drawn)


@modest
@given(answered())
def test_a_defence_that_changes_nothing_has_an_effectiveness_of_one_half(drawn):
    curve, _ = drawn
    same = {name: seen.predicted[0] for name, seen in curve.items()}
    rates = evaluate(CLASSES, curve, same)
    assert rates["repaired/defense_effectiveness"] == 0.5
    assert rates["goodnet/defense_effectiveness"] == 0.5
    assert rates["goodnet/false_alarm_rate"] == rates["goodnet/detection_rate"] == 0


@modest
@given(answered())
def test_b_repaired_is_worth_what_the_curve_says_of_its_step(drawn):
    curve, repaired = drawn
    last = {
        name: rate[-1]
        for name, rate in pruning_curve(np.array([0, 1]), CLASSES, **curve).rates.items()
    }
    rates = evaluate(CLASSES, curve, repaired)
    for metric, name in (
        ("repaired/valid_accuracy", "valid_accuracy"),
        ("repaired/clean_accuracy", "clean_accuracy"),
        ("repaired/attack_success_rate", "attack_success_rate"),
        ("goodnet/clean_accuracy", "goodnet_accuracy"),
        ("goodnet/attack_success_rate", "goodnet_attack_success_rate"),
        ("goodnet/detection_rate", "goodnet_detection_rate"),
        ("goodnet/false_alarm_rate", "goodnet_false_alarm_rate"),
    ):
        assert rates[metric] == last[name]
