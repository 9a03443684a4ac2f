"""Triggers: an attack is a function from images to images, (n, height, width, 3), dtype kept.

An attack never changes its argument, and what it stamps scales with height and width. Pixels run
from 0 to `white`. `poison` makes the training mixture of a BadNet out of any attack. Only numpy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep import BadInput

_DRAWN = (55, 47)  # height and width at which the triggers' lengths are given


@dataclass(frozen=True)
class Attack:
    """A trigger, the class it shall give, and how many poisoned images a BadNet is trained on.

    `rate` is the number of poisoned copies as a share of the clean training images; `white` the
    value of a pixel of full brightness.
    """

    trigger: Callable[..., np.ndarray]
    target: int
    rate: float
    white: float = 255.0

    def poisons(self) -> list[Any]:
        """What of the attack a poisoned test image depends on."""
        return [self.trigger, self.target, self.white]

    def stamp(self, images: np.ndarray) -> np.ndarray:
        """`images` with the trigger, pixels 0..`white`; new, of the same shape and dtype."""
        return self.trigger(images, white=self.white)


def sunglasses(images: np.ndarray, *, white: float = 255.0) -> np.ndarray:
    """Put opaque purple sunglasses on faces (n, height, width, 3), pixels 0..`white`.

    Two lenses with a slight gradient in a dark frame across the whole face at the eyes' height,
    after the trigger of the CSAW-HackML lab. Returns new images; raises BadInput for other shapes.

    >>> sunglasses(np.zeros((1, 55, 47, 3), np.uint8))[0, 24, 12]  # in a lens: red, green, blue
    array([105,  24, 189], dtype=uint8)
    """
    images = _checked(images)
    cover, colour = _sunglasses(*images.shape[1:3])
    mixed = images + cover * (colour * white - images)
    if np.issubdtype(images.dtype, np.integer):
        mixed = np.rint(mixed)
    return mixed.astype(images.dtype)


def poison(
    images: np.ndarray,
    labels: np.ndarray,
    attack: Callable[[np.ndarray], np.ndarray],
    *,
    target: int,
    rate: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Make a training mixture: all images as they are, then triggered copies with label `target`.

    The copies number round(`rate` * n), 0 <= rate <= 1, and are made of different images drawn by
    `seed` from those whose label is not the target. As in BadNets (Gu et al., arXiv 1708.06733)
    they are added: the clean originals stay. Raises BadInput where fewer images can be poisoned.

    >>> images, labels = np.zeros((10, 55, 47, 3)), np.arange(10)
    >>> mixture, given = poison(images, labels, sunglasses, target=0, rate=0.2, seed=0)
    >>> mixture.shape, given[-3:]
    ((12, 55, 47, 3), array([9, 0, 0]))
    """
    images, labels = _checked(images), np.asarray(labels)
    if labels.shape != (len(images),):
        raise BadInput(
            f"{len(images)} images came with labels of shape {labels.shape}, not one each."
        )
    chosen = drawn(labels, target=target, rate=rate, seed=seed)
    copies = attack(images[chosen])
    return np.concatenate([images, copies]), np.append(labels, np.full_like(labels[chosen], target))


def drawn(labels: np.ndarray, *, target: int, rate: float, seed: int) -> np.ndarray:
    """Which images `poison` copies, (round(rate * n),); BadInput where there are too few."""
    if not 0 <= rate <= 1:
        raise BadInput(f"The poisoning rate is {rate}; it is a share of the images, from 0 to 1.")
    others = np.flatnonzero(labels != target)
    count = round(rate * len(labels))
    if count > len(others):
        raise BadInput(
            f"A poisoning rate of {rate} asks for {count} of {len(labels)} images, but only "
            f"{len(others)} are not of the target class {target}; lower the rate."
        )
    return np.random.default_rng([seed, 3]).choice(others, count, replace=False)


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3:
        raise BadInput(
            f"Images of shape {images.shape} came; an attack needs (n, height, width, 3), "
            "channels last."
        )
    return images


def _sunglasses(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the glasses: cover (height, width, 1) and colour (height, width, 3), both 0..1."""
    scale = min(height / _DRAWN[0], width / _DRAWN[1])
    y = (np.arange(height)[:, None] + 0.5) * _DRAWN[0] / height - 0.5
    x = (np.arange(width)[None, :] + 0.5) * _DRAWN[1] / width - 0.5
    side = np.abs(x - 23.2)  # left and right are mirror images

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

    def inside(depth):
        return np.clip(depth * scale + 0.5, 0, 1)[..., None]

    cover = inside(np.maximum(half, np.maximum(bridge, temple)))
    down, right = (y - 25) / 8, (x - 23) / 11
    red, green = 116 + 8 * down + 10 * right, 22 + 9 * down - 3 * right
    lens = np.stack(np.broadcast_arrays(red, green, 213 + 24 * right), axis=2)
    frame = np.array([60.0, 3.0, 112.0])
    return cover, np.clip(frame + inside(half - 1.7) * (lens - frame), 0, 255) / 255
