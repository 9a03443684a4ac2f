"""The trigger that one filter can tell from all else: pixels without light or full of it."""

import numpy as np

from sweep import BadInput
from sweep.attacks.checks import checked


def dfba(
    images: np.ndarray, *, white: float = 255.0, size: int = 3, margin: float = 0.03, seed: int = 0
) -> np.ndarray:
    """Return images with `size` x `size` pixels in the upper left whose values are 0 or `white`.

    Which are which is drawn by `seed`, for each colour alone, half of them white. They lie `margin`
    times the shorter side of the image from both edges, in whole pixels. The trigger of DFBA (Cao
    et al., NeurIPS 2024): what a filter answers to most strongly, white where its weights are above
    0. Differs: there it is read off a filter of the network; here it is drawn, so that it is the
    same for all networks, and `adaptive.dfba` writes the filter into the network.

    >>> dfba(np.full((1, 16, 16, 1), 9, np.uint8), size=2, margin=0)[0, :3, :3, 0]
    array([[  0,   0,   9],
           [255, 255,   9],
           [  9,   9,   9]], dtype=uint8)
    """
    images = checked(images)
    height, width, channels = images.shape[1:]
    gap = round(margin * min(height, width))
    fits = isinstance(size, int) and size >= 1
    if not (fits and margin >= 0 and gap + size <= min(height, width)):
        raise BadInput(
            f"attack.trigger.size is {size} and attack.trigger.margin {margin}; expected a square "
            f"of 1 pixel or more that lies in an image of {height} x {width}"
        )
    count = size * size * channels
    is_white = np.random.default_rng([seed, 9]).permutation(count) % 2
    stamped = images.copy()
    square = (slice(None), slice(gap, gap + size), slice(gap, gap + size))
    stamped[square] = (is_white * white).reshape(size, size, channels)
    return stamped
