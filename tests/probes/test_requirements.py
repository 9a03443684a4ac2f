"""What a probe needs is looked at before anything starts, and refused in a sentence."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from repaired import SHAPE, TARGET, noisy_patterns, probing, stamped

from sweep import BadInput
from sweep.attacks import Attack
from sweep.data import Faces
from sweep.probes.requirements import Supply, require

ATTACK = Attack(lambda images, white: images, target=TARGET, rate=0.1)
RELEARN, DOSE = probing("relearn"), probing("dose")


def faces(identities: int, each: int) -> Faces:
    return Faces(identities, each, seed=0, folder="nowhere")


def few(**settings: int):
    return partial(RELEARN, **{"poisoned": [5], "clean": 50} | settings)


def test_files_of_somebody_elses_attack_pass_where_they_have_enough(files):
    supply = Supply(files, ATTACK, trains=False)
    require(few(clean=120, poisoned=[5, 90]), supply)
    require(DOSE, supply)


@pytest.mark.parametrize("trains", [True, False])
def test_of_images_that_are_poisoned_here_the_number_is_known(trains, files):
    made_here = Supply(replace(files, poisoned_valid=None, poisoned_test=None), ATTACK, trains=True)
    require(few(poisoned=[90]), made_here)
    require(DOSE, made_here)
    rendered = Supply(faces(12, 40), ATTACK, trains=trains)
    require(few(clean=120, poisoned=[110]), rendered)
    require(DOSE, rendered)
    with pytest.raises(BadInput, match=r"poisoned is \[111\]; expected 1 to 110, as many poisoned"):
        require(few(poisoned=[111]), rendered)


@pytest.mark.parametrize(
    ("probe", "without", "says"),
    [
        (few(clean=121), (), r"probe.relearn.clean is 121; expected 1 to 120, as many clean val"),
        (few(poisoned=[5, 91]), (), r"poisoned is \[5, 91\]; expected 1 to 90, as many poisoned"),
        (few(), ("poisoned_valid",), "there are none: bd/bd_valid.h5 under data.root or data.pois"),
        (few(), ("poisoned_test",), "there are no poisoned test images: bd/bd_test.h5 under data"),
        (DOSE, ("poisoned_test",), "there are no poisoned test images"),
        (lambda attacker: {}, ("poisoned_test",), "there are no poisoned test images"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(probe, without, says, files):
    source = replace(files, **dict.fromkeys(without))
    with pytest.raises(BadInput, match=says):
        require(probe, Supply(source, ATTACK, trains=False))


def test_pairs_that_nobody_knows_are_refused_to_a_dose_alone(files, tmp_path, write):
    pixels = stamped(noisy_patterns(9, 30).pixels)
    path = write(tmp_path / "other.h5", data=pixels[:, ::-1], label=np.full(30, TARGET))
    supply = Supply(replace(files, poisoned_test=path), ATTACK, trains=False)
    with pytest.raises(BadInput, match=r"which clean test image each poisoned one was made from"):
        require(DOSE, supply)
    require(few(), supply)
    assert pixels.shape[1:] == SHAPE
