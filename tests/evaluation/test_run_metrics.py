"""What a run logs of B, B' and G: the names of the contract, the values of a slow loop.

Every rate has its interval; soft GoodNets are judged at thresholds that only clean validation
images set.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.evaluation import evaluate, pruning_curve, repaired_rates
from sweep.evaluation.curve import Predictions, Ranking
from sweep.evaluation.run_metrics import STAGE_RATES, evaluate_soft, tradeoff

CLASSES = 3
TARGET = 2
RANKED = Ranking(np.array([0, 1]), np.array([-1.0, 1.0]))
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
}
EFFECTIVENESS = {
    "repaired/defense_effectiveness",
    "goodnet/defense_effectiveness",
}


def shares(**hits: tuple[int, int]) -> dict[str, float]:
    """The metrics of rates that are given as hits and images."""
    return {name: count / images for name, (count, images) in hits.items()}


def by_hand() -> tuple[dict[str, Predictions], dict[str, np.ndarray]]:
    """Four images of each kind; the last poisoned one is of the target's class."""
    labels = np.array([0, 1, 2, 0])
    curve = {
        "valid": Predictions(np.array([[0, 1, 2, 0]]), labels),
        "test": Predictions(np.array([[0, 1, 2, 1]]), labels),
        "poisoned": Predictions(
            np.array([[2, 2, 0, 2]]), np.full(4, TARGET), np.array([0, 1, 0, 2])
        ),
    }
    repaired = {
        "valid": np.array([0, 1, 0, 1]),
        "test": np.array([0, 0, 2, 0]),
        "poisoned": np.array([2, 1, 0, 2]),
    }
    return curve, repaired


@st.composite
def answered(draw: st.DrawFn) -> tuple[dict[str, Predictions], dict[str, np.ndarray]]:
    """A curve of three steps and the answers of its last one as those of B'."""
    some = st.integers(0, CLASSES - 1)
    curve = {}
    for name in ("valid", "test", "poisoned"):
        images = draw(st.integers(1, 6))
        predicted = draw(arrays(np.int64, (3, images), elements=some))
        labels = draw(arrays(np.int64, images, elements=some))
        if name == "poisoned":
            labels[0] = 0  # at least one image that is not of the target's class
            curve[name] = Predictions(predicted, np.full(images, TARGET), labels)
        else:
            curve[name] = Predictions(predicted, labels)
    return curve, {name: seen.predicted[-1] for name, seen in curve.items()}


def test_all_rates_by_hand():
    rates = shares(
        **{
            "badnet/valid_accuracy": (4, 4),
            "repaired/valid_accuracy": (2, 4),
            "badnet/clean_accuracy": (3, 4),
            "repaired/clean_accuracy": (3, 4),
            "goodnet/clean_accuracy": (2, 4),  # 0, -, 2, -
            "goodnet/false_alarm_rate": (2, 4),
            # of the first three poisoned images, true classes 0, 1, 0
            "badnet/attack_success_rate": (2, 3),
            "repaired/attack_success_rate": (1, 3),
            "goodnet/attack_success_rate": (1, 3),  # 2, -, 0
            "goodnet/detection_rate": (1, 3),
            "badnet/robust_accuracy": (1, 3),
            "repaired/robust_accuracy": (2, 3),
            "goodnet/robust_accuracy": (1, 3),
        }
    )
    effectiveness = {
        "repaired/defense_effectiveness": (1 / 3 - 0 + 1) / 2,
        "goodnet/defense_effectiveness": (1 / 3 - 1 / 4 + 1) / 2,
    }
    assert evaluate(CLASSES, *by_hand()) == pytest.approx(rates | effectiveness)


