"""What the settings of detectors, and the images that they are given, have to be."""

import numpy as np

from sweep import BadInput
from sweep.detectors.reference import Reference


def require_counts(**settings: object) -> None:
    """Raise BadInput, which names the setting, where one is no whole number above 0."""
    for name, value in settings.items():
        if not is_count(value):
            raise BadInput(f"detector.{name} is {value!r}; expected a whole number above 0")


def require_labelled(reference: Reference) -> None:
    """Raise BadInput where there is no reference image."""
    if not len(reference.labels):
        raise BadInput("there is no reference image; expected clean images with labels")


def is_number(value: object, low: float, high: float = np.inf) -> bool:
    """Return whether a setting is a number above `low` and below `high`."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and low < float(value) < high  # type: ignore[arg-type]


def is_count(value: object, most: float = np.inf) -> bool:
    """Return whether a setting is a whole number from 1 to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
