"""What a cut network makes of one set of images: maps, mean map, answers; made once and kept.

Whatever is asked for is recalled from the cache, by digest of network, images, layer, and of the
code that makes it. So cells that differ in their order share the part of the network before the
cut, and cells that differ in their stop share the curve.
"""

import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import files, networks
from sweep.cache import Cache
from sweep.data import Images
from sweep.evaluation.curve import Channels, Scores
from sweep.evaluation.detection import doubt, jensen_shannon
from sweep.files import VERSIONS
from sweep.networks import forward, outputs
from sweep.networks.keras_internals import layers_at_all_depths
from sweep.pruning import requirements
from sweep.pruning.evidence import Each, Evidence, Oracle, Order, Training
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Cut
from sweep.training import Defender

#: The packages that whatever is kept depends on, beside network, images and settings.
MADE_BY = ("data", "evaluation", "networks", "pruning")

Parts = list[NDArray[np.float32]]  # what crosses a cut: maps, and the tensors beside
Progress = Callable[[int], object]
Seed = int | Sequence[int]


class Activations:
    """`images` at `cut`; iterated, the maps at its site, (n, ..., channels), batch by batch.

    Those that are `ranked` are kept as they are at the site, others as they cross the cut, which is
    behind the site's poolings and smaller. Images without a key are not kept. `parts` are the same
    at each layer of the cut.
    """

    def __init__(
        self,
        cut: Cut | JointCut,
        images: Images,
        cache: Cache | None = None,
        *,
        ranked: bool = False,
    ) -> None:
        several = len(cut.parts) > 1
        self.cut, self._images, self._ranked = cut, images, ranked and not several
        self._cache = Cache() if cache is None or not images.key else cache
        self.parts = [self]
        if several:
            self.parts = [Activations(part, images, cache, ranked=ranked) for part in cut.parts]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for maps, *_ in self._batches(self.cut.maps, "maps"):
            yield maps

    def __len__(self) -> int:
        return len(self._images)

    def of(self, images: Images) -> "Activations":
        """Other images at the same cut."""
        return Activations(self.cut, images, self._cache, ranked=True)

    def at(self, cut: Cut) -> "Activations":
        """The same images at another cut; nothing of it is kept."""
        return Activations(cut, self._images, ranked=True)

    def defender(self, seed: int) -> Defender:
        """Who has these images and the network that is cut."""
        return Defender(self.cut.network, self._images, seed, self._cache)

    def mean(self) -> NDArray[np.float64]:
        """The channels' mean maps over all images, (..., channels)."""
        return self.get_or_compute(
            "mean", [], lambda: sum(maps.sum(axis=0, dtype=np.float64) for maps in self) / len(self)
        )

    def means(self) -> dict[str, NDArray[np.float64]]:
        """The mean maps by layer."""
        return {part.cut.layer: part.mean() for part in self.parts}

    def evidence(
        self,
        seed: Seed,
        progress: Progress = lambda images: None,
        pairs: "Pairs" = (),
        defender: Defender | None = None,
    ) -> Evidence:
        """All that an order may see of these, and with `pairs` what an oracle sees beside.

        With a `defender` it can train.
        """
        producer = self.cut.producer
        told = {
            "maps": self,
            "channels": self.cut.channels,
            "weights": producer.weights,
            "seed": seed,
            "progress": progress,
            "preactivations": self._each(producer.preactivations)
            if producer.has_preactivation
            else None,
            "norm": producer.norm(self._each(producer.norm_inputs)),
            "labels": self._images.labels,
            "gradients": partial(self._gradients, seed, progress)
            if producer.differentiable
            else None,
            "training": defender and Training(defender, self.cut),
        }
        if not pairs:
            return Evidence(**told)
        clean, poisoned = (some.evidence(seed, progress) for some in pairs)
        return Oracle(**told, clean=clean, poisoned=poisoned)

    def scores(
        self,
        order: Order,
        seed: Seed,
        progress: Progress = lambda images: None,
        pairs: "Pairs" = (),
        defender: Defender | None = None,
    ) -> Scores:
        """What `order` makes of the evidence, (channels,)."""
        settings = [order, seed, [some.name for some in pairs]]
        code = requirements.code_of(order)
        return self.get_or_compute(
            "scores",
            settings,
            lambda: np.asarray(order(self.evidence(seed, progress, pairs, defender))),
            *code,
        )

    def predict_steps(
        self, channels: Channels, progress: Progress = lambda images: None
    ) -> NDArray[np.int32]:
        """Predicted classes after 0, 1, 2 ... of `channels` are pruned, (len(channels) + 1, n).

        `progress` is told the number of images of each batch that is done.
        """

        def make() -> NDArray[np.int32]:
            answers = np.empty((len(channels) + 1, len(self)), dtype=np.int32)
            done = 0
            for maps, *beside in self._together(self._crossing()):
                rows = slice(done, done := done + len(maps))
                answers[:, rows] = self.cut.predict_steps(maps, beside, channels)
                progress(len(maps))
            return answers

        return self.get_or_compute("predictions", [self.cut.semantics, channels.tolist()], make)

    def disagreement(self, channels: Channels) -> NDArray[np.float64]:
        """How far B and B', in which `channels` are pruned, are apart on each image, (2, n).

        By `detection.doubt`, and by `detection.jensen_shannon`.
        """

        def make() -> NDArray[np.float64]:
            told = []
            for maps, *beside in self._together(self._crossing()):
                badnet, repaired = (
                    outputs.probabilities(self.cut.network, self.cut.scores(maps, beside, pruned))
                    for pruned in (channels[:0], channels)
                )
                told.append([how(badnet, repaired) for how in (doubt, jensen_shannon)])
            return np.concatenate(told, axis=1)

        settings = [self.cut.semantics, sorted(channels.tolist())]
        return self.get_or_compute("disagreement", settings, make)

    def get_or_compute(
        self, what: str, settings: Any, make: Callable[[], NDArray], *code: ModuleType | str
    ) -> NDArray:
        """The array that `settings` and `code` make of these activations, kept under its name."""
        name = files.key([self.name, settings], *code)
        return self._cache.get_or_compute(f"{what}/{name}", lambda: {what: make()})[what]

    @cached_property
    def name(self) -> str:
        network = self.cut.network
        # not the site's name: one activation layer may be called behind several layers
        images = self._images.key or uuid4().hex  # what has no key is like nothing else
        made_of = [networks.digest(network), images, self.cut.layer]
        return files.key([*made_of, VERSIONS], *MADE_BY, *_custom(network))

    def _each(self, values: Callable[[NDArray], NDArray]) -> Each:
        """`values` of the images, batch by batch."""
        rows = partial(forward.batches, len(self), self.cut.batch_size)
        return Each(lambda: (values(self._images.pixels[some]) for some in rows()))

    def _gradients(
        self, seed: Seed, progress: Progress, size: int
    ) -> Iterator[NDArray[np.float32]]:
        """The gradients of batches of `size` images, drawn by seed, by what makes the channels."""
        drawn = np.random.default_rng(seed).permutation(len(self))
        for rows in forward.batches(len(self), size):
            some = drawn[rows]
            pixels = self._images.pixels.take(some, axis=0)[:]
            yield self.cut.producer.gradients(pixels, self._images.labels[some])
            progress(len(some))

    def _crossing(self) -> Iterator[Parts]:
        """What crosses the cut, batch by batch."""
        if not self._ranked:
            yield from self._batches(self.cut.boundary, "boundary")
            return
        for maps, *beside in self._batches(self.cut.maps, "maps"):
            yield [self.cut.maps_at_mask(maps), *beside]

    def _together(self, batches: Iterator[Parts]) -> Iterator[Parts]:
        """The same in batches as large as the part behind the cut takes: it is the smaller one."""
        waiting: list[Parts] = []
        for batch in batches:
            waiting.append(batch)
            if sum(len(maps) for maps, *_ in waiting) >= self.cut.tail_batch_size:
                yield [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
                waiting = []
        if waiting:
            yield [np.concatenate(parts) for parts in zip(*waiting, strict=True)]

    def _batches(self, head: Callable[[NDArray], Parts], what: str) -> Iterator[Parts]:
        for number, rows in enumerate(forward.batches(len(self), self.cut.batch_size)):

            def make(rows: slice = rows) -> dict[str, NDArray]:
                parts = head(self._images.pixels[rows])
                return {str(place): part for place, part in enumerate(parts)}

            parts = self._cache.get_or_compute(f"{what}/{self.name}/{number:05}", make)
            yield list(parts.values())


def at(
    cut: Cut | JointCut, images: Mapping[str, Images], cache: Cache | None = None
) -> dict[str, Activations]:
    """Sets of images at a cut by their name; of them "valid" are ranked."""
    return {
        name: Activations(cut, some, cache, ranked=name == "valid") for name, some in images.items()
    }


Pairs = tuple[()] | tuple[Activations, Activations]  # clean images, and poisoned ones of them


def _custom(network: keras.Model) -> list[ModuleType]:
    """Where `network` has code beyond Keras: all that is loaded and neither installed nor ours.

    A digest knows the names of such layers alone, and their code may stand in any of these.
    """
    layers = layers_at_all_depths(network)
    made_of = [*map(type, layers), *(getattr(layer, "activation", None) for layer in layers)]
    names = (getattr(it, "__module__", None) or "" for it in made_of)
    if all(name.partition(".")[0] in ("", "keras") for name in names):
        return []
    installed = {*map(Path, sysconfig.get_paths().values()), files.PACKAGE}
    found = {
        Path(module.__file__): module
        for name, module in list(sys.modules.items())
        if name != "__main__" and getattr(module, "__file__", None)
    }
    return [found[path] for path in sorted(found) if not installed & set(path.parents)]
