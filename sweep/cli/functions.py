"""Functions that a config names, perhaps somebody's own: what is wrong with one, in a sentence."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hydra.errors import InstantiationException

from sweep import BadInput

#: Modules of earlier versions, and where what they held is found now.
MOVED = {
    "sweep.attacks.stamped": "sweep.attacks",
    "sweep.attacks.warped": "sweep.attacks",
    "sweep.attacks.worn": "sweep.attacks",
    "sweep.callback": "sweep.cli",
    "sweep.datasets": "sweep.data",
    "sweep.evasion": "sweep.adaptive",
    "sweep.learned": "sweep.orders",
    "sweep.shrinking": "sweep.repairs",
    "sweep.suspects": "sweep.badnets",
}
WHERE = "a module beside the command, on PYTHONPATH, or installed"


def wrong(error: InstantiationException) -> str:
    """Why Hydra could not build what a `_target_` names; "" where that is not known."""
    told = str(error)
    key = re.search(r"full_key: (\S+)", told)
    where = f"{key[1] if key else ''}._target_".lstrip(".")
    missing = re.search(r"Error locating target '(.*?)'", told)
    if missing:
        return f"{where} is {missing[1]}: {_why(missing[1])}"
    other = re.search(r"Expected a callable target, got '(.*?)' of type '(.*?)'", told)
    if other:
        return f"{where} is {other[1]}, of type {other[2]}; expected the dotted name of a function"
    early = re.search(r"Error in call to target '(.*?)'", told)
    if early and "required positional argument" in told:
        return (
            f"{where} is {early[1]}, which was called at once, without what it is to be given; "
            f"set _partial_: true beside _target_"
        )
    return ""


def require_one_argument(
    triggers: Sequence[Callable[..., Any]],
    order: Callable[..., Any],
    stop: Callable[..., Any],
    repairs: Mapping[str, Callable[..., Any]],
) -> None:
    """Raise BadInput where one of the functions does not take what it will be given."""
    for trigger in triggers:
        _require(trigger, "images", white=1.0)
    _require(order, "an Evidence")
    _require(stop, "a ValidCurve")
    for repair in repairs.values():
        _require(repair, "a Defender")


def _require(function: Callable[..., Any], given: str, **more: Any) -> None:
    if not callable(function):
        raise BadInput(f"{function!r} came where {given} is to be given to a function; name one")
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some that are not written in Python
        return
    try:
        signature.bind(given, **more)
    except TypeError as error:
        inner = function.func if isinstance(function, partial) else function
        also = f" and {', '.join(more)}" if more else ""
        raise BadInput(
            f"{inner.__module__}.{inner.__qualname__} {error}; it is given {given}{also}, and its "
            f"settings by their names"
        ) from None


def _why(target: str) -> str:
    """Why there is nothing of that dotted name."""
    module, _, name = target.rpartition(".")
    if module in MOVED:
        return f"that is {MOVED[module]}.{name} now; write this in its place"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            return f"there is no module {error.name}; expected a function in {WHERE}"
        return f"{module} imports {error.name}, and there is no such module; install it"
    except Exception as error:
        return f"{module} cannot be imported ({type(error).__name__}: {error}); mend it"
    return f"{module} has no {name}; expected the name of a function there"
