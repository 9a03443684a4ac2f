"""Shrinking as conf/ builds it: the pruned channels go, before training or after it."""

import numpy as np
from repaired import configured, defender, rates

from sweep.networks import digest
from sweep.pruning import Cut
from sweep.repairs import shrink


def test_the_config_makes_the_repair(badnet):
    one = defender(Cut(badnet, "conv").pruned([0, 1]))
    repaired = configured("shrink")(one)
    assert repaired.get_layer("conv").kernel.shape[-1] == 10
    assert digest(repaired) == digest(shrink(one))


def test_a_shrunk_network_is_trained_and_a_trained_one_shrunk(badnet):
    pruned, one = Cut(badnet, "conv").pruned([0, 1, 2]), defender(badnet)
    finetune = configured("finetune", "epochs=1", "rates=[1e-3]")
    last = shrink(one.with_network(finetune(one.with_network(pruned))))
    first = finetune(one.with_network(shrink(one.with_network(pruned))))
    for network in (first, last):
        assert network.get_layer("conv").kernel.shape[-1] == 9
        assert rates(network)[0] > 0.8
    np.testing.assert_allclose(first(one.pixels), last(one.pixels), atol=0.05)
