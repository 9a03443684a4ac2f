"""Unlearning as conf/ builds it, on a small BadNet: the backdoor goes, and clean accuracy stays."""

import numpy as np
import pytest
from repaired import BRIEF, configured, defender, rates

from sweep import BadInput
from sweep.networks import digest
from sweep.pruning import Cut
from sweep.repairs import unlearning
from sweep.training.transforms import Augmentation, MatchedMixtures

UNLEARN = (*BRIEF, "share=0.4", "strength=0.15", "flow=0.04", "classes=2", "patience=10")
UNLEARN += ("enough=1",)


@pytest.mark.parametrize(
    "by", ["corruptions", "universal", "mask", "pursued", "[adversarial,mask]"]
)
def test_unlearn_lowers_attack_success_much_and_keeps_clean_accuracy(badnet, by):
    before = digest(badnet)
    clean, attack = rates(configured("unlearn", *UNLEARN, f"by={by}")(defender(badnet)))
    assert clean > 0.93
    assert attack < 0.25
    assert digest(badnet) == before


def test_triggers_are_reversed_on_the_suspect_network_whatever_was_pruned_since(
    badnet, monkeypatch
):
    asked, invert = [], unlearning.inversion.invert

    def noted(defender, *, kind, progress):
        asked.append((defender.network, kind))
        return invert(defender, kind=kind, progress=progress, steps=4, refine=1, longer=2)

    monkeypatch.setattr(unlearning.inversion, "invert", noted)
    pruned = Cut(badnet, "conv").pruned([0])
    how = ("epochs=1", "by=[mask,additive]", "rates=[1e-3]")
    network = configured("unlearn", *how)(defender(badnet).with_network(pruned))
    assert asked == [(badnet, "mask"), (badnet, "additive")]
    assert network.get_layer("norm").gamma.numpy()[0] == 0


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_last_batch_of_one_image_is_learned_too(badnet, share):
    how = ("epochs=1", "rates=[1e-3]", "batch_size=8", "held_out=0.25")
    how += ("by=[adversarial,universal]", f"share={share}")
    network = configured("unlearn", *how)(defender(badnet, count=12))  # nine: eight, and one
    assert all(np.isfinite(value).all() for value in network.get_weights())


@pytest.mark.parametrize("by", ["magic", "[]", "[mask,magic]"])
def test_a_way_to_unlearn_that_is_not_there_is_refused(badnet, by):
    with pytest.raises(
        BadInput, match="expected some of corruptions, universal, adversarial, mask"
    ):
        configured("unlearn", f"by={by}")(defender(badnet))


def test_batches_too_small_to_be_changed_in_every_way_are_refused(badnet):
    with pytest.raises(BadInput, match=r"changes 0.1 of 16 images a batch; expected at least 2"):
        configured("unlearn", "by=[universal,pursued]", "share=0.1", "batch_size=16")(
            defender(badnet)
        )


@pytest.mark.parametrize(("count", "epochs"), [(12, 9), (40, 7), (200, 2)])
def test_few_images_are_learned_gently_and_many_less_often(badnet, monkeypatch, count, epochs):
    asked = []

    def noted(name, defender, settings, images, build, made_of):
        rest = build(defender.network).rest
        asked.append((settings.epochs, settings.rates, made_of["share"], type(rest)))

    monkeypatch.setattr(unlearning, "train_further", noted)
    how = ("batches=20", "epochs=9", "batch_size=12", "held_out=0.25", "enough=160")
    how += ("by=adversarial", "share=0.6", "rates=[0.03]")
    configured("unlearn", *how)(defender(badnet, count=count))
    less = {12: (12 / 160) ** 0.5, 40: 0.5, 200: 1}[count]
    ((asked_epochs, (rate,), share, rest),) = asked
    assert asked_epochs == epochs
    assert share == pytest.approx(0.6 * less)
    assert rate == pytest.approx(0.03 * less**0.5)
    assert rest is (MatchedMixtures if count < 160 else Augmentation)
