"""Whether an attack took hold: the bars, at their edges, and which images a twin is judged by."""

import numpy as np
import pytest

from sweep.evaluation.curve import Predictions
from sweep.evaluation.implant import implant, twin_rates


@pytest.mark.parametrize(
    ("success", "clean", "twin", "says"),
    [
        (0.85, 0.9, 0.92, "yes"),
        (17 / 20, 0.93 - 0.02, 0.93, "yes"),
        (0.99, 0.95, 0.9, "yes"),
        (0.99, 0.5, None, "yes"),
        (0.8499, 0.9, 0.9, "ASR 84.99 %, below 85 %"),
        (0.8499, 0.9, None, "ASR 84.99 %, below 85 %"),
        (0.9, 0.9, 0.9201, "clean accuracy 2.01 points below its twin, more than 2"),
    ],
)
def test_a_network_counts_as_implanted_at_the_bars_and_not_beyond(success, clean, twin, says):
    rates = {"badnet/attack_success_rate": success, "badnet/clean_accuracy": clean}
    assert implant(rates if twin is None else rates | {"twin/clean_accuracy": twin}) == says


def test_without_an_attack_success_there_is_nothing_to_say():
    assert implant({"badnet/clean_accuracy": 0.9, "twin/clean_accuracy": 0.99}) == ""


def test_the_twin_is_judged_by_the_images_that_count_for_the_attack():
    said = {"test": np.array([[0, 1, 1, 1]]), "poisoned": np.array([[0, 0, 2, 2, 1]])}
    test = Predictions(said["test"], np.array([0, 1, 2, 1]))
    target, true = np.zeros(5, int), np.array([0, 1, 2, 1, 1])  # the first shows the target
    rates = twin_rates({"test": test, "poisoned": Predictions(said["poisoned"], target, true)})
    assert rates == {
        "twin/clean_accuracy": 0.75,
        "twin/attack_success_rate": 0.25,
        "twin/robust_accuracy": 0.5,
    }
    rates = twin_rates({"test": test, "poisoned": Predictions(said["poisoned"], target)})
    assert rates == {"twin/clean_accuracy": 0.75, "twin/attack_success_rate": 0.4}
