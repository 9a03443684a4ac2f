"""The curve's rates against a slow loop, and its CSV read back: names, steps, exact numbers."""

import csv
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.evaluation import PruningCurve, ValidCurve, pruning_curve
from sweep.evaluation.curve import Predictions, Ranking, steps_of

CLASSES = 3
TARGET = 1
modest = settings(max_examples=25, deadline=None)

# the names that DESIGN.md gives to the metrics of the curve
CLEAN = {"valid_accuracy", "clean_accuracy", "goodnet_accuracy", "goodnet_false_alarm_rate"}
POISONED = {"attack_success_rate", "goodnet_attack_success_rate", "goodnet_detection_rate"}


@st.composite
def answers(draw: st.DrawFn, channels: int, poisoned: bool = False) -> Predictions:
    images = draw(st.integers(1, 6))
    some = st.integers(0, CLASSES - 1)
    predicted = draw(arrays(np.int64, (channels + 1, images), elements=some))
    if not poisoned:
        return Predictions(predicted, draw(arrays(np.int64, images, elements=some)))
    true = draw(arrays(np.int64, images, elements=some))
    true[0] = 0  # at least one image that is not of the target's class
    known = draw(st.booleans())
    return Predictions(predicted, np.full(images, TARGET), true if known else None)


@st.composite
def curves(draw: st.DrawFn) -> tuple[PruningCurve, dict[str, Predictions]]:
    channels = draw(st.integers(1, 4))
    order = np.array(draw(st.permutations(range(channels))))
    seen = {
        "valid": draw(answers(channels)),
        "test": draw(answers(channels)),
        "poisoned": draw(answers(channels, poisoned=True)),
    }
    return pruning_curve(ranked(order), CLASSES, **seen), seen


def ranked(channels) -> Ranking:
    """In this order, and told apart by scores."""
    return Ranking(np.asarray(channels), np.linspace(-1, 1, len(channels)))


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def slow(seen: dict[str, Predictions], step: int) -> dict[str, float]:
    """Every rate of one step, image by image."""
    valid, test, poisoned = (seen[name] for name in ("valid", "test", "poisoned"))
    valid_right = [
        said == label for said, label in zip(valid.predicted[step], valid.labels, strict=True)
    ]
    right, goodnet_right, alarms = [], [], []
    for image, label in enumerate(test.labels):
        before, after = test.predicted[0, image], test.predicted[step, image]
        right.append(after == label)
        goodnet_right.append(before == after == label)
        alarms.append(before != after)
    fooled, goodnet_fooled, detected = [], [], []
    for image, target in enumerate(poisoned.labels):
        if poisoned.true_labels is not None and poisoned.true_labels[image] == target:
            continue
        before, after = poisoned.predicted[0, image], poisoned.predicted[step, image]
        fooled.append(after == target)
        goodnet_fooled.append(before == after == target)
        detected.append(before != after)
    return {
        "valid_accuracy": share(valid_right),
        "clean_accuracy": share(right),
        "attack_success_rate": share(fooled),
        "goodnet_accuracy": share(goodnet_right),
        "goodnet_attack_success_rate": share(goodnet_fooled),
        "goodnet_detection_rate": share(detected),
        "goodnet_false_alarm_rate": share(alarms),
    }


@modest
@given(curves())
def test_every_rate_of_every_step_is_what_a_slow_loop_counts(drawn):
    curve, seen = drawn
    assert set(curve.rates) == CLEAN | POISONED
    for step in range(len(curve.channels) + 1):
        at_step = {name: rate[step] for name, rate in curve.rates.items()}
        assert at_step == pytest.approx(slow(seen, step))


@modest
@given(curves())
def test_goodnet_is_never_above_b_or_b_repaired_at_any_step(drawn):
    curve, _ = drawn
    for single, both in (
        ("clean_accuracy", "goodnet_accuracy"),
        ("attack_success_rate", "goodnet_attack_success_rate"),
    ):
        bound = np.minimum(curve.rates[single][0], curve.rates[single])
        assert np.all(curve.rates[both] <= bound)


@modest
@given(curves())
def test_at_step_zero_goodnet_is_b_itself_and_flags_nothing(drawn):
    rates = drawn[0].rates
    assert rates["goodnet_accuracy"][0] == rates["clean_accuracy"][0]
    assert rates["goodnet_attack_success_rate"][0] == rates["attack_success_rate"][0]
    assert rates["goodnet_false_alarm_rate"][0] == rates["goodnet_detection_rate"][0] == 0


