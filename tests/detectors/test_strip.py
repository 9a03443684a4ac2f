"""STRIP: entropies of blended images, by hand."""

import numpy as np
import pytest
from tiny_detected import PIXELS, believed, linear, reference

from sweep import BadInput
from sweep.detectors import strip


def mean_entropy(x: np.ndarray, overlays: np.ndarray, alpha: float, activation: str | None):
    entropies = []
    for overlay in overlays:
        p = believed(np.clip(x + alpha * overlay, 0, 1), activation)
        entropies.append(-(p * np.log(p)).sum(axis=1))
    return np.mean(entropies, axis=0)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
@pytest.mark.parametrize("alpha", [0.5, 1])
def test_the_score_is_minus_the_mean_entropy_over_all_reference_images(activation, alpha):
    scores = strip(reference(linear(activation)), blends=len(PIXELS), alpha=alpha)(PIXELS)
    expected = -mean_entropy(PIXELS, PIXELS, alpha, activation)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_pixels_are_added_from_black_on_and_clipped_at_white():
    # -1..1 in place of 0..1: black is -1; what B sees of it is the same image
    network, moved = linear(), linear()
    kernel, bias = network.get_layer("scores").get_weights()
    moved.get_layer("scores").set_weights([kernel / 2, bias + kernel.sum(axis=0) / 2])
    expected = strip(reference(network))(PIXELS)
    scores = strip(reference(moved, PIXELS * 2 - 1))(PIXELS * 2 - 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_the_seed_draws_different_images_of_which_each_comes_once():
    network = linear()
    one = strip(reference(network, seed=1), blends=3)(PIXELS)
    np.testing.assert_array_equal(one, strip(reference(network, seed=1), blends=3)(PIXELS))
    assert np.abs(one - strip(reference(network, seed=2), blends=3)(PIXELS)).max() > 1e-3
    # those drawn one by one are the 3 of some draw, all of them those of any
    both = [strip(reference(network, seed=seed), blends=len(PIXELS))(PIXELS) for seed in (1, 2)]
    np.testing.assert_allclose(*both, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"blends": 0}, "detector.blends is 0; expected 1 to 30"),
        ({"blends": 31}, "detector.blends is 31; expected 1 to 30"),
        ({"blends": True}, "detector.blends is True"),
        ({"blends": 2.0}, "detector.blends is 2.0"),
        ({"alpha": 0}, "detector.alpha is 0; expected a weight above 0"),
        ({"alpha": "much"}, "detector.alpha is 'much'"),
        ({"alpha": float("nan")}, "detector.alpha is nan"),
        ({"alpha": float("inf")}, "detector.alpha is inf"),
    ],
)
def test_settings_that_cannot_be_get_a_sentence(settings, says):
    with pytest.raises(BadInput, match=says):
        strip(reference(linear()), **settings)
