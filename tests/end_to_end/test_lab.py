"""The real cases: published networks of the lab, and a reference curve of traffic signs.

By hand, the slow way, measured before this engine was written: see `naive_curve.csv` beside the
files, and the counts of dead channels published with the repaired networks.
"""

import csv
from functools import partial
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from sweep import networks, orders, stops
from sweep.data import sources
from sweep.detectors import GoodNet
from sweep.evaluation import curve
from sweep.networks import deepid, forward
from sweep.pruning import Cut, LayerActivations
from sweep.pruning.ranking import together

NAMES = {  # of the reference: in this project, on how many images
    "valid_accuracy": ("valid_accuracy", 3000),
    "test_accuracy": ("clean_accuracy", 4000),
    "attack_success": ("attack_success_rate", 2000),
    "goodnet_accuracy": ("goodnet_accuracy", 4000),
    "goodnet_attack_success": ("goodnet_attack_success_rate", 2000),
    "goodnet_clean_rejected": ("goodnet_false_alarm_rate", 4000),
    "goodnet_poisoned_detected": ("goodnet_detection_rate", 2000),
}


@pytest.fixture(scope="module")
def reference(shared) -> list[dict[str, str]]:
    with (shared / "gtsrb" / "naive_curve.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def signs(shared) -> SimpleNamespace:
    """The traffic signs' whole pruning curve, as run.py computes it."""
    files = sources.h5(str(shared / "gtsrb"), scale=255)
    badnet = networks.load(shared / "gtsrb" / "bd_net.keras")
    images = files.images(*networks.shape_and_classes(badnet), seed=0)
    cut = Cut(badnet)
    valid = LayerActivations(cut, images["valid"], ranked=True)
    ranked = together([valid.scores(partial(orders.mean_activation), 0)])
    answers = {
        name: curve.Predictions(
            LayerActivations(cut, i).predict_steps(ranked.channels), i.labels, i.true_labels
        )
        for name, i in images.items()
    }
    whole = curve.pruning_curve(ranked, 43, **answers)
    return SimpleNamespace(cut=cut, images=images, answers=answers, curve=whole, badnet=badnet)


def test_channels_go_in_the_order_of_the_reference(signs, reference):
    assert signs.cut.layer == "conv_3"
    assert signs.curve.channels.tolist() == [int(row["channel"]) for row in reference[1:]]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_has_the_rate_of_the_reference_within_two_images(name, signs, reference):
    ours, count = NAMES[name]
    expected = np.array([float(row[name]) for row in reference])
    assert len(expected) == 61
    np.testing.assert_allclose(signs.curve.rates[ours] * count, expected * count, atol=2)


@pytest.mark.parametrize(("frac", "step"), [(0.02, 24), (0.04, 27), (0.1, 32)])
def test_the_stop_prunes_as_many_channels_as_by_hand(frac, step, signs):
    assert stops.accuracy_drop(signs.curve.valid, frac=frac) == stops.Stop(step)
    safe = stops.accuracy_drop(signs.curve.valid, frac=frac, keep="safe")
    assert safe == stops.Stop(step - 1)


def test_the_repaired_network_says_what_the_curve_counted(signs):
    repaired = signs.cut.pruned(signs.curve.channels[:32])
    for name, images in signs.images.items():
        differ = forward.predict(repaired, images.pixels) != signs.answers[name].predicted[32]
        assert differ.sum() <= 2
    zero = [not np.any(w) for w in np.moveaxis(repaired.get_layer("conv_3").kernel.numpy(), -1, 0)]
    assert sorted(np.flatnonzero(zero)) == sorted(signs.curve.channels[:32])


def test_poisoned_signs_are_the_clean_ones_that_are_not_of_the_target(shared, signs):
    test, poisoned = signs.images["test"], signs.images["poisoned"]
    with h5py.File(shared / "gtsrb" / "bd" / "bd_test.h5") as file:
        assert set(file["label"][:]) == {8}
    np.testing.assert_array_equal(poisoned.labels, 8)
    others = np.flatnonzero(test.labels != 8)[: len(poisoned)]
    moved = np.abs(test.pixels[others] - poisoned.pixels[:]).max(axis=3)
    assert (moved > 0.01).sum(axis=(1, 2)).max() <= 16  # a yellow square of 4 x 4


@pytest.fixture(scope="module")
def lab(shared) -> SimpleNamespace:
    """The lab's published network and its six poisoned faces."""
    path = shared / "lab3" / "bd_weights.h5"
    with h5py.File(shared / "lab3" / "poisoned_sample.h5") as file:
        faces = np.moveaxis(file["data"][:], 1, -1).astype(np.float32)
    badnet = networks.load(path, lambda classes: deepid((55, 47, 3), classes))
    return SimpleNamespace(folder=shared / "lab3", faces=faces, badnet=badnet)


def test_the_published_network_gives_poisoned_faces_the_target(lab):
    assert networks.shape_and_classes(lab.badnet) == ((55, 47, 3), 1283)
    assert forward.predict(lab.badnet, lab.faces).tolist() == [0] * 6


def test_the_network_repaired_at_ten_percent_sees_through_one_of_them(lab):
    repaired = networks.load(lab.folder / "repaired_10.h5")
    assert forward.predict(repaired, lab.faces).tolist() == [89, 0, 0, 0, 0, 0]
    assert GoodNet(lab.badnet, repaired).predict(lab.faces).tolist() == [1283, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("name", "dead"), [("2", 45), ("4", 48), ("10", 52)])
def test_the_published_repaired_networks_load_with_their_dead_channels(name, dead, lab):
    repaired = networks.load(lab.folder / f"repaired_{name}.h5")
    layer = repaired.get_layer("conv_3")
    kernel = layer.kernel.numpy().reshape(-1, 60)
    gone = ~kernel.any(axis=0) & (layer.bias.numpy() == 0)
    assert gone.sum() == dead
    assert Cut(repaired).layer == "conv_3"


@pytest.mark.parametrize("name", ["2", "4", "10"])
def test_pruning_the_same_channels_gives_the_published_repaired_network(name, lab):
    repaired = networks.load(lab.folder / f"repaired_{name}.h5")
    gone = np.flatnonzero(~repaired.get_layer("conv_3").kernel.numpy().reshape(-1, 60).any(axis=0))
    ours = Cut(lab.badnet).pruned(gone)
    for layer in ("conv_1", "conv_2", "conv_3", "conv_4", "fc_1", "fc_2", "output"):
        theirs = repaired.get_layer(layer).get_weights()
        for our, their in zip(ours.get_layer(layer).get_weights(), theirs, strict=True):
            np.testing.assert_array_equal(our, their)
