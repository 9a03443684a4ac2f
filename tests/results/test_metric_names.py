"""Every rate that results name is one that a run logs: a misspelt one would show as a dash."""

import re
from pathlib import Path

import numpy as np
import pytest

from sweep import rechecking, results
from sweep.evaluation import evaluate
from sweep.evaluation.curve import Predictions

FOLDER = Path(results.__file__).parent
RATE = re.compile(r'"((?:badnet|repaired|goodnet|tradeoff)/\w+)"')
NAMED = {name for path in FOLDER.rglob("*.py") for name in RATE.findall(path.read_text())}


@pytest.fixture(scope="module")
def logged() -> dict[str, float]:
    """The metrics of a run that has everything: true labels, disagreement, a whole curve."""
    labels = np.array([0, 1, 2])
    images = Predictions(np.array([labels, labels]), labels, np.array([2, 0, 1]))
    curve = {"valid": images, "test": images, "poisoned": images}
    repaired = {name: labels for name in curve}
    disagreement = {name: np.array([[0.1, 0.2, 0.3]] * 2) for name in curve}
    rates = {name: np.array([0.9, 0.5]) for name in ("clean_accuracy", "attack_success_rate")}
    rates = evaluate(3, curve, repaired, disagreement, rates)
    return rates | dict.fromkeys(RATE.findall(Path(rechecking.__file__).read_text()), 0.0)


def test_results_name_rates():
    assert len(NAMED) > 10


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_rate_that_results_name_is_logged(name, logged):
    assert name in logged
