"""Write images into an HDF5 file in the lab's layout."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray


def write(path: Path, blocks: Iterable[NDArray], channels: str = "auto", **labels: NDArray) -> None:
    """Write images, block by block, and labels; channels first, as the lab, unless told "last"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in labels.items():
            file[name] = values
        done = 0
        for block in blocks:
            pixels = block if channels == "last" else np.moveaxis(block, -1, 1)
            shape = (len(labels["label"]), *pixels.shape[1:])
            file.require_dataset("data", shape, pixels.dtype)[done : done + len(pixels)] = pixels
            done += len(pixels)
