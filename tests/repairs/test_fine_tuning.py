"""Fine-tuning as conf/ builds it, on a small BadNet: what pruning cost comes back."""

import numpy as np
import pytest
from repaired import BRIEF, configured, defender, rates

from sweep import BadInput
from sweep.networks import digest
from sweep.pruning import Cut


def test_finetune_brings_back_the_accuracy_that_pruning_cost(badnet):
    cut = Cut(badnet, "conv")
    pruned = cut.pruned(np.arange(10))
    before = digest(pruned)
    network = configured("finetune", *BRIEF)(defender(badnet).with_network(pruned))
    assert rates(pruned)[0] < 0.85
    assert rates(network)[0] > rates(pruned)[0] + 0.1
    assert digest(pruned) == before
    gamma, beta, *_ = network.get_layer("norm").get_weights()
    assert not gamma[:10].any()
    assert not beta[:10].any()
    assert gamma[10:].all()


def test_training_alone_would_not_have_unlearned_it(badnet):
    clean, attack = rates(configured("finetune", *BRIEF)(defender(badnet)))
    assert clean > 0.93
    assert attack > 0.3


@pytest.mark.parametrize("name", ["finetune", "unlearn"])
def test_too_few_images_are_refused_in_a_sentence(badnet, name):
    with pytest.raises(BadInput, match=r"to hold out \d+% of 2 clean validation images"):
        configured(name, "images=2")(defender(badnet))


def test_the_seed_decides_a_repair_and_the_number_of_images_counts(badnet):
    def weights(seed: int, images: int) -> bytes:
        how = ("epochs=1", "rates=[1e-2]", f"images={images}")
        network = configured("finetune", *how)(defender(badnet, seed))
        return b"".join(value.tobytes() for value in network.get_weights())

    assert weights(0, 40) == weights(0, 40)
    assert len({weights(0, 40), weights(1, 40), weights(0, 80)}) == 3
