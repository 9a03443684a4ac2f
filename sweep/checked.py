"""What can be said of a function before it is called: a check that it carries."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

Checked = TypeVar("Checked", bound=Callable[..., Any])


def checked_by(check: Callable[..., None]) -> Callable[[Checked], Checked]:
    """Return what marks a function with the `check` that is made before it is called.

    `check` takes what it is to look at, and by their names the settings of the function; it raises
    BadInput where that will not do.
    """

    def marked(function: Checked) -> Checked:
        vars(function)["check"] = check
        return function

    return marked


def check(function: Callable[..., Any], given: object) -> None:
    """Make the check of a function, perhaps a partial with its settings, on what is `given`."""
    settings: dict[str, Any] = {}
    while isinstance(function, partial):
        settings = {**function.keywords, **settings}
        function = function.func
    made = getattr(function, "check", None)
    if made is not None:
        made(given, **settings)
