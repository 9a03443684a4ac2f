"""What holds for any order, and what each must not see."""

from dataclasses import replace

import numpy as np
import pytest
from evidences import any_evidence, gradients, modest, of_pairs, rebatched, renumbered
from hypothesis import assume, given
from hypothesis import strategies as st

from sweep import orders
from sweep.orders import (
    apoz,
    bnp,
    clp,
    ep,
    fpgm,
    l1_norm,
    l2_norm,
    max_activation,
    mean_activation,
    random,
    tac,
    taylor,
)
from sweep.pruning.evidence import Norm

LEARNED = {orders.anp, orders.rnp, orders.weight_change, orders.reversed_trigger}
ORDERS = [order for order in orders.CATALOGUE if order not in LEARNED]


def test_the_orders_here_are_found():
    assert {mean_activation, max_activation, apoz, l1_norm, l2_norm, fpgm} < set(ORDERS)
    assert {taylor, random, clp, bnp, ep, tac} < set(ORDERS)


@modest
@given(any_evidence())
@pytest.mark.parametrize("order", ORDERS)
def test_any_order_gives_one_score_a_channel_never_nan_and_leaves_the_evidence_alone(
    order, evidence
):
    scores = order(evidence)
    assert scores.shape == (evidence.channels,)
    assert scores.dtype == np.float64
    assert not np.isnan(scores).any()
    np.testing.assert_array_equal(order(evidence), scores)


@modest
@given(any_evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [order for order in ORDERS if order is not random])
def test_renumbering_the_channels_renumbers_the_scores(order, evidence, rng):
    places = rng.sample(range(evidence.channels), evidence.channels)
    moved = order(renumbered(evidence, places))
    np.testing.assert_allclose(moved, order(evidence)[places], rtol=1e-12, atol=1e-12)


@modest
@given(any_evidence(), st.integers(1, 3))
@pytest.mark.parametrize("order", ORDERS)
def test_scores_do_not_depend_on_how_the_maps_are_dealt_in_batches(order, evidence, size):
    read = []
    batches = rebatched(
        evidence,
        lambda maps: [maps[start : start + size] for start in range(0, len(maps), size)],
        progress=read.append,
    )
    np.testing.assert_allclose(order(batches), order(evidence), rtol=1e-12, atol=1e-12)
    assert sum(read) in (0, len(evidence.maps[0]))


@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz, bnp, ep, tac])
def test_an_order_that_reads_maps_tells_of_every_image(order):
    rng = np.random.default_rng(0)
    images = np.maximum(rng.normal(size=(5, 2, 2, 3)), 0).astype(np.float32)
    read = []
    ones = np.ones(3, np.float32)
    norm = Norm(ones, ones, ones, ones, [images])
    order(replace(of_pairs(images, images), norm=norm, progress=read.append))
    assert read == [5]


@modest
@given(any_evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [mean_activation, max_activation, apoz, bnp, ep, tac])
def test_scores_do_not_depend_on_the_order_of_the_images(order, evidence, rng):
    images = len(evidence.maps[0])
    places = rng.sample(range(images), images)
    moved = order(rebatched(evidence, lambda maps: [maps[places]]))
    assume(order is not ep or round(images / 9) in (0, images))  # a draw is by number
    np.testing.assert_allclose(moved, order(evidence), rtol=1e-12, atol=1e-9)


@modest
@given(any_evidence(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("order", [l1_norm, l2_norm, fpgm, clp, taylor])
def test_scores_do_not_depend_on_how_the_kernel_lies(order, evidence, rng):
    """Neither on which input is which, nor on rows and columns of the kernel."""
    inputs = rng.sample([0, 1], 2)

    def turned(kernel: np.ndarray) -> np.ndarray:
        axes = list(range(kernel.ndim - 2))
        return kernel.transpose(*axes[::-1], -2, -1)[..., inputs, :]

    moved = replace(
        evidence,
        weights=turned(evidence.weights),
        gradients=gradients(*(turned(batch) for batch in evidence.gradients(1))),
    )
    np.testing.assert_allclose(order(moved), order(evidence), rtol=1e-9, atol=1e-9)
