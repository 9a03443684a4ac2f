"""What training and reversed triggers cost, and what strategy=answer comes to on two networks.

    python benchmarks/training.py                      seconds a step, and the whole strategy
    python benchmarks/training.py --old CHECKOUT       beside another checkout, in turns
    python benchmarks/training.py --network deepid     one of the two networks

DeepID has 120 classes of 55 x 47 x 3 pixels, PreActResNet18 43 of 32 x 32 x 3; weights and images
are drawn by seed. Some steps of each kind are taken, and the fastest is printed; what a strategy
comes to is that, times the steps that it takes. "arithmetic" is what no step can do without, the
same batch forward and backward by TensorFlow alone.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

# first, as it keeps TensorFlow quiet
from networks import device, preactresnet18

# isort: split
import keras
import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf

from sweep.networks import deepid, forward, outputs
from sweep.networks.graph import Graph
from sweep.training import reference_network
from sweep.training.corruptions import pool
from sweep.training.fine_tuning import FineTuning
from sweep.training.inversion import MANY_CLASSES, REFINE_FACTOR
from sweep.training.inversion_search import Search

HERE = Path(__file__).resolve().parents[1]
VALID = 4000  # clean validation images, as strategy=answer takes at most
BATCH = 64
STEPS = 3  # an epoch, of those measured
#: Kinds of steps, and how they are called in the table.
KINDS = {
    "search": "reversed triggers, {} images",
    "finetune": f"training, {BATCH} images",
    "unlearn": f"unlearning, {BATCH} images",
}


def deepid_of_faces() -> keras.Model:
    return deepid((55, 47, 3), 120, seed=0)


def preactresnet18_of_signs() -> keras.Model:
    ten_classes = preactresnet18()
    scores = keras.layers.Dense(43, activation="softmax")(ten_classes.layers[-1].input)
    return keras.Model(ten_classes.inputs, scores)


NETWORKS = {"deepid": deepid_of_faces, "preactresnet18": preactresnet18_of_signs}


def unlearning(checkout: Path) -> dict[str, Any]:
    """The settings of `unlearn` in a checkout."""
    settings = OmegaConf.load(checkout / "conf" / "repair" / "unlearn.yaml")
    return {name: value for name, value in settings.items() if not name.startswith("_")}


@dataclass(frozen=True)
class Project:
    """The package of a checkout, its own copy of every module, and its settings of `unlearn`."""

    modules: dict[str, ModuleType]
    unlearn: dict[str, Any]

    @classmethod
    def of(cls, checkout: Path) -> "Project":
        kept = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}
        sys.path.insert(0, str(checkout))
        for name in ("data", "repairs.unlearning", "training.perturbations", "terminal"):
            import_module(f"sweep.{name}")
        sys.path.pop(0)
        modules = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}
        sys.modules |= kept
        modules["sweep.training.perturbations"].WARM_UP_STEPS = 1  # counted below, not measured
        return cls(modules, unlearning(checkout))

    def __getitem__(self, name: str) -> ModuleType:
        return self.modules[f"sweep.{name}"]

    def seconds(self, kind: str, network: keras.Model) -> list[float]:
        """What some steps of that kind took, each."""
        return self._search(network) if kind == "search" else self._training(kind, network)

    def _search(self, network: keras.Model) -> list[float]:
        marks: list[float] = []
        images = images_a_class(network.output_shape[-1])
        self["training.inversion"].invert(
            self._defender(network, images),
            classes=range(search_batch(network) // images),
            steps=5,
            images=images,
            refine=0,
            progress=lambda steps: marks.append(time.perf_counter()),
        )
        return between(marks)

    def _training(self, kind: str, network: keras.Model) -> list[float]:
        how = {"epochs": 5, "patience": 5, "batch_size": BATCH, "held_out": 0.1, "rates": [0.01]}
        held_out = round(STEPS * BATCH / 9)
        defender = self._defender(network, STEPS * BATCH + held_out)
        repair = getattr(self["repairs"], kind)
        with self._noted() as marks:
            settings = {name: self.unlearn[name] for name in ("shift", "light")}
            repair(defender, **((self.unlearn if kind == "unlearn" else settings) | how))
        return [seconds / STEPS for seconds in between(marks)]

    def _defender(self, network: keras.Model, images: int) -> Any:
        rng, shape = np.random.default_rng(0), network.input_shape[1:]
        pixels = rng.random((images, *shape), dtype=np.float32)
        labels = rng.integers(network.output_shape[-1], size=images)
        return self["training"].Defender(network, self["data"].Images(pixels, labels))

    @contextmanager
    def _noted(self) -> Iterator[list[float]]:
        """When each epoch of a repair ended; it goes without search and warm-up."""
        marks: list[float] = []

        @contextmanager
        def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
            yield lambda steps: marks.append(time.perf_counter()) if unit == "epochs" else None

        invert = self["training.inversion"].invert

        def found(defender: Any, **given: Any) -> Any:
            triggers = invert(defender, **given, steps=1, refine=0)
            return replace(triggers, sizes=np.arange(1.0, 1 + len(triggers.sizes)))

        patches = (
            (self["terminal"], "progress", progress),
            (self["training.inversion"], "invert", found),
            (self["training.perturbations"], "WARM_UP_STEPS", 1),
        )
        kept = [getattr(module, name) for module, name, _ in patches]
        for module, name, value in patches:
            setattr(module, name, value)
        try:
            yield marks
        finally:
            for (module, name, _), value in zip(patches, kept, strict=True):
                setattr(module, name, value)


def _is_ours(module: str) -> bool:
    return module == "sweep" or module.startswith("sweep.")


def between(marks: Sequence[float]) -> list[float]:
    """The seconds from each mark to the next; what is compiled is so before the first."""
    return [after - before for before, after in pairwise(marks)]


def images_a_class(classes: int) -> int:
    """How many images a step of reversed triggers takes for each of so many classes."""
    return 16 if classes <= MANY_CLASSES else 8


def search_batch(network: keras.Model) -> int:
    """How many images a step of reversed triggers takes at once."""
    return forward.batch_size(Graph(network).tensors)


def arithmetic(kind: str, network: keras.Model) -> Callable[[], object]:
    """The gradient that a step of that kind takes, compiled, and nothing else."""
    count = search_batch(network) if kind == "search" else BATCH
    rng = np.random.default_rng(0)
    pixels = tf.constant(rng.random((count, *network.input_shape[1:]), dtype=np.float32))
    labels = tf.zeros(count, tf.int64)
    weights = [variable.value for variable in network.trainable_variables]

    def gradient(pixels: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        sources = [pixels] if kind == "search" else weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            training = kind != "search"
            loss = outputs.cross_entropy(network, pixels, labels, training=training)
        return tape.gradient(loss, sources)

    specs = [forward.image_spec(network), tf.TensorSpec((None,), tf.int64)]
    return partial(forward.compiled(gradient, specs), pixels, labels)


def clocked(run: Callable[[], object], times: int) -> list[float]:
    """The seconds of some calls, after a first one."""
    run()
    marks = [time.perf_counter()]
    for _ in range(times):
        run()
        marks.append(time.perf_counter())
    return between(marks)


def measure(projects: dict[str, Project], network: keras.Model, rounds: int) -> None:
    """Print what steps on `network` cost in each of the projects, and the strategy in the new."""
    _, height, width, channels = network.input_shape
    classes = network.output_shape[-1]
    print(f"{classes} classes of {height} x {width} x {channels}, fastest step of {rounds} rounds")
    names = "".join(f"{name:>10}" for name in projects)
    print(f"{'':34}{names}{'arithmetic':>12}" + f"{'old / new':>11}" * (len(projects) > 1))
    steps = {}
    for kind, label in KINDS.items():
        bare, taken = arithmetic(kind, network), {name: [] for name in (*projects, "bare")}
        for _ in range(rounds):
            for name, project in projects.items():
                taken[name] += project.seconds(kind, network)
            taken["bare"] += clocked(bare, 3)
        fastest = {name: min(seconds) for name, seconds in taken.items()}
        steps[kind] = fastest["new"]
        label = label.format(search_batch(network))
        line = "".join(f"{1000 * fastest[name]:>7.0f} ms" for name in projects)
        line += f"{fastest['bare'] / fastest['new']:>12.0%}"
        line += f"{fastest['old'] / fastest['new']:>11.2f}" if "old" in fastest else ""
        print(f"{label:34}{line}", flush=True)
    strategy(classes, steps["search"] / search_batch(network), steps["finetune"], steps["unlearn"])


def strategy(classes: int, search: float, finetune: float, unlearn: float) -> None:
    """Print what strategy=answer comes to, from the seconds of an image and of steps."""
    settings, others = Search(), min(classes, reference_network.OTHER_CLASSES + 1)
    compared = classes if classes <= reference_network.MAX_CLASSES else others
    refined = min(settings.refine, classes) * settings.longer * REFINE_FACTOR
    reversing = images_a_class(classes) * (classes * settings.steps + refined)
    again = images_a_class(compared) * compared * settings.steps
    repair = unlearning(HERE)
    tried = pool.TRIED * pool.FEW + (4 + pool.GENERATIONS) * pool.MANY  # for each that is taken
    names = {field.name for field in fields(FineTuning)}
    course = FineTuning(**{name: repair[name] for name in names & repair.keys()})
    steps = min(training_steps(course), repair["batches"])
    anew = training_steps(reference_network.course(VALID))
    parts = [
        ("reversed triggers of B", reversing, "images", search),
        ("a network that learns anew", anew, "steps", finetune),
        ("reversed triggers of that one", again, "images", search),
        ("unlearning: corruptions tried", repair["pool"] * tried, "images", search),
        ("unlearning", steps, "steps", unlearn),
    ]
    print(f"strategy=answer, {VALID} clean validation images, where a class stands out")
    for label, count, unit, seconds in parts:
        each = f"{count:>9,} {unit:6} x {1000 * seconds:>7.1f} ms"
        print(f"{label:34}{each}{minutes(count * seconds)}")
    total = sum(count * seconds for _, count, _, seconds in parts)
    print(f"{'in all':34}{minutes(total):>40}")
    print(f"{'with recheck=true':34}{minutes(total + reversing * search):>40}\n")


def training_steps(course: FineTuning) -> int:
    """Steps of a course on `VALID` images, with those that find the rate."""
    learned = VALID - round(course.held_out * VALID)
    return course.total_epochs * -(-learned // course.batch_size)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:>10.1f} min"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--old", type=Path, help="another checkout, that this one is compared with")
    parser.add_argument("--network", choices=NETWORKS, help="default: each")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    projects = {"old": Project.of(options.old.resolve())} if options.old else {}
    projects["new"] = Project.of(HERE)
    for name in [options.network] if options.network else NETWORKS:
        keras.utils.set_random_seed(0)
        print(f"{name}, {device()}: ", end="")
        measure(projects, NETWORKS[name](), options.rounds)


if __name__ == "__main__":
    main()