@modest
@given(curves())
def test_a_stop_sees_clean_validation_images_alone(drawn):
    curve, seen = drawn
    scores = ranked(curve.channels).scores
    expected = ValidCurve.of(seen["valid"].predicted, seen["valid"].labels, scores)
    for name in vars(expected):
        np.testing.assert_array_equal(getattr(curve.valid, name), getattr(expected, name))
    shares = curve.valid.correct / curve.valid.images
    np.testing.assert_allclose(curve.rates["valid_accuracy"], shares)


@modest
@given(curves())
def test_without_poisoned_images_the_clean_rates_are_the_same_and_the_others_are_absent(drawn):
    curve, seen = drawn
    clean = pruning_curve(ranked(curve.channels), CLASSES, seen["valid"], seen["test"])
    assert set(clean.rates) == CLEAN
    for name in CLEAN:
        np.testing.assert_array_equal(clean.rates[name], curve.rates[name])


@pytest.mark.parametrize("said", range(CLASSES))
def test_further_poisoned_images_of_the_targets_class_change_no_rate(said):
    clean = Predictions(np.array([[0], [0]]), np.array([0]))
    counted = Predictions(np.array([[1, 1], [0, 1]]), np.array([1, 1]), np.array([0, 2]))
    more = Predictions(
        np.hstack([counted.predicted, np.full((2, 3), said)]),
        np.append(counted.labels, [TARGET] * 3),
        np.append(counted.true_labels, [TARGET] * 3),
    )
    few, many = (pruning_curve(ranked([0]), CLASSES, clean, clean, p) for p in (counted, more))
    assert few.rates["attack_success_rate"].tolist() == [1, 0.5]
    for name in POISONED:
        np.testing.assert_array_equal(few.rates[name], many.rates[name])


@modest
@given(curves(), st.sampled_from(["conv_3", "block/conv 1", 'a,b "c"']))
def test_the_csv_has_a_row_a_step_and_gives_every_number_back_exactly(drawn, layer):
    curve, _ = drawn
    text = curve.to_csv(lambda channel: (layer, channel))
    rows = list(csv.DictReader(StringIO(text, newline="")))
    assert set(rows[0]) == {"pruned", "channel", "layer"} | CLEAN | POISONED
    assert [int(row["pruned"]) for row in rows] == list(range(len(curve.channels) + 1))
    assert [int(row["channel"]) for row in rows] == [-1, *curve.channels]
    assert {row["layer"] for row in rows} == {layer}
    for name, rate in curve.rates.items():
        assert [float(row[name]) for row in rows] == rate.tolist()


def test_the_csv_by_hand():
    valid = Predictions(np.array([[0, 1], [0, 0], [2, 0]]), np.array([0, 1]))
    curve = pruning_curve(ranked([1, 0]), CLASSES, valid, valid)
    assert curve.to_csv(lambda channel: ("conv_3", channel)) == (
        "pruned,channel,layer,"
        "valid_accuracy,clean_accuracy,goodnet_accuracy,goodnet_false_alarm_rate\n"
        "0,-1,conv_3,1.0,1.0,1.0,0.0\n"
        "1,1,conv_3,0.5,0.5,0.5,0.5\n"
        "2,0,conv_3,0.0,0.0,0.0,1.0\n"
    )


def test_the_csv_of_several_layers_names_the_layer_of_each_step_and_none_of_step_0():
    valid = Predictions(np.zeros((4, 2), int), np.array([0, 1]))
    curve = pruning_curve(ranked([2, 0, 1]), CLASSES, valid, valid)
    text = curve.to_csv(lambda channel: ("conv_1", channel) if channel < 2 else ("conv_2", 0))
    steps = [line.split(",")[:3] for line in text.splitlines()[1:]]
    assert steps == [
        ["0", "-1", ""],
        ["1", "0", "conv_2"],
        ["2", "0", "conv_1"],
        ["3", "1", "conv_1"],
    ]


@modest
@given(curves())
def test_each_rate_tells_how_many_images_it_is_a_share_of(drawn):
    curve, seen = drawn
    assert curve.images.keys() == curve.rates.keys()
    poisoned = seen["poisoned"]
    true = poisoned.true_labels
    counted = len(poisoned.labels) if true is None else int((true != TARGET).sum())
    assert curve.images["valid_accuracy"] == len(seen["valid"].labels)
    assert curve.images["goodnet_accuracy"] == len(seen["test"].labels)
    assert curve.images["attack_success_rate"] == counted


