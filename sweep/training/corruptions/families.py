"""Corruptions: changes of all images alike that leave each what it is, drawn at random.

A family is a function from images to images, (n, height, width, channels) in 0..1, and to a place
in it: `PLACES` numbers in 0..1, of which each family reads those that it needs. So one corruption
is near another where their places are near. They are of the kinds that are known to disturb
networks (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261; stripes: Yin et al., NeurIPS 2019,
arXiv 1906.08988), none is made of a trigger.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rng = np.random.Generator
#: From images in 0..1, a place, what draws a pattern, and the strength, to images.
Family = Callable[[NDArray, NDArray[np.float64], Rng, float], NDArray]

PLACES = 12  # numbers that say where in its family a corruption is
WEAKEST = 0.05  # stripes and patterns, as a share of the range
LARGEST_COVER, SMALL_COVER = 1 / 3, 1 / 6  # of a side
FARTHEST = 0.07  # pixels are moved on the mean, as a share of the height
JITTER, REDRAWN = 0.08, 0.15  # of a place that is mutated: how far, and the share drawn anew


def stripes(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """Waves in one direction, upright, flat or at any angle, in all channels or a colour."""
    amplitude, direction, angle, frequency, phase, coloured, *colour = place
    height, width, channels = images.shape[1:]
    turn = np.pi * (0.0, 0.5, angle)[_which(direction, 3)]
    waves = np.exp(frequency * np.log(min(height, width) / 2))  # from 1 to all there can be
    down, right = _grid(height, width)
    along = right * np.cos(turn) + down * np.sin(turn)
    wave = np.sin(2 * np.pi * (waves * along + phase))[..., None]
    shade = _signed(colour, channels) if coloured < 0.5 else np.ones(channels)
    return images + _between(WEAKEST, strength, amplitude) * wave * shade


def pattern(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """A random pattern of squares, fine or coarse, mixed in."""
    alpha, size, grey = place[:3]
    height, width, channels = images.shape[1:]
    cells = 2 ** (1 + _which(size, int(np.log2(min(height, width)))))
    squares = rng.random((cells, cells, channels))
    if grey < 0.3:
        squares[:] = squares[..., :1]
    rows, columns = (np.arange(side) * cells // side for side in (height, width))
    alpha = _between(WEAKEST, strength, alpha)
    return (1 - alpha) * images + alpha * squares[rows][:, columns]


def cover(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """Something on top: a rectangle in one colour, often a full one, or of random pixels."""
    return _covered(images, place, rng, LARGEST_COVER)


def small_cover(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """As `cover`, of a size that what it covers is seldom needed, and few classes look like it."""
    return _covered(images, place, rng, SMALL_COVER)


def _covered(images: NDArray, place: NDArray[np.float64], rng: Rng, largest: float) -> NDArray:
    tall, wide, down, right, square, full, flat, *colour = place
    height, width, channels = images.shape[1:]
    rows = _whole(2, int(height * largest), tall)
    columns = _whole(2, int(width * largest), tall if square < 0.5 else wide)
    top, left = _whole(0, height - rows, down), _whole(0, width - columns, right)
    paint = np.resize(np.rint(colour) if full < 0.5 else colour, channels)
    covered = images.copy()
    covered[:, top : top + rows, left : left + columns] = (
        paint if flat < 0.7 else rng.random((rows, columns, channels))
    )
    return covered


def few_values(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """Pixels of 4 to 14 values, rounded or dithered at random."""
    count, dithered = place[:2]
    steps = _whole(3, 13, count)
    noise = rng.uniform(-0.5, 0.5, images.shape) if dithered < 0.5 else 0.0
    return np.rint(images * steps + noise) / steps


def noise(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """Noise, of each image its own or the same for all."""
    deviation, shared = place[:2]
    shape = images.shape[1:] if shared < 0.5 else images.shape
    return images + rng.normal(0, _between(0.01, strength / 3, deviation), shape)


def flow(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """Pixels moved along a smooth field, drawn on a grid of 2 to 5 points a side."""
    distance, points = place[:2]
    count = _whole(2, 5, points)
    height, width = images.shape[1:3]
    field = rng.uniform(-1, 1, (count, count, 2))
    field *= _between(0.01, FARTHEST, distance) * height / np.abs(field).mean()
    down, right = (
        _smooth(height, count) @ field[..., axis] @ _smooth(width, count).T for axis in (0, 1)
    )
    return _displaced(images, down, right)


def tint(images: NDArray, place: NDArray[np.float64], rng: Rng, strength: float) -> NDArray:
    """A colour added to all pixels, or taken away."""
    amount, *colour = place
    return images + strength * amount * _signed(colour, images.shape[-1])


#: All of them, and how many of a pool each has, as a share.
FAMILIES: dict[Family, int] = {
    stripes: 2,
    pattern: 2,
    cover: 3,
    few_values: 1,
    noise: 1,
    flow: 2,
    tint: 1,
}


@dataclass(frozen=True)
class Corruption:
    """A change of all images alike: a place in a family; `seed` is that of what it draws there."""

    family: Family
    place: NDArray[np.float64]
    seed: int

    def __call__(self, images: NDArray, strength: float) -> Array:
        """Return the images, (n, height, width, channels) in 0..1, corrupted.

        `strength`: the largest change of a pixel by stripes, patterns and tints, in 0..1.
        """
        rng = np.random.default_rng(self.seed)
        corrupted = self.family(images, self.place, rng, strength)
        return np.clip(corrupted, 0, 1).astype(np.float32)


def draw(family: Family, rng: Rng) -> Corruption:
    """Return a random corruption of `family`."""
    return Corruption(family, rng.random(PLACES), int(rng.integers(2**31)))


def mutated(corruption: Corruption, rng: Rng) -> Corruption:
    """Return one near `corruption`: of the same family and pattern, in a place near by."""
    near = corruption.place + rng.normal(0, JITTER, PLACES)
    place = np.where(rng.random(PLACES) < REDRAWN, rng.random(PLACES), near)
    return replace(corruption, place=np.clip(place, 0, 1))


def _which(number: float, count: int) -> int:
    """A number in 0..1 as one of 0..`count` - 1."""
    return min(int(number * count), count - 1)


def _whole(low: int, high: int, number: float) -> int:
    """A number in 0..1 as a whole one from `low` to `high`, which is not below `low`."""
    return low + _which(number, max(high - low, 0) + 1)


def _between(low: float, high: float, number: float) -> float:
    """A number in 0..1 as one from `low` to `high`."""
    return low + number * (high - low)


def _grid(height: int, width: int) -> list[NDArray]:
    """How far down and to the right each pixel is, in 0..1."""
    sides = (np.arange(side) / side for side in (height, width))
    return list(np.meshgrid(*sides, indexing="ij"))


@lru_cache
def _smooth(size: int, points: int) -> NDArray[np.float64]:
    """What draws `points` values out to `size`, bicubically, (size, points)."""
    columns = tf.image.resize(np.eye(points)[..., np.newaxis], (size, points), "bicubic")
    matrix: NDArray[np.float64] = columns[..., 0].numpy().astype(np.float64)
    return matrix


def _displaced(images: NDArray, down: NDArray, right: NDArray) -> NDArray:
    """The images, each pixel read from so far down and to the right of it, (height, width) both.

    Bilinearly; what lies beyond an edge is read from the edge.
    """
    height, width = down.shape
    rows = np.clip(np.arange(height)[:, np.newaxis] + down, 0, height - 1)
    columns = np.clip(np.arange(width) + right, 0, width - 1)
    row = np.minimum(rows.astype(np.int64), height - 2)
    column = np.minimum(columns.astype(np.int64), width - 2)
    below, beside = (rows - row)[..., np.newaxis], (columns - column)[..., np.newaxis]
    upper, lower = (
        images[:, at, column] * (1 - beside) + images[:, at, column + 1] * beside
        for at in (row, row + 1)
    )
    return upper * (1 - below) + lower * below


def _signed(numbers: list[float], channels: int) -> NDArray[np.float64]:
    """Numbers in 0..1 as a colour in -1..1, one a channel, the strongest of which is full."""
    colour = 2 * np.resize(numbers, channels) - 1
    scaled: NDArray[np.float64] = colour / max(np.abs(colour).max(), 1e-9)
    return scaled
