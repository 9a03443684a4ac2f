"""Fine-tuning as conf/ builds it, on a small BadNet: what pruning cost comes back."""

from dataclasses import replace

import numpy as np
import pytest
from repaired import BRIEF, configured, defender, noisy_patterns, rates

from sweep import BadInput
from sweep.cache import Cache
from sweep.networks import digest
from sweep.pruning import Cut
from sweep.repairs import fine_tuning


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


def test_a_repair_trains_once_for_cells_that_repair_alike(badnet, monkeypatch):
    trained = []

    def fine_tune(network, *arguments, **named):
        trained.append(1)
        return training(network, *arguments, **named)

    training = fine_tuning.fine_tune
    monkeypatch.setattr(fine_tuning, "fine_tune", fine_tune)
    cache = Cache(memory_gb=0.1)
    images = replace(noisy_patterns(0), key="patterns")  # what has no name is never kept
    asked = replace(defender(badnet), images=images, cache=cache)
    how = ("epochs=1", "rates=[1e-2]", "images=40")
    first, again = (configured("finetune", *how)(asked) for _ in range(2))
    assert len(trained) == 1
    assert digest(first) == digest(again) != digest(badnet)
    assert first is not again
    others = [("finetune", *how[:2], "images=80"), ("finetune", *how, "shift=0.1")]
    others += [("unlearn", *how, "by=universal", "count=2")]
    for other in others:
        configured(*other)(asked)
    assert len(trained) == 1 + len(others)
    configured("finetune", *how)(replace(asked, seed=1))
    configured("finetune", *how)(asked.with_network(Cut(badnet, "conv").pruned(np.arange(3))))
    assert len(trained) == 3 + len(others)
