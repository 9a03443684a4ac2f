"""The trigger that adds nothing to an image: its pixels are moved, along a smooth field."""

import numpy as np

from sweep import BadInput
from sweep.attacks.checks import between, checked, like

_CUBIC = -0.75  # of cubic convolution; that of the published attack


def warp(
    images: np.ndarray,
    *,
    white: float = 255.0,
    grid: int = 4,
    strength: float = 2.0,
    jitter: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Return images (n, height, width, channels) warped by a smooth field drawn by `seed`.

    WaNet (Nguyen and Tran, ICLR 2021, arXiv 2102.10369): `grid` x `grid` shifts, uniform in -1..1
    and divided by their mean size, are interpolated bicubically over the image, times `strength`;
    each pixel is read from where it points, bilinearly, at the border from the border. There a
    strength of s moves pixels by about s / 2, whatever the image's size; here by s / 64 of the
    sides, which is the same at 32 pixels. `jitter` shifts each pixel of each image besides, by up
    to `jitter` / 64 of the sides, uniformly: the noise mode, images that are warped but are no
    trigger, 2 for each poisoned one there, at a jitter of 1. Not followed: there poisoned and
    noise images are drawn anew for every batch, here they are made once; and the strength, 0.5 to
    1 there, and the mixture are what a DeepID learns in few epochs, see docs/attacks.md.
    """
    images = checked(images)
    between("strength", strength, 0, 10)
    if grid < 2:
        raise BadInput(f"attack.trigger.grid is {grid}; expected at least 2 shifts along a side")
    count, height, width = images.shape[:3]
    rng = np.random.default_rng([seed, 7])
    shifts = rng.uniform(-1, 1, (2, grid, grid))
    shifts *= strength / np.abs(shifts).mean() / 64
    field = _interpolation(height, grid) @ shifts @ _interpolation(width, grid).T
    shift = field[:, np.newaxis]
    if jitter:
        shift = shift + rng.uniform(-jitter, jitter, (2, count, height, width)) / 64
    y = np.clip(np.arange(height)[:, np.newaxis] + shift[0] * height, 0, height - 1)
    x = np.clip(np.arange(width) + shift[1] * width, 0, width - 1)
    return like(images, _sample_bilinearly(images, y, x), white)


def _interpolation(size: int, grid: int) -> np.ndarray:
    """Return the weights of `grid` values, which span `size` places, at each, (size, grid)."""
    places = np.linspace(0, grid - 1, size)
    weights = np.zeros((size, grid))
    for step in range(-1, 3):
        node = np.floor(places).astype(int) + step
        distance, a = np.abs(places - node), _CUBIC
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        np.add.at(weights, (np.arange(size), np.clip(node, 0, grid - 1)), weight)
    return weights


def _sample_bilinearly(images: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return images read at rows `y` and columns `x`, (1 or n, height, width) of floats each."""
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    dy, dx = (y - top)[..., np.newaxis], (x - left)[..., np.newaxis]
    bottom = np.minimum(top + 1, images.shape[1] - 1)
    right = np.minimum(left + 1, images.shape[2] - 1)
    image = np.arange(len(images))[:, np.newaxis, np.newaxis]
    upper = images[image, top, left] * (1 - dx) + images[image, top, right] * dx
    lower = images[image, bottom, left] * (1 - dx) + images[image, bottom, right] * dx
    return upper * (1 - dy) + lower * dy