def test_the_names_are_those_of_the_contract_and_the_values_plain_floats():
    rates = evaluate(CLASSES, *by_hand())
    assert set(rates) == CLEAN | POISONED | TRUE_LABELS | EFFECTIVENESS
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
        CLASSES, curve | {"poisoned": Predictions(poisoned.predicted, poisoned.labels)}, repaired
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
    more = Predictions(
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
    last = {name: rate[-1] for name, rate in pruning_curve(RANKED, CLASSES, **curve).rates.items()}
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


# B' alone, on its way


@modest
@given(answered(), st.sampled_from(["pruned", "finetune"]))
def test_the_rates_on_the_way_are_those_of_b_repaired_under_another_name(drawn, name):
    curve, repaired = drawn
    rates = evaluate(CLASSES, curve, repaired)
    told = repaired_rates(name, CLASSES, curve, repaired)
    assert told == {f"{name}/{rate}": rates[f"repaired/{rate}"] for rate in STAGE_RATES}
    assert len(told) == 3


def test_the_rates_on_the_way_without_poisoned_images_are_clean_ones():
    curve, repaired = by_hand()
    del curve["poisoned"], repaired["poisoned"]
    names = {"pruned/valid_accuracy", "pruned/clean_accuracy"}
    assert set(repaired_rates("pruned", CLASSES, curve, repaired)) == names


# A soft GoodNet

SOFT = {"false_alarm_rate_at_1", "false_alarm_rate_at_5"}
SOFT_POISONED = {"detection_rate_at_1", "detection_rate_at_5"}


def soft() -> dict[str, np.ndarray]:
    """100 validation scores 0.00 .. 0.99: thresholds 0.98 for 1 % and 0.94 for 5 %."""
    return {
        "valid": np.random.default_rng(0).permutation(100) / 100,
        "test": np.array([0.1, 0.94, 0.95, 0.98, 0.985]),
        "poisoned": np.array([0.94, 0.98, 0.99, 0.985]),
    }


def test_a_soft_goodnet_by_hand():
    rates = shares(
        false_alarm_rate_at_1=(1, 5),
        false_alarm_rate_at_5=(3, 5),
        detection_rate_at_1=(2, 4),
        detection_rate_at_5=(3, 4),
    )
    # pairs won by 0.94: 1.5, by 0.98: 3.5, by 0.99: 5, by 0.985: 4.5, of 20
    assert evaluate_soft(soft()) == pytest.approx(rates | {"auroc": 14.5 / 20})


def test_the_names_of_a_soft_goodnet_and_its_values_are_plain_floats():
    told = evaluate_soft(soft())
    assert set(told) == SOFT | SOFT_POISONED | {"auroc"}
    assert {type(value) for value in told.values()} == {float}


def test_without_poisoned_images_a_soft_goodnet_tells_only_its_false_alarms():
    scores = soft()
    everything = evaluate_soft(scores)
    del scores["poisoned"]
    assert evaluate_soft(scores) == {name: everything[name] for name in SOFT}


def test_poisoned_images_that_do_not_count_are_left_out_of_a_soft_goodnet():
    scores = soft()
    mask = np.array([True, False, False, True])
    few = evaluate_soft(scores | {"poisoned": scores["poisoned"][mask]})
    assert evaluate_soft(scores, mask) == few != evaluate_soft(scores)
    assert few["detection_rate_at_1"] == 1 / 2


def test_thresholds_are_set_by_clean_validation_images_alone():
    scores = soft()
    rates = evaluate_soft(scores)
    others = {"test": np.append(scores["test"], [9.0] * 9), "poisoned": scores["poisoned"] - 1}
    # neither other test images nor other poisoned ones change what is flagged of these
    for name, metric in (("test", "detection_rate_at_5"), ("poisoned", "false_alarm_rate_at_5")):
        assert evaluate_soft(scores | {name: others[name]})[metric] == rates[metric]
    moved = evaluate_soft(scores | {"valid": scores["valid"] + 0.043})
    assert moved["detection_rate_at_5"] == 2 / 4


@modest
@given(st.lists(st.integers(0, 99), min_size=1, max_size=200))
def test_no_more_validation_images_are_flagged_than_allowed(scores):
    valid = np.array(scores)
    rates = evaluate_soft({"valid": valid, "test": valid})
    assert rates["false_alarm_rate_at_1"] <= 0.01
    assert rates["false_alarm_rate_at_1"] <= rates["false_alarm_rate_at_5"] <= 0.05


# What a curve leaves of an attack


def test_the_trade_off_of_a_curve_by_hand():
    rates = {
        "clean_accuracy": np.array([0.95, 0.94, 0.945, 0.93, 0.91, 0.80, 0.45]),
        "attack_success_rate": np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.2, 0.0]),
        "valid_accuracy": np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    }
    # each step's attack success, times what has to be paid in addition to leave it, of 50 points
    area = (1.0 * 1 + 0.9 * 0 + 0.8 * 1 + 0.7 * 2 + 0.6 * 11 + 0.2 * 35) / 50
    assert tradeoff(rates) == pytest.approx(
        {
            "attack_area": area,
            "attack_success_rate_at_1": 0.8,
            "attack_success_rate_at_2": 0.7,
            "attack_success_rate_at_4": 0.6,
            "attack_success_rate_at_10": 0.6,
        }
    )
    assert {type(value) for value in tradeoff(rates).values()} == {float}


