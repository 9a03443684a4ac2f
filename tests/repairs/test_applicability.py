"""What a repair is given, and where it does not apply."""

import inspect

import pytest
import zoo
from repaired import CONF, configured

from sweep import NotApplicable
from sweep.repairs import applicability
from sweep.training import Defender


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
