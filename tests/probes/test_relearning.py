"""Relearning on a small network: which images it learns, and what it leaves alone."""

import numpy as np
import pytest
from repaired import CLASSES, TARGET, noisy_patterns, probing, stamped

from sweep.networks import digest
from sweep.training.rivals import descent

BRIEF = ("poisoned=[2,40]", "clean=80", "epochs=4", "batch_size=16", "learning_rate=0.05")


def relearn(*overrides: str):
    return probing("relearn", *BRIEF, *overrides)


def test_more_poisoned_images_teach_more_and_the_network_itself_stays(innocent, attacker):
    before = digest(innocent)
    found = relearn()(attacker(innocent))
    assert set(found) == {
        f"{count}/{rate}" for count in (2, 40) for rate in ("attack_success_rate", "clean_accuracy")
    }
    assert found["40/attack_success_rate"] > 0.9
    assert found["2/attack_success_rate"] < found["40/attack_success_rate"] - 0.3
    assert min(found["2/clean_accuracy"], found["40/clean_accuracy"]) > 0.85
    assert digest(innocent) == before


def test_a_backdoored_network_is_ahead_of_the_twin_that_learns_the_same(badnet, innocent, attacker):
    found = relearn("poisoned=[2]")(attacker(badnet, make_twin=lambda: innocent))
    assert found["2/attack_success_rate"] > 0.9
    assert found["twin/2/attack_success_rate"] < 0.6
    assert found["twin/2/clean_accuracy"] > 0.85
    alone = relearn("poisoned=[2]")(attacker(innocent))
    for rate, value in alone.items():
        assert found[f"twin/{rate}"] == value


def test_rates_are_of_test_images_the_targets_own_aside(innocent, attacker, learned):
    """Of a network that has learned nothing; `learned` sees to that."""
    found = relearn()(attacker(innocent))
    clean = noisy_patterns(4, 120)
    says = [np.asarray(innocent(p)).argmax(axis=1) for p in (clean.pixels, stamped(clean.pixels))]
    others = clean.labels != TARGET
    assert found["2/clean_accuracy"] == pytest.approx((says[0] == clean.labels).mean())
    assert found["2/attack_success_rate"] == pytest.approx((says[1] == TARGET)[others].mean())


@pytest.fixture
def learned(monkeypatch, innocent, attacker):
    """Call with a seed: the images that are learned, with how many of them are poisoned."""
    seen = []

    def run(self, step, images, progress):
        seen.append(images)
        return self.network

    monkeypatch.setattr(descent.Descent, "run", run)

    def learned(seed: int):
        seen.clear()
        relearn()(attacker(innocent, seed))
        return list(seen)

    return learned


def test_images_are_validation_images_the_poisoned_ones_of_other_classes_and_nested(learned):
    few, many = learned(0)
    for (pixels, labels), count in ((few, 2), (many, 40)):
        assert pixels.shape == (80 + count, 8, 8, 1)
        assert (labels[80:] == TARGET).all()
        assert len(set(labels[:80])) == CLASSES
    np.testing.assert_array_equal(few[0], many[0][:82])
    valid = noisy_patterns(3, 120)
    places = {pixels.tobytes(): label for pixels, label in zip(*_arrays(valid), strict=True)}
    others = stamped(valid.pixels)[valid.labels != TARGET]
    assert all(places[p.tobytes()] == y for p, y in zip(many[0][:80], many[1][:80], strict=True))
    assert {p.tobytes() for p in many[0][80:]} <= {p.tobytes() for p in others}
    assert len({p.tobytes() for p in many[0]}) == 120


def _arrays(images):
    return images.pixels, images.labels


def test_the_seed_decides(learned, innocent, attacker, monkeypatch):
    first, again, other = learned(0)[0], learned(0)[0], learned(1)[0]
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    monkeypatch.undo()
    one, same = (relearn("poisoned=[10]")(attacker(innocent)) for _ in range(2))
    assert one == same
