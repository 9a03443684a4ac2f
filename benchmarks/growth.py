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
from typing import Any

import keras
from curve import MEAN, PEOPLE, ROOT, peak, plain_pass, seconds, stand_ins, whole_curve

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

    def wider(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name == "conv_3":
            config["filters"] = channels
        return type(layer).from_config(config)

    return keras.models.clone_model(
        architectures.deepid(faces.SHAPE, classes, seed=0), clone_function=wider
    )


def measure(images: int, channels: int, classes: int) -> dict[str, float]:
    """Seconds of a plain pass and of the whole curve, and the peak memory in GB."""
    network = suspect(channels, classes)
    source = stand_ins(ROOT / "outputs" / "benchmark", images, "uint8")
    loaded = source.images(faces.SHAPE, PEOPLE, seed=0)
    plain_pass(network, {"valid": loaded["valid"].sample(256, seed=0)})  # to warm up
    plain = seconds(lambda: plain_pass(network, loaded))
    with tempfile.TemporaryDirectory(dir=ROOT / "outputs" / "benchmark") as folder:
        cache = Cache(folder, max_gb=20, memory_gb=0.1)
        curve = seconds(lambda: whole_curve(network, loaded, "conv_3", MEAN, cache))
    return {"plain": plain, "curve": curve, "peak": peak()}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(**json.loads(sys.argv[1]))))
        return
    print("images  channels  classes  plain pass  whole curve  ratio  peak memory", flush=True)
    for row in ROWS:
        child = [sys.executable, __file__, json.dumps(row)]
        told = json.loads(subprocess.check_output(child, text=True).splitlines()[-1])
        print(
            f"{row['images']:5}x  {row['channels']:8}  {row['classes']:7}  {told['plain']:8.1f} s"
            f"  {told['curve']:9.1f} s  {told['curve'] / told['plain']:5.2f}"
            f"  {told['peak']:8.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
