"""What is to be classified: images as a model takes them, the others told apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.deployment.models import Deployed
from sweep.deployment.reading import Batch, Hdf5File, How, Pictures, Pixels

SUFFIXES = (".png", ".jpg", ".jpeg")


class Source(Protocol):
    """What is to be classified: `len` images, and their labels where there are any, (n,)."""

    labels: NDArray[np.int64] | None
    true_labels: NDArray[np.int64] | None

    def __len__(self) -> int: ...

    def file(self, number: int) -> str:
        """The file that an image is in."""

    def batches(self, size: int) -> Iterator[Batch]:
        """All images, at most `size` at a time."""


def open_images(
    path: Path,
    goodnet: Deployed,
    *,
    scale: float | None = None,
    channels: str | None = None,
    resize: bool = False,
) -> Source:
    """Return what lies at `path`, as `goodnet` takes it; BadInput where that is nothing of use.

    scale: None, the model's; channels: "first" or "last" of an HDF5 file, None: as it fits.
    """
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise BadInput(f"--scale is {scale}; expected a number above 0, 255 for pixels to 255")
    if resize and goodnet.shape[0] is None and goodnet.shape[1] is None:
        raise BadInput("--resize has no size to bring images to: the model takes any")
    how = How(goodnet.shape, scale or goodnet.scale or 1.0, resize)
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        found = [one for one in found if not one.is_dir()]
        if not found:
            raise BadInput(f"{path} holds no PNG or JPEG pictures; expected .png, .jpg or .jpeg")
        return Pictures(found, how)
    if path.suffix.lower() in SUFFIXES:
        return Pictures([path], how)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise BadInput(
            f"{path} is neither an HDF5 file with `data` nor a folder of PNG and JPEG pictures, "
            f"nor one of them"
        )
    return Hdf5File(path, how, channels)


def usable(batch: Batch, goodnet: Deployed) -> Batch:
    """The batch without images whose pixels are not finite, or out of the range of the model's."""
    low, high = goodnet.accepted
    unusable, kept = dict(batch.unusable), []
    for place, (number, image) in enumerate(zip(batch.numbers, batch.pixels, strict=True)):
        least, most = image.min(), image.max()
        if not np.isfinite([least, most]).all():
            unusable[number] = "has pixels that are NaN or infinite"
        elif not low <= least <= most <= high:
            unusable[number] = (
                f"has pixels from {least:g} to {most:g}, the model takes {low:g} to {high:g}"
            )
        else:
            kept.append(place)
    return Batch(batch.pixels[kept], [batch.numbers[place] for place in kept], unusable)


def require_scale(batch: Batch, checked: Batch, goodnet: Deployed, path: Path) -> None:
    """Raise BadInput where the pixels of the first batch were divided by a wrong scale.

    `checked` is what is `usable` of it.
    """
    low, high = goodnet.accepted
    if goodnet.high is None or not len(batch.pixels):
        return
    least, most = float(np.nanmin(batch.pixels)), float(np.nanmax(batch.pixels))
    wrong = f"the first {len(batch.pixels)} images of {path} have pixels from {least:g} to {most:g}"
    if not len(checked.pixels) and np.isfinite([least, most]).all():
        raise BadInput(
            f"{wrong} after division, and the model takes {low:g} to {high:g}: give --scale, what "
            f"pixels in this file are to be divided by (the model's own: {goodnet.scale or 1:g})"
        )
    if len(checked.pixels) and low == 0 and _divided_twice(checked.pixels, high):
        raise BadInput(
            f"{wrong} after division, as if they had been divided before: give --scale 1 where the "
            f"file holds pixels as the model sees them, {low:g} to {high:g}"
        )


def _divided_twice(pixels: Pixels, high: float) -> bool:
    """Whether pixels, of which `high` is white, are so dark, and no levels of 8 bits."""
    levels = pixels * (255 / high) if pixels.max() <= high / 255 else np.zeros(1)
    return bool((np.abs(levels - np.rint(levels)) > 1e-3).any())
