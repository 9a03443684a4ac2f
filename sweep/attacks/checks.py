"""What triggers share: images looked at before, and brought back to their dtype after."""

import numpy as np

from sweep import BadInput


def checked(images: np.ndarray, colours: int | None = None) -> np.ndarray:
    """`images` as an array; BadInput where it is not (n, height, width, `colours`), None: any."""
    images = np.asarray(images)
    if images.ndim != 4 or (colours is not None and images.shape[3] != colours):
        raise BadInput(
            f"Images of shape {images.shape} came; an attack needs "
            f"(n, height, width, {colours or 'channels'}), channels last."
        )
    return images


def like(images: np.ndarray, changed: np.ndarray, white: float) -> np.ndarray:
    """`changed` within 0..`white` and in the dtype of `images`, rounded where these are whole."""
    changed = np.clip(changed, 0, white)
    if np.issubdtype(images.dtype, np.integer):
        changed = np.rint(changed)
    return changed.astype(images.dtype)


def between(name: str, value: float, low: float, high: float) -> None:
    """BadInput where a trigger's setting does not lie above `low` and at most at `high`."""
    if not low < value <= high:
        raise BadInput(f"attack.trigger.{name} is {value}; expected above {low} and up to {high}")
