"""A set of images with their labels, and what may be asked of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files
from sweep.data.hdf5 import Pixels

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Images:
    """pixels: float32 (n, height, width, channels); labels, true_labels: int64 (n,).

    `key` names the content, pixels and labels, wherever it lies; "" has no name.
    """

    pixels: NDArray[np.float32] | Pixels
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64] | None = None
    key: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape[1:]

    @property
    def asr_counts(self) -> str:
        """Which of these poisoned images a rate of attack counts."""
        return "all images" if self.true_labels is None else "images not of the target's class"

    def expect(self, shape: tuple[int, ...], classes: int, name: str) -> "Images":
        """Return self; raise BadInput where a network of `shape` and `classes` cannot take it."""
        if not fits(self.shape, shape):
            raise BadInput(
                f"the {name} images are {_times(self.shape)}, the network expects {_times(shape)} "
                f"(height x width x channels)"
            )
        for labels in (self.labels, self.true_labels):
            if labels is not None and labels.max() >= classes:
                raise BadInput(
                    f"the {name} labels go up to {labels.max()}, the network has {classes} classes "
                    f"(0 to {classes - 1})"
                )
        return self

    def sample(self, count: int | None, seed: int) -> "Images":
        """`count` of the images, drawn by seed without replacement, in file order; None: all."""
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise BadInput(
                f"data.valid_images is {count}; expected 1 to {len(self)}, as many clean "
                f"validation images as there are"
            )
        drawn = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        key = self.key and files.key([self.key, drawn.tolist()])
        return Images(self.pixels.take(drawn, axis=0), self.labels[drawn], key=key)


def fits(image: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Whether a network of input `shape`, None being any size, takes an image of shape `image`."""
    return len(image) == len(shape) and all(
        size in (None, own) for size, own in zip(shape, image, strict=True)
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def pixel_range(pixels: Array) -> tuple[float, float]:
    """The lowest and highest value that pixels may take, told from all that there are.

    0..1 or 0..255 where they lie within and go beyond half of it, else what they hold.
    """
    low, high = float(pixels.min()), float(pixels.max())
    for white in (1.0, 255.0):
        if low >= 0 and white / 2 < high <= white:
            return 0.0, white
    return low, max(high, low + 1e-6)
