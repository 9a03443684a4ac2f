"""What the tests of files of images share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import LABELS, PIXELS

from sweep.data import Files, Images


@pytest.fixture
def read(tmp_path: Path, write: Callable[..., Path]) -> Callable[..., Images]:
    """Write a file of the given datasets and read it as the clean validation images."""

    def read(scale: float = 1.0, channels: str = "auto", **datasets: object) -> Images:
        path = write(tmp_path / "valid.h5", **{"data": PIXELS, "label": LABELS} | datasets)
        return Files(path, path, scale=scale, channels=channels).read("valid")

    return read
