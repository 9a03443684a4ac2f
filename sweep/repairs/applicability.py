"""What a repair is, whether one can be applied to a network, and which images it learns."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial

import keras

from sweep import BadInput, NotApplicable, files
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


def learned_images(repairs: Iterable[Repair], images: int) -> int:
    """How many of so many clean images some repair learns, the first ones of `Defender.sample()`.

    Of the program's own those that train learn all but the share `held_out` of the `images` they
    take, and the others none (the moments that `recalibrate` takes don't count). One that is not is
    taken for one that trains.
    """
    return max((_learned_by(repair, images) for repair in repairs), default=0)


def _learned_by(repair: Repair, images: int) -> int:
    function, given = repair, getattr(repair, "keywords", {})
    while isinstance(function, partial):
        function = function.func
    ours = function.__module__.partition(".")[0] == files.OURS
    if ours and not {"course", "held_out"} & inspect.signature(function).parameters.keys():
        return 0
    taken = min(given.get("images") or images, images)
    return taken - round(given.get("held_out", FineTuning.held_out) * taken)
