"""Whether B' can be trusted: what it lost, and what still turns it, in a sentence."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from planted import TARGET, noisy_patterns, planted

from sweep import rechecking
from sweep.networks.forward import predict
from sweep.rechecking import Recheck, recheck, residual_triggers
from sweep.results.printed import tell_recheck
from sweep.training import Defender
from sweep.training.corruptions import heeded
from sweep.training.inversion import invert

CLASSES = 5


def told(**changes: object) -> Recheck:
    """A recheck that nothing speaks against, but for `changes`."""
    shares = {"flow": np.full(CLASSES, 0.1), "few_values": np.full(CLASSES, 0.05)}
    return replace(
        Recheck(
            images=400,
            lost=2,
            gained=1,
            class_losses=np.array([1, 0, 4, 0, 1]),
            class_sizes=np.array([100, 40, 30, 0, 2]),
            reversed_triggers=0.2,
            corruptions=shares,
            badnet_corruptions=shares | {"flow": np.array([0.1, 0.1, 0.1, 0.97, 0.1])},
        ),
        **changes,
    )


def test_nothing_speaks_against_a_network_that_lost_little_and_that_nothing_turns():
    found = told()
    assert found.doubts == []
    assert found.sentence == (
        "Of 400 clean images that B' has not learned it loses 2 that B is right on, and gains 1; "
        "of others like them it loses at most 1.6 % (95 %). Nothing that clean images tell speaks "
        "against B'."
    )
    assert found.metrics == {
        "repaired/reversed_trigger_success": 0.2,
        "repaired/corruption_success": 0.1,
        "badnet/corruption_success": 0.97,
        "repaired/corruption_excess": 0.0,
        "badnet/corruption_excess": pytest.approx(0.87 / 2),
        "repaired/highest_loss": pytest.approx(0.0157, abs=1e-4),
    }


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"lost": 30}, "it has lost too much accuracy"),
        (
            {"class_losses": np.array([1, 20, 7, 0, 1])},
            "images of some classes are lost: class 1 (20 of 40), 2 (7 of 30)",
        ),
        (
            {"reversed_triggers": 0.71},
            "a reversed trigger on 1 % of the image still turns 71 % of the images",
        ),
        (
            {"corruptions": {"flow": np.array([0, 0, 0, 0.62, 0])}},
            "a corruption (flow) turns 62 % of the images into class 3 (of B 97 %)",
        ),
    ],
)
def test_what_speaks_against_it_is_told(changes, doubt):
    found = told(**changes)
    assert len(found.doubts) == 1
    assert doubt in found.doubts[0]
    assert found.sentence.endswith(f"B' is not to be trusted: {found.doubts[0]}.")


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 27, "lost": 0},
        {"images": 0, "lost": 0, "gained": 0},
        {"lost": 8},
        {"lost": 30, "gained": 30},
    ],
)
def test_a_loss_that_so_few_would_not_show_is_no_reproach_but_told(changes):
    found = told(**changes)
    assert found.doubts == []
    assert found.sentence.endswith(
        " Nothing else that clean images tell speaks against B', but so few would not show a loss "
        "of 2 points."
    )


@pytest.mark.parametrize(("sweep", "said"), [(None, 1), ("parent", 0)])
def test_a_cell_by_itself_says_it_and_all_cells_log_it(sweep, said, capsys):
    metrics, tags = {}, {}
    log = SimpleNamespace(metrics=metrics.update, tags=tags.update, sweep=sweep)
    tell_recheck(log, told())
    assert metrics == told().metrics
    assert tags == {"recheck": told().sentence}
    assert " ".join(capsys.readouterr().out.split()).count(told().sentence) == said


def test_a_network_is_compared_on_images_that_no_repair_has_learned(monkeypatch):
    monkeypatch.setattr(rechecking, "residual_triggers", lambda defender: 0.25)
    monkeypatch.setattr(heeded, "TRIED", 60)
    badnet, repaired, images = planted(0), planted(0), noisy_patterns(0)
    kernel, bias = repaired.layers[-1].get_weights()
    repaired.layers[-1].set_weights([kernel, bias - 1e3 * (np.arange(len(bias)) == TARGET)])
    defender = Defender(badnet, images)
    found = recheck(defender, repaired, learned=300)
    rows, labels = defender.unlearned(300), images.labels
    right = predict(badnet, images.pixels) == labels
    assert found.images == 100
    assert found.lost == np.count_nonzero(right[rows] & (labels[rows] == TARGET)) > 5
    assert found.gained <= 1
    assert found.class_losses[TARGET] == np.count_nonzero(right & (labels == TARGET))
    assert found.class_sizes.tolist() == np.bincount(labels, minlength=len(bias)).tolist()
    assert found.reversed_triggers == 0.25
    assert all(of_class[TARGET] == 0 for of_class in found.corruptions.values()), "it is never said"
    assert any(of_class[TARGET] > 0 for of_class in found.badnet_corruptions.values())
    assert f"class {TARGET} (" in found.sentence


@pytest.mark.parametrize("area", [0.01, 0.03])
def test_what_triggers_reversed_anew_still_do_is_what_their_largest_part_does(area):
    network, images = planted(0), noisy_patterns(0)
    defender = Defender(network, images)
    success = residual_triggers(defender, area=area)
    triggers, shares = invert(defender), []
    pixels, labels = defender.sample(256, key=1)
    for cls, mask, paint in zip(triggers.classes, triggers.masks, triggers.paints, strict=True):
        excess = np.linspace(0, 1, 100_001)  # taken off everywhere, as little as is enough
        sizes = [np.clip(mask - shift, 0, 1).mean() for shift in excess[::100]]
        least = excess[::100][np.flatnonzero(np.array(sizes) <= area)[0]]
        small = np.clip(mask - least, 0, 1)
        pattern = paint / np.where(mask > 0, mask, 1)
        others = pixels[labels != cls]
        stamped = np.clip((1 - small) * others + small * pattern, *triggers.pixel_range)
        shares.append(np.mean(predict(network, stamped.astype(np.float32)) == cls))
    assert success == pytest.approx(max(shares), abs=0.03)
    assert 0.02 < success < 0.98


def test_triggers_that_may_cover_nothing_do_nothing():
    success = residual_triggers(Defender(planted(0), noisy_patterns(0)), area=1e-6)
    assert success < 0.1
