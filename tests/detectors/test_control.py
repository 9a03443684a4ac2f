"""The control: the log-odds of B's highest probability, by hand."""

import keras
import numpy as np
import pytest
from tiny_detected import BIAS, PIXELS, believed, linear, reference

from sweep import BadInput
from sweep.detectors import confidence
from sweep.networks.loading import as_functional


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_the_score_is_the_log_odds_of_the_highest_probability(activation):
    highest = believed(PIXELS, activation).max(axis=1)
    scores = confidence(reference(linear(activation)))(PIXELS)
    np.testing.assert_allclose(scores, np.log(highest / (1 - highest)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_images_whose_probability_is_1_in_float32_are_told_apart(activation):
    network = linear(activation)
    bright = np.array([[10, 0], [11, 0], [12, 0]], np.float32).reshape(3, 1, 2, 1)
    assert (believed(bright).max(axis=1).astype(np.float32) == 1).all()
    # the second class is 2.5 pixels and 0.4 behind, the third 4 pixels and 0.1
    x = np.array([10, 11, 12])
    behind = -np.log(np.exp(-2.5 * x - 0.4) + np.exp(-4 * x - 0.1))
    np.testing.assert_allclose(confidence(reference(network))(bright), behind, rtol=1e-6)


def test_scores_that_are_not_finite_get_a_sentence():
    network = linear()
    network.get_layer("scores").bias.assign([np.nan, *BIAS[1:]])
    with pytest.raises(BadInput, match="scores that are NaN or infinite"):
        confidence(reference(network))(PIXELS)


def test_no_images_have_no_scores():
    scores = confidence(reference(linear()))(PIXELS[:0])
    assert scores.shape == (0,)
    assert scores.dtype == np.float64


def test_a_single_unit_that_became_two_scores_is_read_as_probabilities():
    images = keras.Input((1, 2, 1))
    unit = keras.layers.Dense(1, activation="sigmoid")
    network = keras.Model(images, unit(keras.layers.Flatten()(images)))
    unit.set_weights([np.array([[2.0], [-1.0]]), np.array([0.5])])
    logit = PIXELS.reshape(-1, 2) @ np.array([2.0, -1.0]) + 0.5
    scores = confidence(reference(as_functional(network)))(PIXELS)
    np.testing.assert_allclose(scores, np.abs(logit), rtol=1e-4, atol=1e-5)
