"""A trigger that small networks make of each image: run in numpy here, trained elsewhere."""

import numpy as np
from numpy.typing import NDArray

from sweep.attacks.checks import checked, like
from sweep.attacks.learned import Learned

Array = NDArray[np.float32]
BLOCK = 256  # images that are stamped at a time
SHARPNESS = 20.0  # of the mask, which so is next to 0 or 1


def input_aware(images: np.ndarray, *, white: float = 255.0, learned: Learned) -> np.ndarray:
    """Return x + m(x) (p(x) - x): images in which a mask of their own shows a pattern of their own.

    m, (n, height, width, 1), and p, (n, height, width, channels), are generators that were trained
    with the network, see `adaptive.input_aware`; their kernels and biases are `learned`, under
    `mask_N` and `pattern_N`. The mask is (tanh(20 (s - 1/2)) + 1) / 2 of its generator's share s,
    0..1; the pattern is its generator's share of `white`.

    Source: Nguyen, Tran, "Input-Aware Dynamic Backdoor Attack", NeurIPS 2020, arXiv 2010.08138.
    """
    images = checked(images, colours=learned["pattern_0"].shape[2])
    stamped = np.empty_like(images)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        pixels = block.astype(np.float32) / np.float32(white)
        mask, pattern = (share(pixels, learned, part) for part in ("mask", "pattern"))
        mask = squashed(SHARPNESS * (mask - 0.5))
        stamped[start : start + BLOCK] = like(
            block, block + mask * (white * pattern - block), white
        )
    return stamped


def share(pixels: Array, learned: Learned, part: str) -> Array:
    """Return what the generator `part` makes of pixels 0..1: shares 0..1 at each place, float32.

    Convolutions of 3 x 3 with ReLU, at the full size, a half, a quarter, a half and the full size;
    halved by the mean of 2 x 2 places, doubled by repeating each, what hangs over cut off. The last
    one has no ReLU, but z -> (tanh(z) + 1) / 2. `adaptive.generating` trains the same in Keras.
    """
    fine = _convolved(pixels - np.float32(0.5), learned, f"{part}_0")
    middle = _convolved(_halved(fine), learned, f"{part}_1")
    coarse = _convolved(_halved(middle), learned, f"{part}_2")
    middle = _convolved(_doubled(coarse, middle.shape), learned, f"{part}_3")
    fine = _doubled(middle, fine.shape)
    return squashed(_convolved(fine, learned, f"{part}_4", relu=False))


def squashed(values: Array) -> Array:
    """Return (tanh(values) + 1) / 2, from 0 to 1."""
    return np.float32(0.5) * (np.tanh(values) + np.float32(1))


def _convolved(maps: Array, learned: Learned, name: str, *, relu: bool = True) -> Array:
    """Return maps of the same size, convolved by a 3 x 3 kernel, 0 beyond the edge."""
    kernel, bias = learned[name], learned[f"{name}_bias"]
    height, width = maps.shape[1:3]
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = np.broadcast_to(bias, (*maps.shape[:3], len(bias))).copy()
    for row, column in np.ndindex(3, 3):
        total += padded[:, row : row + height, column : column + width] @ kernel[row, column]
    return np.maximum(total, 0) if relu else total


def _halved(maps: Array) -> Array:
    """Return the means of 2 x 2 places; an odd last row or column stands for two."""
    rows, columns = (size % 2 for size in maps.shape[1:3])
    maps = np.pad(maps, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
    count, height, width, channels = maps.shape
    return maps.reshape(count, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _doubled(maps: Array, shape: tuple[int, ...]) -> Array:
    """Return maps in which each place is repeated 2 x 2, cut to the size of `shape`."""
    return maps.repeat(2, axis=1).repeat(2, axis=2)[:, : shape[1], : shape[2]]
