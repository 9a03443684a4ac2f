"""The whole pruning curve at the lab's scale: the engine against the slow way, in one run.

    python benchmarks/curve.py                          conv_3, then the other layers without rivals
    python benchmarks/curve.py --layer conv_1 --scale 0.1
    python benchmarks/curve.py --layer all --scale 0.1  or several: conv_2,conv_3

DeepID, 1283 classes; 11,547 clean validation, 12,830 clean test and 12,830 poisoned images in
float64 HDF5 files as the lab has them (716 and 796 MB), drawn by seed and kept in
outputs/benchmark. The weights are the lab's published ones where ../shared/data/lab3 holds them,
else drawn by seed. A plain pass is B's classes for all these images; the slow way is what a
notebook does: for every step a pruned copy of B, and a plain pass of it. Ten minutes on 2 cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sweep import terminal  # noqa: E402

with terminal.quiet():
    import tensorflow  # noqa: F401

import h5py  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from sweep import attacks, files, networks, orders, processes  # noqa: E402
from sweep.cache import Cache  # noqa: E402
from sweep.data import Images, faces, sources  # noqa: E402
from sweep.evaluation import PruningCurve, pruning_curve  # noqa: E402
from sweep.evaluation.curve import Predictions  # noqa: E402
from sweep.evaluation.metrics import Labels  # noqa: E402
from sweep.networks import architectures, forward  # noqa: E402
from sweep.pruning import Activations, Cut, activations_of, joint_cut  # noqa: E402
from sweep.pruning.evidence import Order  # noqa: E402
from sweep.pruning.joint_cut import JointCut  # noqa: E402
from sweep.pruning.ranking import together  # noqa: E402

WEIGHTS = ROOT.parent / "shared" / "data" / "lab3" / "bd_weights.h5"
PEOPLE, EACH = 1283, {"valid": 9, "test": 10}  # 11,547 and 12,830 images
MEAN, RANDOM = partial(orders.mean_activation), partial(orders.random)
LAYERS = ("conv_1", "conv_2", "conv_4", "fc_1")


def stand_ins(folder: Path, scale: float = 1.0, dtype: str = "float64") -> sources.Files:
    """Files of as many images as the lab's times `scale`, made where they are not there yet."""
    root = folder / f"stand-ins-{scale:g}-{dtype}"
    if not root.is_dir():
        with files.atomic_write(root) as unfinished:
            process = get_context("spawn").Process(target=_draw, args=(unfinished, scale, dtype))
            process.start()  # apart, so that its memory is not counted
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)
    return sources.h5(str(root), cache=Cache(str(root / "facts"), max_gb=1))


def _draw(root: Path, scale: float, dtype: str) -> None:
    people = faces.people(PEOPLE, seed=0)
    for number, (name, each) in enumerate(EACH.items()):
        who = np.tile(np.arange(PEOPLE), each)
        photographs = faces.photographs(people, who, seed=[0, number])
        rows = np.arange(round(len(who) * scale)) % len(who)
        layout = {name: (photographs, who[rows])}
        if name == "test":  # no run reads poisoned validation images
            layout["poisoned_test"] = (attacks.sunglasses(photographs), np.zeros(len(rows)))
        for images_name, (pixels, label) in layout.items():
            path = root / sources.LAYOUT[images_name]
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file["label"] = label
                shape = (len(rows), *np.moveaxis(pixels[:1], -1, 1).shape[1:])
                images = file.create_dataset("data", shape, dtype)
                for start in range(0, len(rows), 1000):
                    block = pixels[rows[start : start + 1000]]
                    images[start : start + 1000] = np.moveaxis(block, -1, 1)


def suspect() -> tuple[keras.Model, str]:
    """The lab's network, and where its weights are from."""
    if WEIGHTS.is_file():
        return networks.load(WEIGHTS, _deepid), "the lab's published weights"
    return _deepid(PEOPLE), "weights drawn by seed"


def _deepid(classes: int) -> keras.Model:
    return architectures.deepid(faces.SHAPE, classes, seed=0)


def whole_curve(
    network: keras.Model,
    images: dict[str, Images],
    layer: str,
    order: Order,
    cache: Cache,
    step: float = 1,
) -> tuple[PruningCurve, dict[str, Predictions], dict[str, float]]:
    """The whole curve with all its rates, as run.py makes it, and the seconds of each stage."""
    seconds: dict[str, float] = {}

    with _stage(seconds, "cut"):
        cut = cut_at(network, layer)
        at_cut = activations_of(cut, images, cache)
    with _stage(seconds, "rank"):
        valid = at_cut["valid"]
        ranked = together([part.scores(order, seed=0) for part in valid.layers])
        ranked = replace(ranked, step=step)
    answers = {}
    for name, subset in images.items():
        with _stage(seconds, f"steps, {name}"):
            by_step = at_cut[name].predict_steps(ranked.channels, step=step)
            answers[name] = Predictions(by_step, subset.labels, subset.true_labels)
    with _stage(seconds, "rates"):
        curve = pruning_curve(ranked, networks.shape_and_classes(network)[1], **answers)
    return curve, answers, seconds


@contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keep in `seconds` how long the stage `name` takes."""
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


def activity(network: keras.Model, images: Images, layer: str, cache: Cache) -> str:
    """How many channels are not silent, on any image and on an image in the mean."""
    cut, ever, on_an_image = cut_at(network, layer), 0, 0.0
    for at_cut in Activations(cut, images, cache).layers:
        batches = [_active(maps, at_cut.cut) for maps in at_cut]
        active = np.concatenate(batches)
        ever += int(active.any(axis=0).sum())
        on_an_image += float(active.sum(axis=1).mean())
    return f"{ever} of {cut.channels} channels are ever active, {on_an_image:.1f} on an image"


def _active(maps: NDArray[np.floating], cut: Cut) -> NDArray[np.bool_]:
    """Which channels are not silent on each image, (images, channels)."""
    return (maps.reshape(len(maps), -1, cut.channels) != cut.pruned_value).any(axis=1)


def cut_at(network: keras.Model, layer: str) -> Cut | JointCut:
    """`network` cut at a layer, at several with commas between, or at "all" convolutions."""
    return joint_cut.cut_at(network, layer.split(",") if "," in layer else layer)


def plain_pass(network: keras.Model, images: dict[str, Images]) -> dict[str, Labels]:
    """The network's classes for all images."""
    return {name: forward.predict(network, subset.pixels) for name, subset in images.items()}


def warm_up(network: keras.Model, images: dict[str, Images]) -> None:
    """Pass some images, so that what is done once is not measured."""
    test = images["test"]
    plain_pass(network, {"test": test.sample(min(1024, len(test)), seed=0)})


def seconds(function: Callable[[], object]) -> float:
    """The seconds that a call of `function` takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def peak_memory() -> float:
    """Peak resident memory of this process so far, in GB."""
    return processes.peak_memory() / 1e9


def measure_slow_way(
    network: keras.Model,
    images: dict[str, Images],
    layer: str,
    curve: PruningCurve,
    answers: dict[str, Predictions],
    plain: float,
) -> float:
    """Measure and compare some steps the slow way; return the seconds that all would take."""
    steps = len(curve.channels)
    measured = np.unique(np.linspace(0, steps, 5)[1:-1].astype(int))
    cut, times, most_differing = cut_at(network, layer), [], 0
    for step in measured:
        started = time.perf_counter()
        predicted = plain_pass(cut.pruned(curve.channels[:step]), images)
        times.append(time.perf_counter() - started)
        differing = sum(
            int((classes != answers[name].predicted[step]).sum())
            for name, classes in predicted.items()
        )
        most_differing = max(most_differing, differing)
    whole = median(times) * (steps + 1)
    image_count = sum(map(len, images.values()))
    print(
        f"the slow way: {median(times):.1f} s a step (steps {', '.join(map(str, measured))}\n"
        f"measured), {whole:.0f} s for all {steps + 1}: {whole / plain:.1f} plain passes\n"
        f"answers that differ from the engine's: at most {most_differing} of {image_count} "
        f"at a step"
    )
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layer", help="this one alone; default: conv_3, then the others")
    parser.add_argument("--scale", type=float, default=1.0, help="images, as a share of the lab's")
    parser.add_argument("--no-slow", action="store_true", help="the engine alone")
    options = parser.parse_args()
    layer = options.layer or "conv_3"
    network, weights = suspect()
    source = stand_ins(ROOT / "outputs" / "benchmark", options.scale)
    first_look = seconds(lambda: source.images(*networks.shape_and_classes(network), seed=0))
    images = source.images(*networks.shape_and_classes(network), seed=0)
    counts = ", ".join(f"{len(subset)} {name}" for name, subset in images.items())
    print(f"{layer}: {counts} images, {weights};\nthe first look at the files {first_look:.1f} s")
    plain, engine = [], []
    with tempfile.TemporaryDirectory(dir=ROOT / "outputs" / "benchmark") as folder:
        warm_up(network, images)
        for turn in range(1 if options.no_slow else 2):
            plain.append(seconds(lambda: plain_pass(network, images)))
            cache = Cache(f"{folder}/{turn}", max_gb=20, memory_gb=0.1)
            curve, answers, stages = whole_curve(network, images, layer, MEAN, cache)
            engine.append(sum(stages.values()))
        plain.append(seconds(lambda: plain_pass(network, images)))
        memory = peak_memory()
        for name, value in stages.items():
            print(f"  {name:18s}{value:7.2f} s")
        ratio = median(engine) / median(plain)
        print(activity(network, images["valid"], layer, cache))
        print(f"plain pass {median(plain):.2f} s; whole curve {median(engine):.2f} s")
        print(f"whole curve / plain pass: {ratio:.2f}    peak memory {memory:.2f} GB")
        for title, order in (("again", MEAN), ("other order", RANDOM)):
            cache = Cache(f"{folder}/{turn}", max_gb=20, memory_gb=0.1)  # of the same folder
            *_, stages = whole_curve(network, images, layer, order, cache)
            print(f"{title}, from the cache: {sum(stages.values()):.2f} s")
    if not options.no_slow:
        whole = measure_slow_way(network, images, layer, curve, answers, median(plain))
        print(f"the slow way / whole curve: {whole / median(engine):.1f}")
    if options.layer is None:
        for other in LAYERS:
            print(flush=True)
            arguments = ["--layer", other, "--scale", str(options.scale), "--no-slow"]
            subprocess.run([sys.executable, __file__, *arguments], check=True)


if __name__ == "__main__":
    main()
