"""SCALE-UP: classes of brightened images, by hand."""

import numpy as np
import pytest
from tiny_detected import PIXELS, believed, linear, reference

from sweep import BadInput
from sweep.detectors import scale_up

FACTORS = (3, 5, 7, 9, 11)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_the_score_is_the_share_of_equal_classes_and_ties_break_by_probability(activation):
    said = believed(PIXELS, activation).argmax(axis=1)
    brightened = [believed(np.clip(n * PIXELS, 0, 1), activation) for n in FACTORS]
    share = np.mean([p.argmax(axis=1) == said for p in brightened], axis=0)
    assert len(np.unique(share)) > 2
    mean = np.mean([p[np.arange(len(p)), said] for p in brightened], axis=0)
    scores = scale_up(reference(linear(activation)))(PIXELS)
    np.testing.assert_allclose(scores, share + mean / 6, rtol=1e-5)


def test_a_probability_never_outweighs_a_class():
    for factors in ((2,), FACTORS):
        scores = scale_up(reference(linear()), factors=factors)(PIXELS)
        said = believed(PIXELS).argmax(axis=1)
        share = np.mean(
            [believed(np.clip(n * PIXELS, 0, 1)).argmax(axis=1) == said for n in factors], axis=0
        )
        for low, high in zip(np.unique(share)[:-1], np.unique(share)[1:], strict=True):
            assert scores[share == low].max() < scores[share == high].min()


def test_pixels_are_multiplied_from_black_on():
    network, moved = linear(), linear()
    kernel, bias = network.get_layer("scores").get_weights()
    moved.get_layer("scores").set_weights([kernel / 2, bias + kernel.sum(axis=0) / 2])
    scores = scale_up(reference(moved, PIXELS * 2 - 1))(PIXELS * 2 - 1)
    np.testing.assert_allclose(scores, scale_up(reference(network))(PIXELS), rtol=1e-5)


def test_pixels_up_to_255_are_clipped_there():
    network = linear()
    kernel, bias = network.get_layer("scores").get_weights()
    network.get_layer("scores").set_weights([kernel / 255, bias])
    scores = scale_up(reference(network, PIXELS * 255))(PIXELS * 255)
    np.testing.assert_allclose(scores, scale_up(reference(linear()))(PIXELS), rtol=1e-4)


@pytest.mark.parametrize("factors", [(), (1,), (3, 0.5), ("3",), (True,), 3, None])
def test_factors_that_are_none_get_a_sentence(factors):
    with pytest.raises(BadInput, match=r"detector.factors is .*; expected one or more numbers"):
        scale_up(reference(linear()), factors=factors)
