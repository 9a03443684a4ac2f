"""Reversed triggers of all classes together against one class after the other, in one run.

    python benchmarks/inversion.py --network NET.keras --images VALID.h5 --scale 255
    python benchmarks/inversion.py --network NET.keras --images VALID.h5 --kind additive --alone 3

NET is a suspect network, VALID.h5 clean validation images in the lab's layout. Of one class after
the other --alone classes are measured, compiled once each as they would be, and the rest is
extrapolated. A pass is one image forward and backward; seconds are those of the clock and of all
cores together. The traffic signs' 43 classes take half a minute on 2 quiet cores.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweep import networks, terminal
from sweep.data import hdf5

with terminal.quiet():
    import tensorflow  # noqa: F401

import numpy as np

from sweep.data import Images
from sweep.training import Defender, invert
from sweep.training.inversion import ReversedTriggers, Search, success
from sweep.training.inversion_search import KINDS

IMAGES = 16  # a step, of each class


class Measured(NamedTuple):
    """Reversed triggers, and the seconds that they took: by the clock, of all cores together."""

    triggers: ReversedTriggers
    clock: float
    cores: float


def measure(search: Callable[[], ReversedTriggers]) -> Measured:
    """The triggers that `search` finds, and its times."""
    clock, cores = time.perf_counter(), time.process_time()
    triggers = search()
    return Measured(triggers, time.perf_counter() - clock, time.process_time() - cores)


def print_triggers(triggers: ReversedTriggers, success: np.ndarray, most: int) -> None:
    """Print the `most` smallest triggers, their success, and what is usual."""
    rows = []
    for place in np.argsort(triggers.sizes, kind="stable")[:most]:
        row = [
            str(triggers.classes[place]),
            f"{triggers.sizes[place]:.4f}",
            f"{triggers.indices[place]:.4f}",
            terminal.percent(success[place]),
        ]
        rows.append(row)
    terminal.print_table(["class", "size", "index", "success %"], rows, left=1)
    print(f"median size {np.median(triggers.sizes):.4f}, success {success.mean():.1%} in the mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", required=True, type=Path)
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="pixels are divided by it")
    parser.add_argument("--kind", choices=KINDS, default="mask")
    parser.add_argument("--steps", type=int, default=Search.steps)
    parser.add_argument("--alone", type=int, default=3, help="classes measured one by one; 0: none")
    options = parser.parse_args()
    network = networks.load(options.network)
    images = Images(hdf5.pixels(options.images, options.scale), hdf5.labels(options.images)[0])
    defender = Defender(network, images)
    classes = network.output_shape[-1]
    settings = {"kind": options.kind, "steps": options.steps, "images": IMAGES}
    defender.pixels  # noqa: B018  read before the clock runs
    together = measure(lambda: invert(defender, refine=0, **settings))
    passes = classes * options.steps * IMAGES
    print(
        f"{classes} classes together: {together.clock:.1f} s, {together.cores:.1f} s of cores, "
        f"{passes} passes,\n{1e6 * together.cores / passes:.0f} microseconds of cores a pass"
    )
    print_triggers(together.triggers, success(defender, together.triggers), most=8)
    if options.alone:
        chosen = together.triggers.ranked[:: max(1, classes // options.alone)][: options.alone]
        alone = []
        for label in chosen:
            search = partial(invert, defender, classes=[label], refine=0, **settings)
            alone.append(measure(search))
        clock = classes * np.mean([one.clock for one in alone])
        cores = classes * np.mean([one.cores for one in alone])
        intro = f"one by one, extrapolated from {len(chosen)} classes"
        print(f"{intro}: {clock:.0f} s of the clock, {clock / together.clock:.2f} times")
        print(f"{intro}: {cores:.0f} s of cores, {cores / together.cores:.2f} times")
        pairs = zip(chosen, alone, strict=True)
        sizes = [f"{label}: {one.triggers.sizes[0]:.4f}" for label, one in pairs]
        print(f"sizes found alone, {', '.join(sizes)}")


if __name__ == "__main__":
    main()
