"""What a pruning curve will take on this machine, told from a few batches before it begins.

The model is simple: seconds an image to the cut, and seconds an image of all steps behind it, times
the images. Of memory it is what the process has had when one batch has gone all the way that each
will go, and what grows with the images and is held.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sweep import terminal
from sweep.evaluation.curve import Ranking, steps_of
from sweep.networks import forward
from sweep.networks.forward import Pixels
from sweep.processes import peak_memory
from sweep.pruning.activations import Activations
from sweep.pruning.incremental.steps import LOOKED_AT
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Array, Cut

BATCHES = 3  # that are timed to the cut at least
TIMED = 1.0  # seconds of steps that are timed at least, or all of them
SMALLER = 16  # times fewer images than a batch holds, on which steps are first timed
LONG = 30.0  # seconds that are announced
HELD = 4  # bytes an image and step: its class, until the end
COUNTED = 16  # bytes more, while the steps of one set of images are counted
NETWORKS = 2  # times B's weights that are held or written beside them: B', GoodNet
_paces: dict[str, "Pace"] = {}  # by the name of activations: cells of a process measure once


@dataclass(frozen=True)
class Pace:
    """How fast a cut network is on this machine.

    values: numbers of an image that cross the cut; tail: how steps are taken, see `Cut.tail`.
    start: seconds that are spent once; to_cut: seconds an image to the cut; curve: of all steps
    behind it; whole: of a plain pass of the network.
    """

    channels: int
    steps: int
    values: int
    tail: str
    start: float
    to_cut: float
    curve: float
    whole: float


@dataclass(frozen=True)
class Estimate:
    """What `curves` curves of `images` take at a `layer`, of which `passed` go to the cut first.

    memory: the peak of the process, in bytes.
    """

    layer: str
    pace: Pace
    images: int
    passed: int
    curves: int
    memory: float

    @property
    def seconds(self) -> float:
        """How long it takes."""
        pace = self.pace
        return pace.start + self.passed * pace.to_cut + self.curves * self.images * pace.curve

    @property
    def passes(self) -> float:
        """The same in plain passes of the network over the images."""
        return self.seconds / (self.images * self.pace.whole)

    @property
    def sentence(self) -> str:
        """What is to come, in words."""
        to_cut = f"{self.passed} images to {self.layer}, then " if self.passed else ""
        return (
            f"About {terminal.duration(self.seconds)} to come, as long as {self.passes:.1f} plain "
            f"passes: {to_cut}{self.pace.steps} steps with {self.images} images; memory up to "
            f"{self.memory / 1e9:.1f} GB. What trains comes on top."
        )


def announce(
    at_cut: Mapping[str, Activations], step: float = 1, ranking: Ranking | None = None
) -> None:
    """Print what a curve of these images will take, where that is long; nothing where it is kept.

    It is told before the channels are ranked, or, where all images have been passed to the cut in
    an earlier run, when there is a `ranking`: only that tells whether the steps are kept.
    """
    not_passed = [each for each in at_cut.values() if not each.is_passed]
    if bool(not_passed) == (ranking is not None):
        return
    left = [
        each
        for each in at_cut.values()
        if ranking is None or not each.knows_steps(ranking.channels, step)
    ]
    if left:
        estimated = estimate(left, step, passed=sum(map(len, not_passed)))
        if estimated.seconds >= LONG:
            terminal.print_line(estimated.sentence)


def estimate(
    at_cut: Sequence[Activations], step: float = 1, passed: int | None = None, curves: int = 1
) -> Estimate:
    """Estimate `curves` curves of sets of images at one cut, `passed` of which go there; None: all.

    A few batches of the first set are passed.
    """
    cut, counts = at_cut[0].cut, [len(each) for each in at_cut]
    layer = cut.layer if len(cut.parts) == 1 else f"{len(cut.parts)} layers"
    name, images = f"{at_cut[0].name} {step}", sum(counts)
    if name not in _paces:
        _paces[name] = _measure(cut, at_cut[0].images.pixels, step)
    pace = _paces[name]
    of_steps = pace.steps * (HELD * images + COUNTED * max(counts))
    memory = peak_memory() + of_steps + NETWORKS * 4 * cut.network.count_params()
    return Estimate(layer, pace, images, images if passed is None else passed, curves, memory)


def _measure(cut: Cut | JointCut, pixels: Pixels, step: float = 1) -> Pace:
    """Time the way of a few batches to the cut, and of one, as large as the tail takes, behind."""
    size, tail_size = cut.batch_size, min(len(pixels), cut.tail_batch_size)
    # as many as decide which tail it is, so that it is the one of the run
    count = max(BATCHES, -(-min(LOOKED_AT, tail_size) // size))
    batches = list(islice(forward.batches(len(pixels), size), count))
    begun = _seconds(lambda: cut.boundary(pixels[batches[0]]))
    boundary: list[list[Array]] = []
    passed = _seconds(lambda: boundary.extend(cut.boundary(pixels[rows]) for rows in batches))
    to_cut = passed / batches[-1].stop
    maps, *bypass = (_resized(tensors, tail_size) for tensors in zip(*boundary, strict=True))
    once, curve = _curve(cut, maps, bypass, step)
    none = np.arange(0)
    cut.scores(maps, bypass, none)  # which compiles
    behind = _seconds(lambda: cut.scores(maps, bypass, none))
    return Pace(
        channels=cut.channels,
        steps=len(steps_of(cut.channels, step)),
        values=sum(tensor[0].size for tensor in (maps, *bypass)),
        tail=cut.tail,
        start=max(0.0, begun - to_cut * batches[0].stop) + once,
        to_cut=to_cut,
        curve=curve,
        whole=to_cut + behind / tail_size,
    )


def _resized(tensors: Sequence[Array], count: int) -> Array:
    """Return `count` rows of these tensors together, again from the first where there are fewer."""
    rows = np.concatenate(tensors)
    return rows[:count] if count <= len(rows) else np.resize(rows, (count, *rows.shape[1:]))


def _curve(
    cut: Cut | JointCut, maps: Array, bypass: Sequence[Array], step: float
) -> tuple[float, float]:
    """Seconds that are spent once, and those of a whole curve, an image.

    A sample of the images and of the steps is taken, ever larger; how much longer the last steps
    took than the first ones tells the rest.
    """
    channels = np.random.default_rng(0).permutation(cut.channels)
    at_a_time = int(steps_of(cut.channels, step)[1])

    def seconds_of(count: int, images: int) -> float:
        some = maps[:images], [tensor[:images] for tensor in bypass]
        return _seconds(lambda: cut.predict_steps(*some, channels[:count], at_a_time))

    prepared = _seconds(lambda: cut.choose_tail(maps, bypass))
    few, images = min(2 * at_a_time, cut.channels), max(1, len(maps) // SMALLER)
    compiled = seconds_of(few, images) - seconds_of(few, images)
    while (first := seconds_of(few, images)) < TIMED and images < len(maps):
        images = min(4 * images, len(maps))
    taken, last = few, first
    while taken < cut.channels and (taken == few or last < TIMED):
        taken = min(4 * taken, cut.channels)
        last = seconds_of(taken, images)
    slope = max(0.0, last - first) / max(1, taken - few)
    whole = last + slope * (cut.channels - taken)
    return prepared + max(0.0, compiled), whole / images


def _seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
