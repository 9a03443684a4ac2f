"""What triggers share: the checks of images and settings before, and the dtype after."""

import numpy as np

from sweep import BadInput


def checked(images: np.ndarray, colours: int | None = None) -> np.ndarray:
    """Return an array; BadInput where it is not (n, height, width, `colours`), None: any."""
    images = np.asarray(images)
    if images.ndim != 4 or (colours is not None and images.shape[3] != colours):
        raise BadInput(
            f"Images of shape {images.shape} came; an attack needs "
            f"(n, height, width, {colours or 'channels'}), channels last."
        )
    return images


def like(images: np.ndarray, changed: np.ndarray, white: float) -> np.ndarray:
    """Return `changed` clipped to 0..`white`, in the dtype of `images`, rounded if integer."""
    changed = np.clip(changed, 0, white)
    if np.issubdtype(images.dtype, np.integer):
        changed = np.rint(changed)
    return changed.astype(images.dtype)


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise BadInput where a trigger's setting is not above `low` and at most `high`."""
    if not low < value <= high:
        raise BadInput(f"attack.trigger.{name} is {value}; expected above {low} and up to {high}")
