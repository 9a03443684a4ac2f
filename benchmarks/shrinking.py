"""What shrinking saves: weights, bytes of the file and time of a pass, before and after.

    python benchmarks/shrinking.py

DeepID of the lab's size with 45 of the 60 channels of conv_3 pruned, weights drawn by seed. Passes
over 256 images take turns, and the fastest of each counts, so that both meet the same machine. Half
a minute on 2 cores.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from sweep.networks import architectures, forward, shrunk
from sweep.networks.keras_internals import Tensor
from sweep.pruning import Cut

TURNS = 15


def main() -> None:
    network = architectures.deepid((55, 47, 3), 1283)
    pixels = np.random.default_rng(0).random((256, 55, 47, 3), dtype=np.float32)
    before = Cut(network, "conv_3").pruned(np.arange(45))
    after = shrunk(before)
    run_before, run_after = _compiled(before), _compiled(after)
    difference = np.abs(np.asarray(run_before(pixels)) - np.asarray(run_after(pixels)))
    print(f"largest difference of a score: {difference.max():.1e}")
    times = [[_seconds(run, pixels) for run in (run_before, run_after)] for _ in range(TURNS)]
    _print_saving("weights", before.count_params(), after.count_params())
    _print_saving("bytes", _bytes(before), _bytes(after))
    _print_saving("seconds", *np.min(times, axis=0).round(4))


def _print_saving(name: str, before: float, after: float) -> None:
    print(f"{name}: {before} -> {after}, {after / before:.2f} of it")


def _compiled(network: keras.Model) -> Callable[[np.ndarray], Tensor]:
    return forward.compiled(lambda images: network(images), [forward.image_spec(network)])


def _seconds(run: Callable[[np.ndarray], Tensor], pixels: np.ndarray) -> float:
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
