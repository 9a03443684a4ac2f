"""Many images, or large ones: a run holds few of them at a time, seen from outside."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired

import h5py
import keras
import numpy as np
import pytest
from crashes import Project
from program import ENVIRONMENT

SHAPE, FEW, MANY = (128, 128, 3), 256, 1280
SET = 4 * (MANY - FEW) * int(np.prod(SHAPE))  # bytes more of one set of images, as float32
#: Else the C library keeps blocks that were freed, by chance up to a hundred megabytes of them.
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv_1")(images)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="conv_2")(x)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(x))
    path = tmp_path_factory.mktemp("network") / "large.keras"
    keras.Model(images, keras.layers.Dense(4, name="scores")(x)).save(path)
    return path


def write(path: Path, count: int) -> None:
    """A file of so many images, of bytes."""
    rng = np.random.default_rng(count)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (count, *SHAPE), "uint8")
        for start in range(0, count, 128):
            data[start : start + 128] = rng.integers(0, 256, (128, *SHAPE), dtype=np.uint8)
        file["label"] = np.arange(count) % 4


def peak_memory(project: Project, *overrides: str) -> int:
    """The most memory that a run had resident, in bytes."""
    command = [sys.executable, "run.py", *overrides]  # no fork: memory is set up as Python starts
    started = subprocess.Popen(
        command,
        cwd=project.folder,
        env=ENVIRONMENT | GIVES_BACK,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = 0
    status = Path(f"/proc/{started.pid}/status")
    while started.poll() is None:
        with suppress(OSError, TimeoutExpired):  # it has ended meanwhile, or not
            found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
            peak = max(peak, 1024 * int(found[1])) if found else peak
            started.wait(0.02)
    printed, _ = started.communicate()
    assert started.returncode == 0, printed
    return peak


@pytest.mark.parametrize("layer", ["conv_1", "[conv_1,conv_2]"])
def test_memory_hardly_grows_with_the_images(layer, network, tmp_path):
    project, peaks = Project(tmp_path), {}
    for count in (FEW, MANY):
        path = tmp_path / f"{count}.h5"
        write(path, count)
        files = [f"data.{name}={path}" for name in ("valid", "test", "poisoned_test")]
        how = ("data=h5", *files, "data.scale=255", "badnet=file", f"badnet.path={network}")
        peaks[count] = peak_memory(project, *how, f"prune.layer={layer}", "cache.memory_gb=0")
        path.unlink()
    grown = peaks[MANY] - peaks[FEW]
    assert grown < SET / 4  # three sets are read; where they may be held, more than half of one is
