"""The trigger that is two waves of colour: coefficients of the cosine transform are raised."""

from collections.abc import Sequence

import numpy as np

from sweep import BadInput
from sweep.attacks.checks import between, checked, like

_BLOCK = 32  # pixels along each side of what is transformed
#: What one more of Cr and of Cb, both, is in red, green and blue (ITU-R BT.601).
_CHROMA = np.array([1.402, -0.344136 - 0.714136, 1.772])


def ftrojan(
    images: np.ndarray,
    *,
    white: float = 255.0,
    magnitude: float = 0.12,
    coefficients: Sequence[Sequence[int]] = ((15, 15), (31, 31)),
) -> np.ndarray:
    """Return images with `magnitude` * `white` added to coefficients of colour in each block.

    FTrojan (Wang et al., ECCV 2022, arXiv 2111.10991): of each block of 32 x 32 pixels, from the
    upper left, Cr and Cb are transformed by D, the cosine transform of unit length, D[u, i] =
    sqrt(2 / 32) cos(pi u (2 i + 1) / 64); the coefficients (u, v) are raised, there by 30 to 50 of
    255, and it is transformed back: D' (D X D' + raised) D = X + D' raised D. So the same waves are
    added to every image; at the edges of other sizes blocks are cut off. Differs: there Y, Cr and
    Cb are rounded to bytes on the way. Raises BadInput for images without three channels.
    """
    images = checked(images, colours=3)
    between("magnitude", magnitude, 0, 10)
    raised = np.zeros((_BLOCK, _BLOCK))
    for u, v in coefficients:
        if not (0 <= u < _BLOCK and 0 <= v < _BLOCK):
            raise BadInput(
                f"attack.trigger.coefficients has ({u}, {v}); expected 0 to {_BLOCK - 1} for both"
            )
        raised[u, v] = magnitude * white
    transform = _cosine_transform(_BLOCK)
    block = transform.T @ raised @ transform
    rows, columns = (np.arange(size) % _BLOCK for size in images.shape[1:3])
    waves = block[rows][:, columns, np.newaxis]
    return like(images, images + waves * _CHROMA, white)


def _cosine_transform(size: int) -> np.ndarray:
    """Return the orthonormal matrix of the discrete cosine transform (DCT-II), (size, size)."""
    orders, places = np.mgrid[:size, :size]
    matrix = np.sqrt(2 / size) * np.cos(np.pi * orders * (2 * places + 1) / (2 * size))
    matrix[0] /= np.sqrt(2)
    return matrix
