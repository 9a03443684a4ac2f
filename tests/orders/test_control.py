"""The order that looks at nothing."""

from collections.abc import Sequence

import numpy as np
from evidences import any_evidence, modest, of_maps
from hypothesis import given

from sweep.orders import random
from sweep.pruning import Evidence
from sweep.pruning.ranking import ranking


def seeded(seed: int | Sequence[int], channels: int = 60) -> Evidence:
    return of_maps(np.zeros((1, channels), np.float32), None, seed)


def test_random_is_equal_by_seed_and_different_by_seed():
    np.testing.assert_array_equal(random(seeded(7)), random(seeded(7)))
    assert not np.array_equal(random(seeded(7)), random(seeded(8)))
    assert not np.array_equal(random(seeded([7, 0])), random(seeded([7, 1])))


@modest
@given(any_evidence())
def test_random_is_a_permutation_that_does_not_look_at_the_network(evidence):
    assert sorted(random(evidence)) == list(range(evidence.channels))
    np.testing.assert_array_equal(
        random(evidence), random(seeded(evidence.seed, evidence.channels))
    )


def test_random_can_put_every_channel_first():
    firsts = {int(ranking(random(seeded(seed, channels=4)))[0]) for seed in range(50)}
    assert firsts == {0, 1, 2, 3}
