"""What a curve is told to take before it begins, against what it then takes.

    python benchmarks/estimates.py                      all rows
    python benchmarks/estimates.py resnet50             some

Each row estimates a curve from a few batches and walks it, ranking and all rates in it, in turns:
DeepID on a tenth of the lab's images, networks of the field on 1,280 images of 32 x 32, ResNet50 on
200 of 224 x 224, drawn by seed. Medians of 3 turns; each row is a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

# first, as it keeps TensorFlow quiet
from curve import MEAN, ROOT, cut_at, seconds, suspect, whole_curve
from curve import stand_ins as faces

# isort: split
import keras
import numpy as np
from large_images import make_network
from networks import mobilenet_v2, set_statistics, vgg19_bn
from networks import stand_ins as small_images

from sweep import estimation, networks
from sweep.cache import Cache
from sweep.data import Images
from sweep.pruning import activations_of

Case = tuple[keras.Model, dict[str, Images]]
LARGE = {"valid": 80, "test": 60, "poisoned": 60}
TURNS = 3


def deepid() -> Case:
    network, _ = suspect()
    source = faces(ROOT / "outputs" / "benchmark", 0.1, "uint8")
    return network, source.images(*networks.shape_and_classes(network), seed=0)


def of_the_field(make: Callable[[], keras.Model]) -> Case:
    keras.utils.set_random_seed(0)
    network, images = make(), small_images(1280)
    set_statistics(network, images["valid"].pixels[:128])
    return network, images


def resnet50() -> Case:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "resnet50.keras")
        make_network(path)
        network = keras.models.load_model(path)
    rng, images = np.random.default_rng(0), {}
    for name, count in LARGE.items():
        pixels = rng.random((count, *network.input_shape[1:]), dtype=np.float32)
        images[name] = Images(pixels, rng.integers(0, 10, count), key=name)
    return network, images


#: How each case is made, and the layer that is pruned.
ROWS: dict[str, tuple[Callable[[], Case], str]] = {
    "deepid": (deepid, "conv_3"),
    "vgg19_bn": (lambda: of_the_field(vgg19_bn), "conv_16"),
    "mobilenet_v2": (lambda: of_the_field(mobilenet_v2), "block_16_project"),
    "resnet50": (resnet50, "conv5_block3_3_conv"),
}


def measure(name: str) -> None:
    """Print a row."""
    make, layer = ROWS[name]
    (network, images), told, took = make(), [], []
    for _ in range(TURNS):
        at_cut = activations_of(cut_at(network, layer), images)
        estimation._paces.clear()  # each turn measures anew
        told.append(estimation.estimate([*at_cut.values()]))
        with tempfile.TemporaryDirectory() as folder:
            cache = Cache(folder, max_gb=20, memory_gb=0.1)
            curve = [network, images, layer, MEAN, cache]
            took.append(seconds(lambda curve=curve: whole_curve(*curve)))
    expected, real = median(estimate.seconds for estimate in told), median(took)
    print(f"{name:14}{layer:20}{expected:>7.1f} s{real:>7.1f} s{expected / real:>7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", choices=[[], *ROWS], default=[])
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        measure(options.row)
        return
    print(f"{'network':14}{'layer':20}{'told':>9}{'took':>9}{'ratio':>7}")
    for name in options.case or ROWS:
        subprocess.run([sys.executable, __file__, "--row", name], check=True)


if __name__ == "__main__":
    main()