def test_predictions_for_other_labels_are_refused():
    with pytest.raises(ValueError, match=r"predictions \(2, 3\) for labels \(4,\)"):
        Predictions(np.zeros((2, 3), int), np.zeros(4, int))


# Fewer steps


@pytest.mark.parametrize(
    ("channels", "step", "expected"),
    [
        (3, 1, [0, 1, 2, 3]),
        (10, 4, [0, 4, 8, 10]),
        (8, 4, [0, 4, 8]),
        (10, 10, [0, 10]),
        (10, 64, [0, 10]),
        (1, 64, [0, 1]),
        (10, 0.25, [0, 3, 6, 9, 10]),  # 2.5 at a time, rounded up
        (60, 0.01, [*range(61)]),  # 0.6
        (60, 1e-12, [*range(61)]),
        (1282, 0.5, [0, 641, 1282]),
        (5, 0.99, [0, 5]),
    ],
)
def test_steps_are_multiples_of_a_number_or_share_of_channels_and_all_of_them(
    channels, step, expected
):
    assert steps_of(channels, step).tolist() == expected


@pytest.mark.parametrize(("share", "channels"), [(0.07, 100), (0.14, 50), (0.29, 100), (0.05, 20)])
def test_a_float_product_beside_a_whole_number_of_channels_means_that_number(share, channels):
    assert steps_of(channels, share)[1] == round(share * channels)


@modest
@given(st.integers(1, 300), st.one_of(st.integers(1, 400), st.floats(1e-6, 0.999)))
def test_steps_rise_evenly_from_none_to_all_and_the_last_may_be_shorter(channels, step):
    steps = steps_of(channels, step)
    apart = np.diff(steps)
    assert (steps[0], steps[-1]) == (0, channels)
    assert set(apart[:-1]) <= {apart[0]}
    assert 0 < apart[-1] <= apart[0]


@modest
@given(curves(), st.integers(1, 5))
def test_every_rate_and_count_of_a_curve_of_fewer_steps_is_that_of_the_whole_one(drawn, step):
    whole, seen = drawn
    steps = steps_of(len(whole.channels), step)
    fewer = {
        name: Predictions(of.predicted[steps], of.labels, of.true_labels)
        for name, of in seen.items()
    }
    ranking = Ranking(whole.channels, whole.valid.scores, step)
    curve = pruning_curve(ranking, CLASSES, **fewer)
    np.testing.assert_array_equal(curve.steps, steps)
    assert curve.valid.channels == whole.valid.channels == len(whole.channels)
    assert curve.images == whole.images
    for name, rate in curve.rates.items():
        np.testing.assert_array_equal(rate, whole.rates[name][steps])
    for name in ("correct", "newly_wrong", "newly_right", "differ", "drop"):
        counts = getattr(whole.valid, name)[steps]
        np.testing.assert_array_equal(getattr(curve.valid, name), counts)
    np.testing.assert_array_equal(curve.valid.scores, whole.valid.scores)


def test_the_csv_of_fewer_steps_has_their_rows_and_names_every_channel():
    def locate(channel: int) -> tuple[str, int]:
        return ("conv_1", channel) if channel < 2 else ("conv_2", channel - 2)

    valid = Predictions(np.array([[0], [0], [2]]), np.array([0]))
    ranking = Ranking(np.array([2, 0, 1]), np.zeros(3), step=2)
    curve = pruning_curve(ranking, CLASSES, valid, valid)
    assert curve.to_csv(locate) == (
        "pruned,channel,layer,"
        "valid_accuracy,clean_accuracy,goodnet_accuracy,goodnet_false_alarm_rate,channels\n"
        "0,-1,,1.0,1.0,1.0,0.0,\n"
        "2,0,conv_1,1.0,1.0,1.0,0.0,conv_2:0 conv_1:0\n"
        "3,1,conv_1,0.0,0.0,0.0,1.0,conv_1:1\n"
    )


def test_counts_at_other_steps_are_refused():
    with pytest.raises(ValueError, match=r"counts \(2,\) at 3 steps"):
        ValidCurve.of(np.zeros((2, 4), int), np.zeros(4, int), None, [0, 2, 3])
