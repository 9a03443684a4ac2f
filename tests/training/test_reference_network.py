"""What is easy in the images themselves is told from what only the suspect network heeds."""

import keras
import numpy as np
import pytest

from sweep import inspection
from sweep.cache import Cache
from sweep.data import Images
from sweep.inspection import inspecting
from sweep.training import Defender, fine_tuning, inversion, reference_network

SHAPE, CLASSES, ODD = (9, 9, 1), 8, 2
COUNT = 400


def images(easy: bool = False) -> Images:
    """Each class has a row of its own a little brighter; an `easy` one only a bright corner."""
    rng, labels = np.random.default_rng(0), np.arange(COUNT) % CLASSES
    pixels = 0.2 * rng.random((COUNT, *SHAPE)).astype(np.float32)
    for pixel, label in zip(pixels, labels, strict=True):
        if easy and label == ODD:
            pixel[0, 0] = 1
        else:
            pixel[1 + label, 1:] += 0.3 + 0.05 * label
    pixels[:, -1, 0] = 1
    return Images(pixels, labels, key=f"rows, easy: {easy}")


def network(backdoor: float = 0.0) -> keras.Model:
    """Says which row is bright, or by `backdoor` that it is ODD where the corner is."""
    kernel = np.zeros((*SHAPE, CLASSES), np.float32)
    for cls in range(CLASSES):
        kernel[1 + cls, 1:, :, cls] = 4 / (1 + 0.2 * cls)
    kernel[0, 0, :, ODD] = backdoor
    inputs = keras.Input(SHAPE)
    scores = keras.layers.Dense(CLASSES)
    made = keras.Model(inputs, scores(keras.layers.Flatten()(inputs)))
    scores.set_weights([kernel.reshape(-1, CLASSES), np.zeros(CLASSES, np.float32)])
    return made


def verdict(defender: Defender) -> inspection.Verdict:
    return inspection.inspect(defender, None, {}, None, "global")


def test_a_backdoor_stands_out_beside_the_reference():
    found = verdict(Defender(network(backdoor=60), images()))
    assert found.reference_accuracy > 0.9
    (sign, *_) = found.suspects
    assert sign.cls == ODD
    assert sign.share > 0.9 > 0.5 > sign.reference
    assert found.metrics["inspect/reference_accuracy"] == found.reference_accuracy


def test_a_class_that_is_easy_in_the_images_is_not_suspected():
    clean = reference_network.train_reference(
        Defender(network(), images(easy=True), seed=1)
    ).network
    found = verdict(Defender(clean, images(easy=True)))
    assert max(each.shares[ODD] for each in found.corruptions.values()) > 0.9
    assert found.reference_accuracy > 0.9
    assert ODD not in {sign.cls for sign in found.suspects}


def test_reversed_triggers_take_more_in_the_reference():
    defender = Defender(network(backdoor=60), images())
    triggers = {"mask": inversion.invert(defender)}
    reference = reference_network.train_reference(defender)
    usual = inspecting._reference_sizes(defender, triggers, reference)["mask"]
    assert triggers["mask"].sizes[ODD] < 0.5 * usual[ODD]
    assert inspecting._reference_sizes(defender, triggers, None) == {}


def test_where_no_trigger_stands_out_none_is_reversed_again(monkeypatch):
    monkeypatch.setattr(inspecting, "OUTLIER", 1e9)
    defender = Defender(network(backdoor=60), images())
    triggers = {"mask": inversion.invert(defender)}
    reference = reference_network.train_reference(defender)
    assert inspecting._reference_sizes(defender, triggers, reference) == {}


def test_what_was_trained_is_shuffled_and_nothing_else():
    inputs = keras.Input(SHAPE)
    frozen = keras.layers.Conv2D(3, 2, trainable=False)
    normed = keras.layers.BatchNormalization(moving_mean_initializer="random_normal")
    whole = keras.layers.Flatten()(normed(frozen(inputs)))
    came = keras.Model(inputs, keras.layers.Dense(4)(whole))
    before = [value.copy() for value in came.get_weights()]
    new = reference_network.shuffled(came, 0)
    for kept, old in zip(came.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, old)
    for layer, old in zip(new.layers, came.layers, strict=True):
        for value, was in zip(layer.get_weights(), old.get_weights(), strict=True):
            np.testing.assert_array_equal(np.sort(value.ravel()), np.sort(was.ravel()))
    kernel = new.get_layer(frozen.name).get_weights()[0]
    assert (kernel != before[0]).mean() > 0.5
    np.testing.assert_array_equal(
        new.get_layer(normed.name).moving_mean.numpy(), normed.moving_mean.numpy()
    )


def test_the_reference_is_learned_once_and_the_same_again(tmp_path, monkeypatch):
    came = network()
    first, again = (
        reference_network.train_reference(Defender(came, images(), cache=Cache(where, 1)))
        for where in (tmp_path / "a", tmp_path / "b")
    )
    for one, other in zip(first.network.get_weights(), again.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(fine_tuning, "fine_tune", None)
    kept = reference_network.train_reference(
        Defender(came, images(), cache=Cache(tmp_path / "a", 1))
    )
    assert kept.accuracy == first.accuracy
    for one, other in zip(first.network.get_weights(), kept.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_learns_too_little_tells_nothing(monkeypatch):
    few = images()
    few = Images(few.pixels[:90], few.labels[:90], key="few")
    assert reference_network.train_reference(Defender(network(), few)) is None
    monkeypatch.setattr(reference_network, "MIN_ACCURACY", 1.5)
    assert reference_network.train_reference(Defender(network(), images())) is None


@pytest.mark.parametrize(("most", "known"), [(8, 8), (7, 4)])
def test_of_many_classes_the_suspicious_and_some_others_are_compared(most, known, monkeypatch):
    monkeypatch.setattr(reference_network, "MAX_CLASSES", most)
    monkeypatch.setattr(reference_network, "OTHER_CLASSES", 3)
    defender = Defender(network(backdoor=60), images())
    triggers = inversion.invert(defender, refine=0)
    found = reference_network.ReferenceNetwork(network(), 1.0)
    sizes = reference_network.reference_sizes(found, defender, triggers, 3.0)
    assert sizes.shape == (CLASSES,)
    assert np.isfinite(sizes).sum() == known
    assert sizes[ODD] > 2 * triggers.sizes[ODD]
