"""How the time and the memory of one whole curve at conv_3 grow: images, channels, classes.

    python benchmarks/growth.py

Each row is a process of its own: DeepID with weights drawn by seed (so that every channel is
active), images as in curve.py in uint8 files, the lab's number of images and multiples of it.
Ten minutes on 2 cores.
"""

import json
import subprocess
import sys
import tempfile
from functools import partial

import keras
from curve import (
    MEAN,
    PEOPLE,
    ROOT,
    peak_memory,
    plain_pass,
    seconds,
    stand_ins,
    warm_up,
    whole_curve,
)

from sweep.cache import Cache
from sweep.data import faces
from sweep.networks import architectures

LAB = {"images": 1, "channels": 60, "classes": PEOPLE}
ROWS = (
    LAB,
    *(LAB | {"images": times} for times in (2, 4)),
    *(LAB | {"channels": count} for count in (30, 120)),
    *(LAB | {"classes": count} for count in (43, 5132)),
)


def suspect(channels: int, classes: int) -> keras.Model:
    """DeepID with another number of channels in conv_3, and weights drawn by seed."""
    deepid = architectures.deepid(faces.SHAPE, classes, seed=0)
    return keras.models.clone_model(deepid, clone_function=partial(_resized, channels=channels))


def _resized(layer: keras.Layer, channels: int) -> keras.Layer:
    """A copy of `layer`, with that many channels if it is conv_3."""
    config = layer.get_config()
    if layer.name == "conv_3":
        config["filters"] = channels
    return type(layer).from_config(config)


def measure(images: int, channels: int, classes: int) -> dict[str, float]:
    """Seconds of a plain pass and of the whole curve, and the peak memory in GB."""
    network = suspect(channels, classes)
    source = stand_ins(ROOT / "outputs" / "benchmark", images, "uint8")
    loaded = source.images(faces.SHAPE, PEOPLE, seed=0)
    warm_up(network, loaded)
    plain = seconds(lambda: plain_pass(network, loaded))
    with tempfile.TemporaryDirectory(dir=ROOT / "outputs" / "benchmark") as folder:
        cache = Cache(folder, max_gb=20, memory_gb=0.1)
        curve = seconds(lambda: whole_curve(network, loaded, "conv_3", MEAN, cache))
    return {"plain": plain, "curve": curve, "peak": peak_memory()}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(**json.loads(sys.argv[1]))))
        return
    print("images  channels  classes  plain pass  whole curve  ratio  peak memory", flush=True)
    for row in ROWS:
        child = [sys.executable, __file__, json.dumps(row)]
        measured = json.loads(subprocess.check_output(child, text=True).splitlines()[-1])
        plain, curve, peak = measured["plain"], measured["curve"], measured["peak"]
        print(
            f"{row['images']:5}x  {row['channels']:8}  {row['classes']:7}  {plain:8.1f} s"
            f"  {curve:9.1f} s  {curve / plain:5.2f}  {peak:8.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
