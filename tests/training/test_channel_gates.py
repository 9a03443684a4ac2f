"""Gates of channels: at one they change nothing, at zero they prune, and between they scale."""

import numpy as np
import pytest
import tensorflow as tf
from zoo import (
    PIXELS,
    depthwise,
    lenet,
    no_bias,
    normalised,
    preactivation,
    randomized,
    residual,
    residual_sum,
    separable,
    untouched,
)

from sweep.networks import outputs
from sweep.networks.loading import as_functional
from sweep.pruning import cut_at
from sweep.training.channel_gates import GatedNetwork

BUILDERS = [(lenet, "conv_2"), (normalised, "conv_2"), (depthwise, "depthwise")]
BUILDERS += [(separable, "separable"), (separable, "transpose"), (preactivation, "bn")]
BUILDERS += [(residual, "conv_1"), (residual_sum, "conv_2")]  # a tensor passes the gate by
LABELS = np.arange(len(PIXELS)) % 5


@pytest.mark.parametrize(("builder", "layer"), BUILDERS)
def test_gates_at_one_change_nothing_and_at_zero_prune(builder, layer):
    network = as_functional(randomized(builder(untouched)))
    gated = GatedNetwork(network, layer)
    units, kept = gated.units(PIXELS), np.ones(gated.channels, np.float32)
    whole = outputs.cross_entropy(network, PIXELS, LABELS)
    np.testing.assert_allclose(gated.loss(kept, kept, units, LABELS), whole, rtol=1e-4)
    kept[[0, 2]] = 0
    pruned = outputs.cross_entropy(cut_at(network, layer).pruned([0, 2]), PIXELS, LABELS)
    np.testing.assert_allclose(gated.loss(kept, kept, units, LABELS), pruned, rtol=1e-4)


@pytest.mark.parametrize(
    ("builder", "layer", "scaled", "shift"),
    [(lenet, "conv_2", "conv_2.kernel", "bias"), (normalised, "conv_2", "bn_2.gamma", "beta")],
)
def test_a_gate_scales_the_channel_and_its_factor_the_shift(builder, layer, scaled, shift):
    network = as_functional(randomized(builder(untouched)))
    gated, rng = GatedNetwork(network, layer), np.random.default_rng(3)
    gate, factor = rng.uniform(0, 2, (2, gated.channels)).astype(np.float32)
    loss = gated.loss(gate, factor, gated.units(PIXELS), LABELS)
    name, weight = scaled.split(".")
    for variable, by in ((weight, gate), (shift, factor)):
        value = getattr(network.get_layer(name), variable)
        value.assign(value * by)
    np.testing.assert_allclose(loss, outputs.cross_entropy(network, PIXELS, LABELS), rtol=1e-4)


def test_the_gradient_of_the_loss_is_that_of_small_changes_of_gate_and_factor():
    gated = GatedNetwork(as_functional(randomized(lenet(untouched))), "conv_2")
    units, ones = gated.units(PIXELS), np.ones(gated.channels, np.float32)
    masks = [tf.constant(0.7 * ones), tf.constant(1.1 * ones)]
    with tf.GradientTape() as tape:
        tape.watch(masks)
        loss = gated.loss(*masks, units, LABELS)
    gradients = tape.gradient(loss, masks)
    for place, gradient in enumerate(gradients):
        for channel in range(gated.channels):
            ends = []
            for step in (-1e-2, 1e-2):
                moved = [mask.numpy() for mask in masks]
                moved[place][channel] += step
                ends.append(float(gated.loss(*moved, units, LABELS)))
            slope = (ends[1] - ends[0]) / 2e-2
            assert float(gradient[channel]) == pytest.approx(slope, rel=0.05, abs=1e-3)


def test_a_layer_without_bias_has_no_shift():
    gated = GatedNetwork(as_functional(randomized(no_bias(untouched))), "conv_b")
    np.testing.assert_array_equal(gated.shift, np.zeros(4))
    units, ones = gated.units(PIXELS), np.ones(4, np.float32)
    assert gated.loss(ones, 0 * ones, units, LABELS) == gated.loss(ones, ones, units, LABELS)
