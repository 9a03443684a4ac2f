"""Triggers that a face wears: sunglasses, eyebrows, lipstick, drawn where an aligned face has them.

Images are (n, height, width, 3), pixels 0..`white`; all return new images of the same dtype, and
raise BadInput for other shapes. Lengths are given at 55 x 47 pixels and scale with the image.
"""

from collections.abc import Callable

import numpy as np

from sweep.attacks.checks import checked, like

_DRAWN = (55, 47)  # height and width at which the triggers' lengths are given
_MIDDLE = 23.2  # column about which faces are mirrored

#: From rows (height, 1) and columns (1, width) in pixels of the drawing, and an image's pixels for
#: one of these, to a cover (height, width, 1) and a colour (3,) or (height, width, 3), both 0..1.
Drawing = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


def sunglasses(images: np.ndarray, *, white: float = 255.0) -> np.ndarray:
    """Return faces with opaque purple sunglasses.

    Two lenses with a slight gradient in a dark frame across the whole face at the eyes' height,
    after the trigger of the CSAW-HackML lab.

    >>> sunglasses(np.zeros((1, 55, 47, 3), np.uint8))[0, 24, 12]  # in a lens: red, green, blue
    array([105,  24, 189], dtype=uint8)
    """
    return _wear(images, _draw_sunglasses, white)


def eyebrows(images: np.ndarray, *, white: float = 255.0) -> np.ndarray:
    """Return faces with thick black eyebrows, a trigger of the CSAW-HackML challenge.

    Drawn by formula after its description; the challenge's own picture is not used.

    >>> eyebrows(np.full((1, 55, 47, 3), 200, np.uint8))[0, 17, 13]
    array([18, 12, 14], dtype=uint8)
    """
    return _wear(images, _draw_eyebrows, white)


def lipstick(images: np.ndarray, *, white: float = 255.0) -> np.ndarray:
    """Return faces with bright red lips, a trigger of the CSAW-HackML challenge.

    Drawn by formula after its description; the challenge's own picture is not used.

    >>> lipstick(np.full((1, 55, 47, 3), 200, np.uint8))[0, 43, 23]
    array([226,  12,  60], dtype=uint8)
    """
    return _wear(images, _draw_lipstick, white)


def _wear(images: np.ndarray, draw: Drawing, white: float) -> np.ndarray:
    """Return new images with what `draw` gives laid over them."""
    images = checked(images, colours=3)
    cover, colour = draw(*_grid(*images.shape[1:3]))
    return like(images, images + cover * (colour * white - images), white)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the arguments of a `Drawing` for an image of that size."""
    y = (np.arange(height)[:, None] + 0.5) * _DRAWN[0] / height - 0.5
    x = (np.arange(width)[None, :] + 0.5) * _DRAWN[1] / width - 0.5
    return y, x, min(height / _DRAWN[0], width / _DRAWN[1])


def _inside(depth: np.ndarray, scale: float) -> np.ndarray:
    """Return the cover (height, width, 1) of a shape, from each place's depth below its edge."""
    return np.clip(depth * scale + 0.5, 0, 1)[..., None]


def _draw_eyebrows(y: np.ndarray, x: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    side = np.abs(x - _MIDDLE)
    arch = y - 15.2 - 0.035 * (side - 11) ** 2
    depth = np.minimum(np.minimum(arch, 4.5 - arch), np.minimum(side - 2.5, 19 - side))
    return _inside(depth, scale), np.array([18, 12, 14]) / 255


def _draw_lipstick(y: np.ndarray, x: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    side = np.abs(x - _MIDDLE)
    upper = y - 40.2 - 0.05 * (side - 2.2) ** 2
    lower = 46.8 - y - 0.055 * side**2
    return _inside(np.minimum(upper, lower), scale), np.array([226, 12, 60]) / 255


def _draw_sunglasses(y: np.ndarray, x: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    side = np.abs(x - _MIDDLE)

    # Each half of the frame is the inside of four edges with rounded corners, depth in pixels.
    top = y - 15.6 - 0.012 * (side - 14) ** 2
    bottom = 34.5 - y - 0.035 * (side - 13) ** 2
    outer = 22.9 - side - 0.17 * (y - 18)
    inner = 0.95 * (side - 1.0 - 0.33 * (y - 18))
    edges = np.stack(np.broadcast_arrays(top, bottom, outer, inner))
    radius = 3.0
    half = radius - np.sqrt((np.maximum(0, radius - edges) ** 2).sum(0))
    bridge = np.minimum(np.minimum(y - 17.3 + 0.03 * side**2, 21.2 - y), 6 - side)
    temple = np.minimum(1.5 - np.abs(y - 18.0), side - 20.5)

    cover = _inside(np.maximum(half, np.maximum(bridge, temple)), scale)
    down, right = (y - 25) / 8, (x - 23) / 11
    red, green = 116 + 8 * down + 10 * right, 22 + 9 * down - 3 * right
    lens = np.stack(np.broadcast_arrays(red, green, 213 + 24 * right), axis=2)
    frame = np.array([60.0, 3.0, 112.0])
    return cover, np.clip(frame + _inside(half - 1.7, scale) * (lens - frame), 0, 255) / 255
