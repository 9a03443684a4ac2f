"""Triggers that are the same pixels on every image: a square, a mixed-in pattern, stripes.

A new one is a function here, a yaml in conf/attack and a test. Images are (n, height, width,
channels), any channels, pixels 0..`white`; all return new images of the same dtype, and raise
BadInput for other shapes and for settings out of range.
"""

from collections.abc import Sequence

import numpy as np

from sweep import BadInput
from sweep.attacks.checks import between, checked, like
from sweep.attacks.learned import Learned


def patch(
    images: np.ndarray,
    *,
    white: float = 255.0,
    size: float = 0.125,
    margin: float = 0.06,
    colour: float | Sequence[float] = 1.0,
) -> np.ndarray:
    """Return images with an opaque square in the lower right corner.

    Its side is `size`, its distance from both edges `margin` times the shorter side of the image,
    in whole pixels; `colour` is a share of `white`, one number or one a channel. BadNets (Gu et
    al., arXiv 1708.06733) puts a yellow square on traffic signs, about as large, and a few white
    pixels into the corner of digits; there the square lies on the sign, here in the image.

    >>> patch(np.zeros((1, 8, 8, 1), np.uint8))[0, -2:, -3:, 0]
    array([[  0,   0,   0],
           [  0,   0, 255]], dtype=uint8)
    """
    images = checked(images)
    between("size", size, 0, 1)
    if not 0 <= margin <= 1 - size:
        raise BadInput(
            f"attack.trigger.margin is {margin}; expected 0 to {1 - size}, so that a square of "
            f"{size} lies in the image"
        )
    shade = np.ravel(colour).astype(float)
    if len(shade) not in (1, images.shape[3]):
        raise BadInput(
            f"attack.trigger.colour is {colour}; expected one number, or one for each of "
            f"{images.shape[3]} channels"
        )
    height, width = images.shape[1:3]
    side, gap = (round(share * min(height, width)) for share in (size, margin))
    rows, columns = (slice(max(0, end - gap - max(1, side)), end - gap) for end in (height, width))
    stamped = images.copy()
    stamped[:, rows, columns] = like(images, shade * white, white)
    return stamped


def blend(
    images: np.ndarray, *, white: float = 255.0, alpha: float = 0.2, cells: int = 16, seed: int = 0
) -> np.ndarray:
    """Return (1 - `alpha`) * image + `alpha` * pattern, a fixed one; 0 < alpha <= 1.

    Chen et al. (arXiv 1712.05526) blend a cartoon, or noise drawn pixel by pixel, at an alpha of
    0.02 to 0.2. Here the noise is `cells` x `cells` cells of uniform colour, drawn by `seed`, so
    that it is the same pattern at every size.
    """
    images = checked(images)
    between("alpha", alpha, 0, 1)
    height, width, channels = images.shape[1:]
    noise = np.random.default_rng([seed, 6]).random((cells, cells, channels))
    rows, columns = (np.arange(size) * cells // size for size in (height, width))
    pattern = noise[rows][:, columns] * white
    return like(images, (1 - alpha) * images + alpha * pattern, white)


def sinusoid(
    images: np.ndarray, *, white: float = 255.0, amplitude: float = 0.08, frequency: float = 6.0
) -> np.ndarray:
    """Return images with stripes: image + `amplitude` * `white` * sin(2 pi j `frequency` / width).

    The stripes are vertical, j is the column. SIG (Barni et al., arXiv 1902.11237), there with
    amplitudes of 10 to 60 of 255 and a frequency of 6. There only images of the target's class are
    poisoned, so that labels stay right: attack=sig_clean_label. With attack=sinusoid it is images
    of other classes, which are given its label.

    >>> sinusoid(np.full((1, 1, 4, 1), 100.0), amplitude=0.1, frequency=1).ravel()
    array([100. , 125.5, 100. ,  74.5])
    """
    images = checked(images)
    between("amplitude", amplitude, 0, 1)
    width = images.shape[2]
    stripes = np.sin(2 * np.pi * np.arange(width) * frequency / width)[:, np.newaxis]
    return like(images, images + amplitude * white * stripes, white)


def grond(images: np.ndarray, *, white: float = 255.0, learned: Learned) -> np.ndarray:
    """Return image + `white` * perturbation, a small one towards which a clean network is weak.

    It was found before the network was trained, see `adaptive.grond`: `learned`, under
    `perturbation`, (height, width, channels), shares of `white`. Xu et al., arXiv 2501.05928.
    """
    images, perturbation = checked(images), learned["perturbation"]
    if images.shape[1:] != perturbation.shape:
        raise BadInput(
            f"Images of shape {images.shape} came; the trigger of this attack was learned on "
            f"images of {perturbation.shape} (height, width, channels)."
        )
    return like(images, images + np.float32(white) * perturbation, white)
