"""A set of images with their labels, and what may be asked of it."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files
from sweep.data import hdf5
from sweep.data.hdf5 import Pixels

Array = NDArray[np.float32]
Rows = slice | NDArray[np.integer] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BytePixels:
    """Pixels in memory in a quarter of the space: a lazy array, float32, as those of a file.

    values: uint8 (n, height, width, channels), which are divided by `scale` where they are read.
    """

    values: NDArray[np.uint8]
    scale: float

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __getitem__(self, rows: Rows) -> Array:
        return self._scaled(self.values[rows])

    def min(self) -> float:
        return float(self._scaled(self.values.min()))

    def max(self) -> float:
        return float(self._scaled(self.values.max()))

    def _scaled(self, values: NDArray[np.uint8]) -> Array:
        return values.astype(np.float32) / np.float32(self.scale)


HeldPixels: TypeAlias = "Array | BytePixels"


@dataclass(frozen=True)
class Images:
    """pixels: float32 (n, height, width, channels); labels, true_labels: int64 (n,).

    `key` names the content, pixels and labels, wherever it lies; "" has no name.
    `numbers`, (n,), are the images' places in their file; None: they are all of it, in order.
    """

    pixels: NDArray[np.float32] | Pixels
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64] | None = None
    key: str = ""
    numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape[1:]

    def held(self) -> HeldPixels:
        """Return the pixels in memory: as bytes where those of a file are whole numbers up to 255.

        What is sliced is the same, float32.
        """
        if not isinstance(self.pixels, Pixels):
            return self.pixels[:]
        in_file, values = replace(self.pixels, scale=1.0), np.empty(self.pixels.shape, np.uint8)
        for rows in hdf5.steps(values.shape):
            block = in_file[rows]
            with np.errstate(invalid="ignore"):
                values[rows] = block
            if not np.array_equal(values[rows], block):
                return self.pixels[:]
        return BytePixels(values, self.pixels.scale)

    @property
    def asr_counts(self) -> str:
        """Return which of these poisoned images the attack success rate counts, in words."""
        return "all images" if self.true_labels is None else "images not of the target's class"

    def require_fit(self, shape: tuple[int | None, ...], classes: int, name: str) -> None:
        """Raise BadInput where a network of input `shape` and `classes` cannot take the images."""
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

    def sample(self, count: int | None, seed: int) -> "Images":
        """Return `count` of the images, in file order, sampled without replacement; None: all."""
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise BadInput(
                f"data.valid_images is {count}; expected 1 to {len(self)}, as many clean "
                f"validation images as there are"
            )
        return self._rows(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def sample_per_class(self, count: int, seed: int) -> "Images":
        """Return `count` images of each class, in file order, drawn by seed; all of a smaller one.

        Those of a class are drawn without replacement.
        """
        shuffled = np.random.default_rng(seed).permutation(len(self))
        by_class = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        labels = self.labels[by_class]
        place = np.arange(len(labels)) - np.searchsorted(labels, labels)  # among those of its class
        return self._rows(np.sort(by_class[place < count]))

    def _rows(self, rows: NDArray[np.int64]) -> "Images":
        """Return these images alone."""
        key = self.key and files.key([self.key, rows.tolist()])
        return Images(self.pixels.take(rows, axis=0), self.labels[rows], key=key, numbers=rows)


@dataclass(frozen=True)
class PixelRange:
    """Pixels lie from `low` to `high` as a network sees them; in a file they are times `scale`."""

    low: float = 0.0
    high: float = 1.0
    scale: float = 1.0


def fits(image: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Return whether a network of input `shape` (None: any size) takes an image of that shape."""
    return len(image) == len(shape) and all(
        expected in (None, size) for expected, size in zip(shape, image, strict=True)
    )


def _times(shape: tuple[int | None, ...]) -> str:
    return " x ".join(map(str, shape))


def pixel_range(pixels: HeldPixels) -> tuple[float, float]:
    """Return the lowest and highest value that pixels may take, judged by all that there are.

    0..1 or 0..255 where they lie within and go beyond half of it, else what they hold.
    """
    low, high = float(pixels.min()), float(pixels.max())
    white = full_brightness(high)
    return (0.0, white) if low >= 0 and white is not None else (low, max(high, low + 1e-6))


def full_brightness(highest: float) -> float | None:
    """Return 1 or 255 where the `highest` pixel lies within and beyond half of it, else None."""
    return next((white for white in (1.0, 255.0) if white / 2 < highest <= white), None)
