"""Repairs: what a defender does to the pruned network B', in turn, to lose the backdoor and keep

its accuracy. Each takes a `Defender`, whose `network` is B' as it is now, and gives a new network.
None sees more than clean validation images; what was pruned stays pruned.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable, forward, inversion, terminal
from sweep.cuts import clone
from sweep.defender import Defender
from sweep.evidence import needs, needs_of
from sweep.graphs import Graph
from sweep.kinds import is_norm
from sweep.perturbations import Adversarial, Pursued, Stamped, Universal, augmented
from sweep.tuning import Change, Course, tuned

Array = NDArray[np.float32]
Repair = Callable[[Defender], keras.Model]


def finetune(
    defender: Defender, *, shift: float, light: float, images: int | None = None, **course: Any
) -> keras.Model:
    """Train B' further on clean validation images.

    Fine-pruning's second half (Liu et al., RAID 2018, arXiv 1805.12185). Images are moved by up to
    `shift` of their size and lit otherwise by up to `light`; `images` are as many as are drawn by
    seed, None: all. For the rest, early stopping and the learning rate that is found among them,
    see `tuning.Course`.
    """

    def change(pixels: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
        return augmented(pixels, rng, shift=shift, light=light)

    return _tuned("finetune", defender, Course(**course), images, lambda network: change)


def unlearn(
    defender: Defender,
    *,
    by: str | Sequence[str],
    classes: int,
    share: float,
    strength: float,
    flow: float,
    area: float,
    count: int,
    steps: int,
    shift: float,
    light: float,
    images: int | None = None,
    **course: Any,
) -> keras.Model:
    """Train B' on images of which a `share` is changed as a trigger would, labels kept.

    `by` says how they are changed, in one way or in several, each of an equal part of the share:
    "universal", by `count` changes that are the same for all images and are found anew while B'
    learns, `strength` and `flow` at most (`perturbations.Universal`; I-BAU, arXiv 2110.03735);
    "adversarial", each image by its own, every pixel at most `strength`, in `steps`
    (`perturbations.Adversarial`, arXiv 1706.06083); "mask" or "additive", by the reversed triggers
    of that kind of the suspect network B, those of the `classes` of the smallest (Neural Cleanse,
    Wang et al., S&P 2019); "pursued", by such masks, which grow to at most a share `area` of the
    image and go after what still turns images into their class (`perturbations.Pursued`). The
    other images, and the training, are those of `finetune`.
    """
    ways = [by] if isinstance(by, str) else list(by)
    if not ways or not set(ways) <= set(WAYS):
        raise BadInput(f"repair.unlearn.by is {by!r}; expected some of {', '.join(WAYS)}")
    plan = Course(**course)
    if share * plan.batch_size < len(ways):
        raise BadInput(
            f"repair.unlearn changes {share:g} of {plan.batch_size} images a batch; expected at "
            f"least {len(ways)}, one for each of {', '.join(ways)}: a larger share or batch_size"
        )
    asked = {REVERSED[kind] for kind in ways if kind in REVERSED}
    stamped = {
        kind: _reversed(defender, kind, classes) for kind in inversion.KINDS if kind in asked
    }

    def way(kind: str, network: keras.Model) -> Change:
        if kind == "universal":
            far = {"strength": strength, "flow": flow, "count": count, "seed": defender.seed}
            return Universal(network, *defender.drawn(images), **far)
        if kind == "adversarial":
            return Adversarial(network, defender.pixels, strength=strength, steps=steps)
        if kind == "pursued":
            start = {"stamped": stamped["mask"], "area": area, "seed": defender.seed}
            return Pursued(network, *defender.drawn(images), **start)
        return stamped[kind]

    def changes(network: keras.Model) -> Change:
        there = [way(kind, network) for kind in ways]

        def change(pixels: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
            ends = np.rint(np.linspace(0, share, len(there) + 1) * len(labels)).astype(int)
            parts = [
                alter(pixels[start:end], labels[start:end], rng)
                for alter, start, end in zip(there, ends, ends[1:], strict=False)
                if end > start
            ]
            rest = augmented(pixels[ends[-1] :], rng, shift=shift, light=light)
            return np.concatenate([*parts, rest])

        return change

    return _tuned("unlearn", defender, plan, images, changes)


REVERSED = {"mask": "mask", "additive": "additive", "pursued": "mask"}  # and by which kind
WAYS = ("universal", "adversarial", *REVERSED)


@needs("norm")
def recalibrate(defender: Defender) -> keras.Model:
    """Set every BatchNormalization to the mean and variance of what reaches it on clean images.

    One after the other from the input on, so that each is told of what those before it, set anew,
    make of all clean validation images. A trigger's share in the statistics is lost with that.
    Raises NotApplicable without a BatchNormalization.
    """
    network = clone(defender.network)
    norms = _norms(network)
    layers = list(dict.fromkeys(node.operation for node in norms))
    with terminal.progress("recalibrate", len(layers), "layers") as done:
        for layer in layers:
            inputs = [node.input_tensors[0] for node in norms if node.operation is layer]
            mean, variance = _moments(network, inputs, defender.pixels)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
            done(1)
    return network


def require(repair: Repair, network: keras.Model) -> None:
    """Raise NotApplicable where `repair` has nothing to do on `network`.

    Raises BadInput where it is set what neither it nor its course takes.
    """
    takes = inspect.signature(repair).parameters.keys()
    unknown = getattr(repair, "keywords", {}).keys() - takes - {one.name for one in fields(Course)}
    if "course" in takes and unknown:
        raise BadInput(f"this repair got an unexpected keyword argument {min(unknown)!r}")
    if "norm" in needs_of(repair) and not _norms(network):
        raise NotApplicable(
            "this repair needs BatchNormalization, and the network has none; leave it out"
        )


def _norms(network: keras.Model) -> list[Any]:
    """The calls of BatchNormalization in `network`, in forward order."""
    return [node for node in Graph(network).nodes if is_norm(node.operation)]


def _tuned(
    name: str,
    defender: Defender,
    course: Course,
    images: int | None,
    change: Callable[[keras.Model], Change],
) -> keras.Model:
    with terminal.progress(name, course.length, "epochs") as done:
        how = {"seed": defender.seed, "progress": done, "teacher": defender.suspect}
        return tuned(defender.network, defender.drawn(images), course, change, **how)


def _reversed(defender: Defender, kind: str, classes: int) -> Stamped:
    """The reversed triggers of as many `classes` of the suspect network, the most suspicious."""
    suspect = defender.of(defender.suspect)
    total = inversion.Search(kind).total(suspect.suspect.outputs[0].shape[-1])
    with terminal.progress("reversing triggers", total, "steps") as done:
        triggers = inversion.invert(suspect, kind=kind, progress=done)
    known = triggers.ranked[: max(1, np.isfinite(triggers.sizes).sum())]
    return Stamped(triggers, known[:classes].tolist())


def _moments(
    network: keras.Model, tensors: Sequence[Any], pixels: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each channel of some tensors of `network` on these images."""
    part, told = forward.head(network, tensors), []
    for rows in forward.batches(len(pixels), forward.at_once(Graph(network).tensors)):
        for values in map(np.asarray, part(pixels[rows])):
            flat = values.reshape(-1, values.shape[-1])
            sums = (power.sum(axis=0, dtype=np.float64) for power in (flat, np.square(flat)))
            told.append([np.full(flat.shape[-1], len(flat)), *sums])
    count, total, squares = np.sum(told, axis=0)
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0)
