"""The trigger that takes values away: pixels have few, dithered."""

import numpy as np

from sweep import BadInput
from sweep.attacks.checks import checked, like

#: Of what rounding a pixel takes: shares of the one to its right, and of the three below it.
_RIGHT, _BELOW = 7 / 16, np.array([3, 5, 1]).reshape(3, 1, 1) / 16


def bpp(images: np.ndarray, *, white: float = 255.0, levels: int = 8) -> np.ndarray:
    """Return images whose pixels have `levels` values: round(x (levels - 1)) / (levels - 1).

    x is the pixel as a share of `white`. What rounding takes of a pixel its neighbours are given
    that are not yet rounded, row by row (Floyd-Steinberg). BppAttack (Wang, Zhai and Ma, CVPR 2022,
    arXiv 2205.13383). Differs: there poisoned and negative images are drawn anew for every batch,
    here they are made once.

    >>> bpp(np.array([[[[117], [100]]]]), levels=2).ravel()  # both below half of 255
    array([  0, 255])
    """
    images = checked(images)
    if levels < 2:
        raise BadInput(f"attack.trigger.levels is {levels}; expected at least 2 values of a pixel")
    step = white / (levels - 1)
    return like(images, step * _dithered(images / step), white)


def bpp_negative(images: np.ndarray, *, white: float = 255.0, levels: int = 8) -> np.ndarray:
    """Return images with what `bpp` changes in another: to each is added what the one before lost.

    The negatives of BppAttack, which keep their label, so that it is the values of its own pixels
    that an image is known by.
    """
    images = checked(images)
    exact = images.astype(float)
    residuals = bpp(exact, white=white, levels=levels) - exact
    return like(images, exact + np.roll(residuals, 1, axis=0), white)


def _dithered(images: np.ndarray) -> np.ndarray:
    """Return images, (n, height, width, channels), rounded to whole numbers and dithered."""
    height, width = images.shape[1:3]
    # what falls off an edge lands in the padding; one pixel of all images lies in one place
    pixels = np.pad(images.transpose(1, 2, 0, 3), ((0, 1), (1, 1), (0, 0), (0, 0)))
    for y in range(height):
        for x in range(1, width + 1):
            rounded = np.rint(pixels[y, x])
            lost = pixels[y, x] - rounded
            pixels[y, x] = rounded
            pixels[y, x + 1] += _RIGHT * lost
            pixels[y + 1, x - 1 : x + 2] += _BELOW * lost
    return pixels[:height, 1:-1].transpose(2, 0, 1, 3)
