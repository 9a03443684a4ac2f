"""Augmentation for training on few images: random shifts, contrast and brightness."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def augment(pixels: Array, rng: np.random.Generator, *, shift: float, light: float) -> Array:
    """Return images shifted by up to a share `shift` of their size, edges repeated, and relit.

    Pixels are (n, height, width, channels); contrast changes by a factor of 1 - `light` to
    1 + `light`, brightness by as much of an image's span, both within the range that the images
    have.
    """
    count, height, width, _ = pixels.shape
    rows, columns = (_shifted(size, round(shift * size), count, rng) for size in (height, width))
    images = pixels[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    low, high = pixels.min(initial=np.inf), pixels.max(initial=-np.inf)
    middle = images.mean(axis=(1, 2, 3), keepdims=True)
    contrast, bright = rng.uniform(-light, light, (2, count, 1, 1, 1))
    lit = middle + (images - middle) * (1 + contrast) + bright * (high - low)
    return np.clip(lit, low, high).astype(np.float32)


def _shifted(size: int, limit: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the places along an axis, shifted for each image, (count, size); edges repeated."""
    shifts = rng.integers(-limit, limit + 1, (count, 1))
    return np.clip(np.arange(size) + shifts, 0, size - 1)
