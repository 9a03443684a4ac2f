"""Repairs of other papers as conf/ builds them, on a small BadNet, and what they share."""

import keras
import numpy as np
import pytest
from repaired import configured, defender, noisy_patterns, rates

from sweep.data import Images
from sweep.networks import clone, digest
from sweep.pruning import Cut
from sweep.repairs.applicability import learned_images
from sweep.training import Defender

#: What a small network needs, by repair.
BRIEF = {
    "ft_sam": ("epochs=20", "batch_size=32", "rho=4"),
    "fst": ("epochs=20", "batch_size=32", "alpha=0.01"),
    "i_bau": ("rounds=6", "batch_size=50", "share=0.1", "norm=2", "learning_rate=0.002"),
    "nad": ("epochs=30", "batch_size=16", "learning_rate=0.2", "betas=[100]"),
    "unit": ("steps=60", "learning_rate=0.02", "deviations=1"),
}
LENGTH = {name: "epochs" for name in BRIEF} | {"i_bau": "rounds", "unit": "steps"}
NAMES = list(BRIEF)


@pytest.mark.parametrize("name", NAMES)
def test_attack_success_falls_and_clean_accuracy_stays(badnet, name):
    before = digest(badnet)
    clean, attack = rates(configured(name, *BRIEF[name])(defender(badnet)))
    assert clean > 0.9
    assert attack < 0.5 < rates(badnet)[1]
    assert digest(badnet) == before


@pytest.mark.parametrize("name", NAMES)
def test_what_was_pruned_stays_pruned_and_the_seed_decides(badnet, name):
    pruned = Cut(badnet, "conv", "gamma").pruned([0, 3])

    def repaired(seed: int) -> keras.Model:
        return configured(name, f"{LENGTH[name]}=1")(defender(badnet, seed).with_network(pruned))

    first, again, other = repaired(0), repaired(0), repaired(1)
    assert digest(first) == digest(again) != digest(other)
    gamma, beta, *_ = first.get_layer("norm").get_weights()
    was = pruned.get_layer("norm").get_weights()
    assert not gamma[[0, 3]].any()
    np.testing.assert_array_equal(beta[[0, 3]], was[1][[0, 3]])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_held_out_is_not_learned(name):
    assert learned_images([configured(name, "held_out=0.25")], 100) == 75
    assert learned_images([configured(name, "held_out=0.25", "images=40")], 100) == 30


@pytest.mark.parametrize("name", ["ft_sam", "fst", "nad", "i_bau"])
def test_a_network_of_larger_pixels_learns_as_one_of_pixels_from_0_to_1(badnet, name):
    """What it learns is the same function, up to rounding."""
    large = clone(badnet)
    large.set_weights(
        [value / 255 if n == 0 else value for n, value in enumerate(badnet.get_weights())]
    )
    images = noisy_patterns(0)
    images.pixels[0, 0, 0] = 1
    scaled = Images(255 * images.pixels, images.labels)
    repair = configured(name, "batch_size=100", *(() if name == "i_bau" else ("epochs=1",)))
    one, other = repair(Defender(badnet, images)), repair(Defender(large, scaled))
    expected, given = one(images.pixels), other(scaled.pixels)
    np.testing.assert_allclose(given, expected, rtol=0.02, atol=0.05)
