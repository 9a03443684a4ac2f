"""What a cut network makes of one set of images: maps, mean map, answers; made once and kept.

Whatever is asked for is recalled from the cache, by digest of network, images, layer, and of the
code that makes it. So cells that differ in their order share the part of the network before the
cut, and cells that differ in their stop share the curve.
"""

import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import cuts, files, forward, fronts, graphs, hdf5, kinds, networks, orders, steps
from sweep.cache import Cache
from sweep.cuts import Cut
from sweep.data import Images
from sweep.orders import Channels, Evidence, Order, Scores

#: What maps and answers depend on beside network, images and settings.
CODE = (cuts, forward, fronts, graphs, hdf5, kinds, steps, sys.modules[__name__])
VERSIONS = [keras.__version__, tf.__version__, np.__version__]


Parts = list[NDArray[np.float32]]  # what crosses a cut: maps, and the tensors beside


class Activations:
    """`images` at `cut`; iterated, the maps at its site, (n, ..., channels), batch by batch.

    Those that are `ranked` are kept as they are at the site, others as they cross the cut, which is
    behind the site's poolings and smaller. Images without a key are not kept.
    """

    def __init__(
        self, cut: Cut, images: Images, cache: Cache | None = None, *, ranked: bool = False
    ) -> None:
        self._cut, self._images, self._ranked = cut, images, ranked
        self._cache = Cache() if cache is None or not images.key else cache

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for maps, *_ in self._batches(self._cut.maps, "maps"):
            yield maps

    def __len__(self) -> int:
        return len(self._images)

    def mean(self) -> NDArray[np.float64]:
        """The channels' mean maps over all images, (..., channels)."""
        return self._recall(
            "mean", [], lambda: sum(maps.sum(axis=0, dtype=np.float64) for maps in self) / len(self)
        )

    def answers(
        self, channels: Channels, progress: Callable[[int], object] = lambda images: None
    ) -> NDArray[np.int32]:
        """Predicted classes after 0, 1, 2 ... of `channels` are pruned, (len(channels) + 1, n).

        `progress` is told the number of images of each batch that is done.
        """

        def make() -> NDArray[np.int32]:
            answers = np.empty((len(channels) + 1, len(self)), dtype=np.int32)
            done = 0
            for maps, *beside in self._together(self._crossing()):
                rows = slice(done, done := done + len(maps))
                answers[:, rows] = self._cut.answers(maps, beside, channels)
                progress(len(maps))
            return answers

        return self._recall("answers", [self._cut.semantics, channels.tolist()], make)

    def scores(self, order: Order, evidence: Evidence) -> Scores:
        """What `order` makes of `evidence`, which is to hold these maps, (channels,)."""
        code = (orders, orders.module_of(order))
        settings = [order, evidence.seed]
        return self._recall("scores", settings, lambda: np.asarray(order(evidence)), *code)

    def _recall(
        self, what: str, settings: Any, make: Callable[[], NDArray], *code: ModuleType
    ) -> NDArray:
        """The array that `settings` and `code` make of these activations, kept under its name."""
        name = files.key([self._name, settings], *code)
        return self._cache.recall(f"{what}/{name}", lambda: {what: make()})[what]

    @cached_property
    def _name(self) -> str:
        network = self._cut.network
        # not the site's name: one activation layer may be called behind several layers
        made_of = [networks.digest(network), self._images.key, self._cut.layer]
        return files.key([*made_of, VERSIONS], *CODE, *_custom(network))

    def _crossing(self) -> Iterator[Parts]:
        """What crosses the cut, batch by batch."""
        if not self._ranked:
            yield from self._batches(self._cut.crossing, "crossing")
            return
        for maps, *beside in self._batches(self._cut.maps, "maps"):
            yield [self._cut.onward(maps), *beside]

    def _together(self, batches: Iterator[Parts]) -> Iterator[Parts]:
        """The same in batches as large as the part behind the cut takes: it is the smaller one."""
        waiting: list[Parts] = []
        for batch in batches:
            waiting.append(batch)
            if sum(len(maps) for maps, *_ in waiting) >= self._cut.answered_at_once:
                yield [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
                waiting = []
        if waiting:
            yield [np.concatenate(parts) for parts in zip(*waiting, strict=True)]

    def _batches(self, head: Callable[[NDArray], Parts], what: str) -> Iterator[Parts]:
        for number, rows in enumerate(forward.batches(len(self), self._cut.at_once)):

            def make(rows: slice = rows) -> dict[str, NDArray]:
                parts = head(self._images.pixels[rows])
                return {str(place): part for place, part in enumerate(parts)}

            parts = self._cache.recall(f"{what}/{self._name}/{number:05}", make)
            yield list(parts.values())


def _custom(network: keras.Model) -> list[ModuleType]:
    """Where `network` has code beyond Keras: all that is loaded and neither installed nor ours.

    A digest knows the names of such layers alone, and their code may stand in any of these.
    """
    layers = [*network.operations, *network._flatten_layers()]  # also those inside of wrappers
    made_of = [*map(type, layers), *(getattr(layer, "activation", None) for layer in layers)]
    names = (getattr(it, "__module__", None) or "" for it in made_of)
    if all(name.partition(".")[0] in ("", "keras") for name in names):
        return []
    installed = {*map(Path, sysconfig.get_paths().values()), Path(files.__file__).parent}
    found = {
        Path(module.__file__): module
        for name, module in list(sys.modules.items())
        if name != "__main__" and getattr(module, "__file__", None)
    }
    return [found[path] for path in sorted(found) if not installed & set(path.parents)]
