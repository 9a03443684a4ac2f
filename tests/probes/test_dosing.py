"""Doses of a trigger, against what a network of one threshold must say of them."""

import keras
import numpy as np
import pytest
from keras import layers
from repaired import SHAPE, TARGET, noisy_patterns, probing, stamped


def network(threshold: float) -> keras.Model:
    """Says the target where the corner's first pixel is above a threshold, else class 0."""
    images = keras.Input(SHAPE)
    scores = layers.Dense(4, name="scores")
    model = keras.Model(images, scores(layers.Flatten()(images)))
    kernel, bias = np.zeros((64, 4)), np.float32([0, 0, -1, -1])
    kernel[0, TARGET], bias[TARGET] = 1, -threshold
    scores.set_weights([kernel, bias])
    return model


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8, 0.999])
def test_an_image_goes_so_far_towards_its_poisoned_version(threshold, attacker):
    found = probing("dose", "doses=[0,0.5,0.75,1,1.5]")(attacker(network(threshold)))
    clean = noisy_patterns(4, 120)
    before, after = (p[clean.labels != TARGET][:, 0, 0, 0] for p in _both(clean.pixels))
    for dose in (0, 0.5, 0.75, 1, 1.5):
        expected = np.mean(np.clip(before + dose * (after - before), 0, 1) > threshold)
        assert found[f"{dose:g}/attack_success_rate"] == pytest.approx(expected)
    assert len(set(found.values())) > 1


def _both(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pixels, stamped(pixels)


def test_no_pixel_leaves_the_range_of_pixels(attacker):
    found = probing("dose", "doses=[3]")(attacker(network(1.001)))
    assert found["3/attack_success_rate"] == 0


def test_b_is_told_beside_b_prime(attacker):
    found = probing("dose", "doses=[1]")(attacker(network(1.001), badnet=network(0.9)))
    assert found == {"1/attack_success_rate": 0, "badnet/1/attack_success_rate": 1}
