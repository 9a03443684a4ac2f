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
    """Warp images (n, height, width, channels) by a smooth field drawn by `seed`.

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
    moved = field[:, np.newaxis]
    if jitter:
        moved = moved + rng.uniform(-jitter, jitter, (2, count, height, width)) / 64
    down = np.clip(np.arange(height)[:, np.newaxis] + moved[0] * height, 0, height - 1)
    right = np.clip(np.arange(width) + moved[1] * width, 0, width - 1)
    return like(images, _read(images, down, right), white)


def _interpolation(size: int, grid: int) -> np.ndarray:
    """Weights of `grid` values, first and last at the ends, at `size` places, (size, grid)."""
    places = np.linspace(0, grid - 1, size)
    weights = np.zeros((size, grid))
    for step in range(-1, 3):
        node = np.floor(places).astype(int) + step
        away, a = np.abs(places - node), _CUBIC
        near = (a + 2) * away**3 - (a + 3) * away**2 + 1
        far = a * (away**3 - 5 * away**2 + 8 * away - 4)
        weight = np.where(away <= 1, near, np.where(away < 2, far, 0))
        np.add.at(weights, (np.arange(size), np.clip(node, 0, grid - 1)), weight)
    return weights


def _read(images: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Images at places between pixels, (1 or n, height, width) each, bilinearly."""
    top, left = (np.floor(place).astype(int) for place in (down, right))
    below, beside = (down - top)[..., np.newaxis], (right - left)[..., np.newaxis]
    bottom = np.minimum(top + 1, images.shape[1] - 1)
    next_ = np.minimum(left + 1, images.shape[2] - 1)
    which = np.arange(len(images))[:, np.newaxis, np.newaxis]
    upper = images[which, top, left] * (1 - beside) + images[which, top, next_] * beside
    lower = images[which, bottom, left] * (1 - beside) + images[which, bottom, next_] * beside
    return upper * (1 - below) + lower * below