def test_without_poisoned_images_there_is_no_trade_off():
    assert tradeoff({"clean_accuracy": np.array([1.0, 0.5])}) == {}


@modest
@given(answered())
def test_the_trade_off_of_a_counted_curve_never_grows_with_what_is_paid_where_attack_falls(drawn):
    curve, _ = drawn
    rates = pruning_curve(RANKED, CLASSES, **curve).rates
    falling = rates | {"attack_success_rate": np.sort(rates["attack_success_rate"])[::-1]}
    told = tradeoff(falling)
    left = [told[f"attack_success_rate_at_{points}"] for points in (1, 2, 4, 10)]
    assert left == sorted(left, reverse=True)
    assert 0 <= told["attack_area"] <= 1


# All together, as a run logs it


def together() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """How far B and B' are apart on the images of `by_hand`, in two ways, and a curve's rates."""
    apart = {
        name: np.random.default_rng(len(name)).random((2, 4)) for name in ("valid", "test")
    } | {"poisoned": np.array([[0.1, 0.9, 0.8, 0.0], [0.9, 0.2, 0.3, 0.0]])}
    rates = {
        "clean_accuracy": np.array([0.9, 0.5]),
        "attack_success_rate": np.array([0.8, 0.1]),
    }
    return apart, rates


def test_a_run_is_told_of_both_soft_goodnets_and_of_the_trade_off():
    apart, rates = together()
    curve, repaired = by_hand()
    told = evaluate(CLASSES, curve, repaired, apart, rates)
    counting = np.array([True, True, True, False])  # the last one is of the target's class
    expected = evaluate(CLASSES, curve, repaired)
    for row, prefix in enumerate(("goodnet", "jensen_shannon")):
        soft = evaluate_soft({name: scores[row] for name, scores in apart.items()}, counting)
        expected |= {f"{prefix}/{name}": value for name, value in soft.items()}
    expected |= {f"tradeoff/{name}": value for name, value in tradeoff(rates).items()}
    assert told == expected
    assert told["goodnet/auroc"] != told["jensen_shannon/auroc"]
    assert told["tradeoff/attack_area"] == pytest.approx(0.8)
    # what was there keeps its name and value
    assert len(told) == len(evaluate(CLASSES, curve, repaired)) + 2 * (4 + 1) + 5


def test_without_poisoned_images_a_run_is_told_of_no_attack():
    apart, rates = together()
    curve, repaired = by_hand()
    del curve["poisoned"], repaired["poisoned"], apart["poisoned"], rates["attack_success_rate"]
    told = evaluate(CLASSES, curve, repaired, apart, rates)
    soft = {f"{prefix}/{name}" for prefix in ("goodnet", "jensen_shannon") for name in SOFT}
    assert set(told) == CLEAN | soft


def test_goodnets_rates_are_those_of_what_it_says_and_else_of_the_vote():
    curve, repaired = by_hand()
    said = {
        "valid": np.zeros(4, int),
        "test": np.array([0, 3, 2, 0]),
        "poisoned": np.array([2, 3, 3, 2]),
    }
    rates = evaluate(CLASSES, curve, repaired, goodnet=said)
    vote = evaluate(CLASSES, curve, repaired)
    differ = {name for name in rates if rates[name] != vote[name]}
    assert all(name.startswith("goodnet/") for name in differ)
    assert rates["goodnet/clean_accuracy"] == 3 / 4
    assert rates["goodnet/false_alarm_rate"] == 1 / 4
    assert rates["goodnet/attack_success_rate"] == 1 / 3  # the last does not count
    assert rates["goodnet/detection_rate"] == 2 / 3
    assert rates["goodnet/robust_accuracy"] == 0
