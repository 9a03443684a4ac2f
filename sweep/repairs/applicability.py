"""What a repair is, and whether one can be applied to a network."""

import inspect
from collections.abc import Callable
from dataclasses import fields

import keras

from sweep import BadInput, NotApplicable
from sweep.pruning.requirements import needs_of
from sweep.repairs.recalibration import norms_of
from sweep.training import Defender
from sweep.training.fine_tuning import FineTuning

Repair = Callable[[Defender], keras.Model]


def require(repair: Repair, network: keras.Model) -> None:
    """Raise NotApplicable where `repair` has nothing to do on `network`.

    Raises BadInput where it is set what neither it nor its course takes.
    """
    parameters = inspect.signature(repair).parameters.keys()
    given = getattr(repair, "keywords", {}).keys()
    unknown = given - parameters - {field.name for field in fields(FineTuning)}
    if "course" in parameters and unknown:
        raise BadInput(f"this repair got an unexpected keyword argument {min(unknown)!r}")
    if "norm" in needs_of(repair) and not norms_of(network):
        raise NotApplicable(
            "this repair needs BatchNormalization, and the network has none; leave it out"
        )
