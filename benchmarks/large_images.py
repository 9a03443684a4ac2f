"""A run on large images by a ResNet50: what it says it will take, what it takes, its peak memory.

    python benchmarks/large_images.py                                2,000 images a set
    python benchmarks/large_images.py --images 300 --layer conv5_block3_2_conv

224 x 224 x 3 pixels, clean validation, clean test and poisoned test images, in uint8 files that are
drawn by seed and kept in outputs/benchmark, as is the network: weights by seed, BatchNormalization
with the statistics of one batch. Memory is that of the whole process of run.py, seen from outside.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

# first, as it keeps TensorFlow quiet
from curve import ROOT

# isort: split
import h5py
import keras
import numpy as np
from networks import set_statistics

from sweep import files

FOLDER = ROOT / "outputs" / "benchmark"
SHAPE, CLASSES = (224, 224, 3), 10
SETS = {"cl/valid.h5": "valid", "cl/test.h5": "test", "bd/bd_test.h5": "poisoned"}
LAYER = "conv5_block3_3_conv"
BLOCK = 100  # images that are drawn at a time


def make_network(path: Path) -> None:
    """Write the network."""
    keras.utils.set_random_seed(0)
    network = keras.applications.ResNet50(weights=None, input_shape=SHAPE, classes=CLASSES)
    pixels = np.random.default_rng(0).random((16, *SHAPE), dtype=np.float32)
    set_statistics(network, pixels)
    network.save(path)


def make_images(root: Path, count: int) -> None:
    """Write the files of so many images each: coarse patches in noise."""
    rng = np.random.default_rng(1)
    for place, name in SETS.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            data = file.create_dataset("data", (count, *SHAPE), "uint8")
            for start in range(0, count, BLOCK):
                images = min(BLOCK, count - start)
                coarse = rng.integers(0, 128, (images, 14, 14, 3), dtype=np.uint8)
                noise = rng.integers(0, 128, (images, *SHAPE), dtype=np.uint8)
                data[start : start + images] = coarse.repeat(16, 1).repeat(16, 2) + noise
            clean = rng.integers(0, CLASSES, count)
            file["label"] = np.zeros(count, int) if name == "poisoned" else clean
            if name == "poisoned":
                file["true_label"] = 1 + np.arange(count) % (CLASSES - 1)


def watch(command: list[str]) -> tuple[str, float, float]:
    """What a command printed, its peak resident memory in GB, and the seconds it took."""
    started, peak = time.perf_counter(), 0
    environment = os.environ | {"COLUMNS": "80"}
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            with suppress(OSError):  # it ended just now
                status = Path(f"/proc/{process.pid}/status").read_text()
                found = re.search(r"VmHWM:\s*(\d+) kB", status)
                peak = max(peak, 1024 * int(found[1])) if found else peak
            time.sleep(0.1)
        printed.seek(0)
        if process.returncode:
            raise SystemExit(printed.read())
        return printed.read(), peak / 1e9, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="of each set (default 2000)")
    parser.add_argument("--layer", default=LAYER, help=f"default {LAYER}")
    options = parser.parse_args()
    network, root = FOLDER / "resnet50.keras", FOLDER / f"large-{options.images}"
    made = {network: make_network, root: lambda path: make_images(path, options.images)}
    for path, make in made.items():
        if not path.exists():
            with files.atomic_write(path) as unfinished:
                make(unfinished)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        command = [sys.executable, "run.py", "data=h5", f"data.root={root}", "data.scale=255"]
        command += ["badnet=file", f"badnet.path={network}", f"prune.layer={options.layer}"]
        command += [f"cache.folder={folder}/cache", f"tracking.uri=sqlite:///{folder}/mlflow.db"]
        command += [f"tracking.artifacts={folder}/artifacts", f"hydra.run.dir={folder}/run"]
        printed, peak, seconds = watch(command)
        (timing,) = Path(folder, "artifacts").rglob("timing.json")
        stages = json.loads(timing.read_text())
    lines = printed.splitlines()
    for start, line in enumerate(lines):
        if line.startswith("About "):
            print(*lines[start : start + 3], sep="\n")
    print("seconds:", ", ".join(f"{name} {took:.0f}" for name, took in stages.items() if took >= 1))
    print(f"the whole run {seconds / 60:.1f} min, peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
