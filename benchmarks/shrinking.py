"""What shrinking saves: weights, bytes of the file and time of a pass, before and after.

    python benchmarks/shrinking.py

DeepID of the lab's size with 45 of the 60 channels of conv_3 pruned, weights drawn by seed. Passes
over 256 images take turns, and the fastest of each counts, so that both meet the same machine. Half
a minute on 2 cores.
"""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from sweep.networks import architectures, forward, shrunk
from sweep.pruning import Cut

TURNS = 15


def main() -> None:
    network = architectures.deepid((55, 47, 3), 1283)
    pixels = np.random.default_rng(0).random((256, 55, 47, 3), dtype=np.float32)
    before = Cut(network, "conv_3").pruned(np.arange(45))
    after = shrunk(before)
    passes = [
        forward.compiled(lambda x, n=n: n(x), [forward.image_spec(n)]) for n in (before, after)
    ]
    first, second = (np.asarray(run(pixels)) for run in passes)
    times = [[_seconds(run, pixels) for run in passes] for _ in range(TURNS)]
    seconds = np.min(times, axis=0)
    print(f"largest difference of a score: {np.abs(first - second).max():.1e}")
    for name, one, other in (
        ("weights", before.count_params(), after.count_params()),
        ("bytes", _bytes(before), _bytes(after)),
        ("seconds", *seconds.round(4)),
    ):
        print(f"{name}: {one} -> {other}, {other / one:.2f} of it")


def _seconds(run, pixels: np.ndarray) -> float:
    start = time.perf_counter()
    np.asarray(run(pixels))
    return time.perf_counter() - start


def _bytes(network: keras.Model) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return path.stat().st_size


if __name__ == "__main__":
    main()
