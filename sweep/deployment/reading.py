"""Files of images, batch by batch: an HDF5 file, or PNG and JPEG pictures.

Both become float32 (n, height, width, channels), divided by a scale. What cannot be read is
`Unusable` with its reason; the others go on.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sweep import BadInput
from sweep.data import hdf5
from sweep.data.images import fits
from sweep.networks.forward import batches

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's, by number of channels
MOST_PIXELS = 2**26  # of a picture that is read at all
EXIF_ORIENTATION = 0x0112
Pixels = NDArray[np.float32]


class Unusable(Exception):
    """One image that cannot be classified; says why, without its name."""


@dataclass
class Batch:
    """Images of one size: pixels, float32 (n, height, width, channels), of numbers (n,).

    `unusable` are those that came among them, each number with its reason.
    """

    pixels: Pixels
    numbers: list[int]
    unusable: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers) + len(self.unusable)


@dataclass(frozen=True)
class How:
    """What a network takes: `shape` (None: any size); scale: what pixels are divided by.

    resize: whether images of another size are brought to that.
    """

    shape: tuple[int | None, ...]
    scale: float
    resize: bool = False

    @property
    def size(self) -> str:
        """Height and width, in words."""
        return " x ".join("any" if one is None else str(one) for one in self.shape[:2])

    def resized(self, pixels: Pixels) -> Pixels:
        """An image (height, width, channels) in the network's size, each channel bilinear."""
        height, width = (
            want or have for want, have in zip(self.shape[:2], pixels.shape[:2], strict=True)
        )
        if pixels.shape[:2] == (height, width):
            return pixels
        channels = [
            Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
            for channel in np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)


class Hdf5File:
    """The images of an HDF5 file with `data`, and `label` and `true_label` where it has them."""

    def __init__(self, path: Path, how: How, channels: str | None) -> None:
        self._path, self._how = path, how
        self._pixels = hdf5.pixels(path, how.scale, self._layout(channels))
        self.labels, self.true_labels = (
            hdf5.whole_numbers(path, name) for name in ("label", "true_label")
        )
        for labels in (self.labels, self.true_labels):
            if labels is not None and len(labels) != len(self):
                raise BadInput(f"{path} holds {len(self)} images and {len(labels)} labels")

    def __len__(self) -> int:
        return len(self._pixels)

    def file(self, number: int) -> str:
        """The path of the file."""
        return str(self._path)

    def batches(self, size: int) -> Iterator[Batch]:
        """All images, at most `size` at a time; BadInput where the file cannot be read."""
        for rows in batches(len(self), size):
            pixels = self._pixels[rows]
            if self._how.resize:
                pixels = np.stack([self._how.resized(image) for image in pixels])
            yield Batch(pixels, list(range(rows.start, rows.stop)))

    def _layout(self, told: str | None) -> str:
        """Which axis is the colour: as told, or as the network can take the images."""
        shape = self._how.shape
        if self._how.resize:
            shape = (None, None, shape[2])
        orders = ("first", "last") if told is None else (told,)
        images = {order: hdf5.pixels(self._path, 1.0, order).image for order in orders}
        fitting = [order for order, image in images.items() if fits(image, shape)]
        if not fitting:
            stored = " or ".join(dict.fromkeys(map(_times, images.values())))
            only_size = any(image[2] == shape[2] for image in images.values())
            hint = "; --resize brings other sizes to that" if only_size else ""
            raise BadInput(
                f"the images of {self._path} are {stored}, the model takes {self._how.size} x "
                f"{shape[2]} (height x width x channels){hint}"
            )
        shapes = {images[order] for order in fitting}
        if len(fitting) == 2 and not (len(shapes) == 1 and shapes.pop()[2] == 1):  # all are grey
            raise BadInput(
                f"{self._path}: cannot tell which axis of images {_times(images['last'])} is the "
                f"colour; give --channels first or --channels last"
            )
        return fitting[0]


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


class Pictures:
    """PNG and JPEG files, one image each, numbered in their order."""

    labels: NDArray[np.int64] | None = None
    true_labels: NDArray[np.int64] | None = None

    def __init__(self, paths: Sequence[Path], how: How) -> None:
        if how.shape[2] not in MODES:
            raise BadInput(
                f"the model takes images of {how.shape[2]} channels; pictures have 1, 3 or 4: give "
                f"an HDF5 file"
            )
        self._paths, self._how = paths, how

    def __len__(self) -> int:
        return len(self._paths)

    def file(self, number: int) -> str:
        """The path of a picture."""
        return str(self._paths[number])

    def batches(self, size: int) -> Iterator[Batch]:
        """All pictures, at most `size` at a time, each batch of one size."""
        images: list[Pixels] = []
        batch = Batch(np.empty(0, np.float32), [])
        for number, path in enumerate(self._paths):
            try:
                image = self._read(path)
            except Unusable as error:
                batch.unusable[number] = str(error)
            else:
                if images and image.shape != images[0].shape:
                    yield self._filled(batch, images)
                    images, batch = [], Batch(batch.pixels, [])
                images.append(image)
                batch.numbers.append(number)
            if len(batch) >= size:
                yield self._filled(batch, images)
                images, batch = [], Batch(batch.pixels, [])
        if len(batch):
            yield self._filled(batch, images)

    def _filled(self, batch: Batch, images: list[Pixels]) -> Batch:
        shape = [size or 1 for size in self._how.shape]
        batch.pixels = np.stack(images) if images else np.empty((0, *shape), np.float32)
        return batch

    def _read(self, path: Path) -> Pixels:
        """One picture, (height, width, channels), divided by the scale."""
        if path.exists() and not path.is_file():
            raise Unusable("is no file")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is odd in a picture, or large
                with Image.open(path, formats=("PNG", "JPEG")) as image:
                    pixels = self._decoded(image)
        except Unusable:
            raise
        except Exception as error:  # Pillow raises whatever a stranger's file makes it stumble on
            reason = " ".join(str(error).replace(str(path), "").split()) or type(error).__name__
            raise Unusable(f"cannot be read as PNG or JPEG ({reason[:100]})") from error
        return self._how.resized(pixels / np.float32(self._how.scale))

    def _decoded(self, image: Image.Image) -> Pixels:
        """The pixels of an open picture, 0 .. 255, turned as a viewer shows it."""
        width, height = image.size
        if image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8):  # lies on its side
            width, height = height, width
        wanted, channels = self._how.shape[:2], self._how.shape[2]
        if not self._how.resize and not fits((height, width), wanted):
            raise Unusable(
                f"is {height} x {width} pixels, the model takes {self._how.size} (height x width); "
                f"--resize resizes it"
            )
        if height * width > MOST_PIXELS:
            raise Unusable(f"is {height} x {width} pixels; at most {MOST_PIXELS} in all are read")
        if image.mode.startswith(("I", "F")):
            raise Unusable("has more than 8 bits a pixel and channel; expected 8")
        mode = MODES[channels or 3]
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(upright if upright.mode == mode else upright.convert(mode), np.float32)
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
