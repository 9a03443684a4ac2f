"""What a repair is given, and where it does not apply."""

import inspect
from functools import partial

import numpy as np
import pytest
import zoo
from repaired import CONF, configured

import sweep.repairs as repairs_
from sweep import NotApplicable
from sweep.data import Images
from sweep.repairs import applicability
from sweep.repairs.applicability import learned_images
from sweep.training import Defender
from sweep.training.fine_tuning import FineTuning


@pytest.mark.parametrize("path", sorted((CONF / "repair").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_repair_is_given_a_defender_and_nothing_else(path):
    repair = configured(path.stem)
    parameters = inspect.signature(repair).parameters.values()
    asked = [one for one in parameters if one.default is one.empty and "VAR" not in one.kind.name]
    assert [(one.name, one.annotation) for one in asked] == [("defender", Defender)]


def test_recalibration_does_not_apply_to_a_network_without_norms():
    bare, normed = zoo.lenet(zoo.untouched), zoo.normalised(zoo.untouched)
    repair = configured("recalibrate")
    with pytest.raises(NotApplicable, match="needs BatchNormalization, and the network has none"):
        applicability.require(repair, bare)
    applicability.require(repair, normed)
    for name in ("finetune", "unlearn", "shrink"):
        applicability.require(configured(name), bare)


def stranger(defender):
    return defender.network


@pytest.mark.parametrize(
    ("repairs", "learned"),
    [
        ([], 0),
        ([partial(repairs_.shrink), partial(repairs_.recalibrate)], 0),
        ([partial(repairs_.finetune, held_out=0.2, images=None)], 80),
        ([partial(repairs_.finetune, held_out=0.2, images=40)], 32),
        ([partial(repairs_.finetune, held_out=0.2), partial(repairs_.unlearn, held_out=0.1)], 90),
        ([partial(repairs_.unlearn, held_out=0.1, images=500)], 90),
        ([partial(repairs_.finetune)], 80),  # by the default of FineTuning
        ([stranger], 80),
        ([partial(stranger)], 80),
    ],
)
def test_how_many_images_repairs_learn(repairs, learned):
    assert learned_images(repairs, 100) == learned


def test_what_a_repair_learns_are_the_first_images_of_the_defenders_sample():
    """Those that are left are just those that it never sees in training."""
    pixels = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1)
    defender = Defender(None, Images(pixels, np.arange(20) % 2), seed=4)
    (learned, _), _ = FineTuning(held_out=0.25).split(defender.sample())
    rows = defender.unlearned(learned_images([partial(repairs_.finetune, held_out=0.25)], 20))
    assert sorted([*learned.ravel().astype(int), *rows]) == list(range(20))
    assert (len(rows), list(rows)) == (5, sorted(rows))
