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
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweep import networks, terminal
from sweep.data import hdf5

with terminal.quiet():
    import tensorflow  # noqa: F401

import numpy as np

from sweep.data import Images
from sweep.training import Defender, invert
from sweep.training.inversion import ReversedTriggers, Search
from sweep.training.inversion_search import KINDS

IMAGES = 16  # a step, of each class


def measured(what: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, seconds by the clock, seconds of all cores together."""
    clock, cores = time.perf_counter(), time.process_time()
    found = what()
    return found, time.perf_counter() - clock, time.process_time() - cores


def show(found: ReversedTriggers, most: int) -> None:
    """The `most` smallest triggers, and what is usual."""
    rows = []
    for place in np.argsort(found.sizes, kind="stable")[:most]:
        numbers = found.sizes[place], found.indices[place]
        row = [str(found.classes[place]), *(f"{number:.4f}" for number in numbers)]
        rows.append([*row, terminal.percent(found.success[place])])
    terminal.print_table(["class", "size", "index", "success %"], rows, left=1)
    print(
        f"median size {np.median(found.sizes):.4f}, success {found.success.mean():.1%} in the mean"
    )


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
    given = {"kind": options.kind, "steps": options.steps, "images": IMAGES}
    defender.pixels  # noqa: B018  read before the clock runs
    found, clock, cores = measured(lambda: invert(defender, refine=0, **given))
    passes = classes * options.steps * IMAGES
    print(f"{classes} classes together: {clock:.1f} s, {cores:.1f} s of cores, {passes} passes,")
    print(f"{1e6 * cores / passes:.0f} microseconds of cores a pass")
    show(found, most=8)
    if options.alone:
        some = found.ranked[:: max(1, classes // options.alone)][: options.alone]
        each = [
            measured(lambda one=one: invert(defender, classes=[one], refine=0, **given))
            for one in some
        ]
        together = {"the clock": clock, "cores": cores}
        for place, (name, seconds) in enumerate(together.items(), start=1):
            slow = np.mean([result[place] for result in each]) * classes
            print(
                f"one by one, extrapolated from {len(some)} classes: {slow:.0f} s of {name}, "
                f"{slow / seconds:.2f} times"
            )
        sizes = [f"{one}: {result[0].sizes[0]:.4f}" for one, result in zip(some, each, strict=True)]
        print(f"sizes found alone, {', '.join(sizes)}")


if __name__ == "__main__":
    main()
