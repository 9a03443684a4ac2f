"""What a detector is worth: on images that it has not learned, by a threshold set on others."""

import numpy as np
import pytest

from sweep.data import Images
from sweep.detectors import Reference, Rule, detector_rates
from sweep.evaluation import detection
from sweep.training import Defender

ALARM = 0.1


def pictures(count: int, brightness: float = 0.0, **more) -> Images:
    """Images of one pixel, each of another brightness, so that one is known by it."""
    pixels = (brightness + np.arange(count) / 1000).astype(np.float32).reshape(-1, 1, 1, 1)
    return Images(pixels, np.arange(count) % 3, **more)


class Brightness:
    """The brightness of an image as its score; remembers what it was given to learn."""

    def __call__(self, reference: Reference):
        self.reference = reference
        return lambda pixels: np.asarray(pixels[:].reshape(len(pixels)), np.float64)


@pytest.fixture
def valid() -> Images:
    return pictures(100)


def rates(detector: Brightness, valid: Images, learned: int = 0, **images: Images):
    defender = Defender(None, valid, seed=3)
    return detector_rates(detector, Rule(false_alarm=ALARM), defender, "B'", images, learned)


@pytest.mark.parametrize("learned", [0, 30, 80])
def test_what_it_learns_from_never_sets_its_threshold_nor_what_a_repair_has_learned(valid, learned):
    detector, test = Brightness(), pictures(90)
    found = rates(detector, valid, learned, test=test)
    reference = detector.reference
    assert (reference.repaired, reference.seed, len(reference.labels)) == ("B'", 3, 50)
    learned_pixels = set(reference.pixels.ravel().tolist())
    order = np.random.default_rng([3, 0]).permutation(100)
    assert learned_pixels == set(valid.pixels.ravel()[order[:50]].tolist())
    clean = valid.pixels.ravel()[order[max(50, learned) :]]
    assert not learned_pixels & set(clean.tolist())
    for name, alarm in (("", ALARM), ("_at_1", 0.01), ("_at_5", 0.05)):
        threshold = detection.threshold(clean, alarm)
        expected = np.mean(test.pixels.ravel() > threshold)
        assert found[f"detector/false_alarm_rate{name}"] == expected


def test_of_poisoned_images_those_of_the_targets_class_do_not_count(valid):
    true_labels = np.array([0, 0, 1, 1])
    poisoned = Images(
        np.array([9.0, -9.0, 9.0, 9.0], np.float32).reshape(4, 1, 1, 1),
        np.zeros(4, np.int64),
        true_labels,
    )
    found = rates(Brightness(), valid, test=pictures(90), poisoned=poisoned)
    assert found["detector/detection_rate"] == 1.0
    assert found["detector/auroc"] == 1.0
    everyone = rates(
        Brightness(), valid, test=pictures(90), poisoned=Images(poisoned.pixels, poisoned.labels)
    )
    assert everyone["detector/detection_rate"] == 0.75


def test_without_poisoned_images_there_are_false_alarms_and_the_seconds_alone(valid):
    found = rates(Brightness(), valid, test=pictures(90))
    assert set(found) == {
        "detector/false_alarm_rate",
        "detector/false_alarm_rate_at_1",
        "detector/false_alarm_rate_at_5",
        "detector/seconds_per_1000",
    }
    assert found["detector/seconds_per_1000"] >= 0
