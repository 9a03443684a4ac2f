"""What a cut network makes of one set of images: maps, scores, predictions; made once and kept.

Whatever is asked for is recalled from the cache, by digest of network, images, layer, and of the
code that makes it. So cells that differ in their order share the part of the network before the
cut, and cells that differ in their stop share the curve.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from types import ModuleType
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from sweep import files
from sweep.cache import Cache
from sweep.data import Images
from sweep.evaluation.curve import Channels, Scores, steps_of
from sweep.evaluation.detection import confidence_drop, jensen_shannon
from sweep.files import VERSIONS
from sweep.networks import forward, outputs
from sweep.networks.custom_objects import custom_modules
from sweep.networks.forward import Progress, no_progress, scaled
from sweep.pruning import requirements
from sweep.pruning.evidence import Evidence, LazyBatches, Oracle, Order, Seed, Training
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Array, Cut
from sweep.training import Defender

#: The packages that whatever is kept depends on, beside network, images and settings.
MADE_BY = ("data", "evaluation", "networks", "pruning")

Boundary = list[Array]  # what crosses a cut: maps, then the tensors of the bypass
Pairs: TypeAlias = "tuple[()] | tuple[LayerActivations, LayerActivations]"  # clean, poisoned
TO_CUT = 0.5  # of an image's work, as progress counts it, is the pass to the cut


class Activations:
    """What crosses `cut` for `images`, and what the network says of them as it is pruned there.

    Images without a key are not kept.
    """

    _kept_as = "boundary"  # what crosses the cut, in the cache

    def __init__(self, cut: Cut | JointCut, images: Images, cache: Cache | None = None) -> None:
        self.cut = cut
        self.images = images
        self._cache = Cache() if cache is None or not images.key else cache

    def __len__(self) -> int:
        return len(self.images)

    @property
    def layers(self) -> "list[LayerActivations]":
        """The activations at each layer of the cut, of the same images, for orders."""
        cache, images = self._cache, self.images
        return [LayerActivations(part, images, cache, ranked=True) for part in self.cut.parts]

    def means(self) -> dict[str, NDArray[np.float64]]:
        """The channels' mean maps by layer, each (..., channels)."""
        return {layer.cut.layer: layer.mean() for layer in self.layers}

    def defender(self, seed: int) -> Defender:
        """A defender who has these images, and the network that is cut."""
        return Defender(self.cut.network, self.images, seed, self._cache)

    def predict_steps(
        self, channels: Channels, progress: Progress = no_progress, step: float = 1
    ) -> NDArray[np.int32]:
        """Predicted classes as `channels` are pruned, (steps, n); steps as of `curve.steps_of`.

        `progress` is called with the number of images that are done, of a batch by and by.
        """
        steps = steps_of(len(channels), step)

        def compute() -> NDArray[np.int32]:
            predicted = np.empty((len(steps), len(self)), dtype=np.int32)
            start = 0
            for maps, *bypass in self._tail_batches(scaled(progress, TO_CUT)):
                bar = scaled(progress, (1 - TO_CUT) * len(maps) / len(channels))
                stop = start + len(maps)
                predicted[:, start:stop] = self.cut.predict_steps(maps, bypass, channels, step, bar)
                start = stop
            return predicted

        return self.get_or_compute("predictions", self._pruning(channels, step), compute)

    def knows_steps(self, channels: Channels, step: float = 1) -> bool:
        """Whether what `predict_steps` gives is kept."""
        return self._cache.holds(self._key("predictions", self._pruning(channels, step)))

    @property
    def is_passed(self) -> bool:
        """Whether what crosses the cut is kept, of the last images at least."""
        last = (len(self) - 1) // self.cut.batch_size
        return self._cache.holds(self._batch_key(self._kept_as, last))

    def disagreement(
        self, channels: Channels, progress: Progress = no_progress
    ) -> NDArray[np.float64]:
        """How far B and B', in which `channels` are pruned, are apart on each image, (2, n).

        By `detection.confidence_drop`, and by `detection.jensen_shannon`.
        """

        def compute() -> NDArray[np.float64]:
            batches = []
            for maps, *bypass in self._tail_batches():
                badnet, repaired = (
                    outputs.probabilities(self.cut.network, self.cut.scores(maps, bypass, pruned))
                    for pruned in (channels[:0], channels)
                )
                drop = confidence_drop(badnet, repaired)
                batches.append([drop, jensen_shannon(badnet, repaired)])
                progress(len(maps))
            return np.concatenate(batches, axis=1)

        return self.get_or_compute("disagreement", self._pruning(np.sort(channels)), compute)

    def get_or_compute(
        self, what: str, settings: Any, compute: Callable[[], NDArray], *code: ModuleType | str
    ) -> NDArray:
        """The array that `settings` and `code` make of these activations, kept under its name."""
        key = self._key(what, settings, *code)
        return self._cache.get_or_compute(key, lambda: {what: compute()})[what]

    def _pruning(self, channels: Channels, step: float = 1) -> list[Any]:
        return [self.cut.semantics, channels.tolist(), steps_of(len(channels), step).tolist()]

    def _key(self, what: str, settings: Any, *code: ModuleType | str) -> str:
        return f"{what}/{files.key([self.name, settings], *code)}"

    def _batch_key(self, what: str, number: int) -> str:
        return f"{what}/{self.name}/{number:05}"

    @cached_property
    def name(self) -> str:
        """A digest of all that these activations depend on."""
        network = self.cut.network
        # not the prune node's name: one activation layer may be called behind several layers
        images = self.images.key or uuid4().hex  # what has no key is like nothing else
        made_of = [self.cut.digest, images, self.cut.layer, self.cut.unit]
        return files.key([*made_of, VERSIONS], *MADE_BY, *custom_modules(network))

    def _boundary_batches(self) -> Iterator[Boundary]:
        """What crosses the cut, batch by batch."""
        return self._kept_batches(self.cut.boundary, "boundary")

    def _tail_batches(self, progress: Progress = no_progress) -> Iterator[Boundary]:
        """The same in batches as large as the part behind the cut takes: it is the smaller one."""
        waiting: list[Boundary] = []
        for batch in self._boundary_batches():
            waiting.append(batch)
            progress(len(batch[0]))
            if sum(len(maps) for maps, *_ in waiting) >= self.cut.tail_batch_size:
                yield _concatenated(waiting)
                waiting = []
        if waiting:
            yield _concatenated(waiting)

    def _kept_batches(self, head: Callable[[Array], Boundary], what: str) -> Iterator[Boundary]:
        """What `head` makes of the images, batch by batch, each kept."""
        for number, rows in enumerate(forward.batches(len(self), self.cut.batch_size)):

            def compute(rows: slice = rows) -> dict[str, NDArray]:
                tensors = head(self.images.pixels[rows])
                return {str(place): tensor for place, tensor in enumerate(tensors)}

            yield [*self._cache.get_or_compute(self._batch_key(what, number), compute).values()]


class LayerActivations(Activations):
    """Activations at a single layer; iterated, its maps, (n, ..., channels), batch by batch.

    The maps are those at the prune node. Where the images are `ranked` these are what is kept;
    where not, what crosses the cut, which is behind the poolings that follow, and smaller.
    """

    cut: Cut

    def __init__(
        self, cut: Cut, images: Images, cache: Cache | None = None, *, ranked: bool = False
    ) -> None:
        super().__init__(cut, images, cache)
        if ranked:
            self._kept_as = "maps"

    def __iter__(self) -> Iterator[Array]:
        return (maps for maps, *_ in self._kept_batches(self.cut.maps, "maps"))

    @property
    def layers(self) -> "list[LayerActivations]":
        """These activations: there is one layer."""
        return [self]

    def with_images(self, images: Images) -> "LayerActivations":
        """The activations of other images at the same cut."""
        return LayerActivations(self.cut, images, self._cache, ranked=True)

    def with_cut(self, cut: Cut) -> "LayerActivations":
        """The activations of the same images at another cut; nothing of it is kept."""
        return LayerActivations(cut, self.images, ranked=True)

    def mean(self) -> NDArray[np.float64]:
        """The channels' mean maps over all images, (..., channels)."""

        def compute() -> NDArray[np.float64]:
            sums: NDArray = sum(maps.sum(axis=0, dtype=np.float64) for maps in self)
            return sums / len(self)

        return self.get_or_compute("mean", [], compute)

    def evidence(
        self,
        seed: Seed,
        progress: Progress = no_progress,
        pairs: Pairs = (),
        defender: Defender | None = None,
    ) -> Evidence:
        """All that an order may see of these, and with `pairs` what an oracle sees beside.

        With a `defender` it can train.
        """
        producer = self.cut.producer
        preactivations = self._lazily(producer.preactivations)
        gradients = partial(self._gradients, seed, progress)
        evidence = Evidence(
            maps=self,
            channels=self.cut.channels,
            weights=producer.weights,
            seed=seed,
            progress=progress,
            preactivations=preactivations if producer.has_preactivation else None,
            norm=producer.norm(self._lazily(producer.norm_inputs)),
            labels=self.images.labels,
            gradients=gradients if producer.differentiable else None,
            training=Training(defender, self.cut) if defender else None,
        )
        if not pairs:
            return evidence
        clean, poisoned = (images.evidence(seed, progress) for images in pairs)
        return Oracle.of_pairs(evidence, clean=clean, poisoned=poisoned)

    def scores(
        self,
        order: Order,
        seed: Seed,
        progress: Progress = no_progress,
        pairs: Pairs = (),
        defender: Defender | None = None,
    ) -> Scores:
        """What `order` makes of the evidence, (channels,)."""
        settings = [order, seed, [images.name for images in pairs]]
        code = requirements.code_of(order)

        def compute() -> Scores:
            return np.asarray(order(self.evidence(seed, progress, pairs, defender)))

        return self.get_or_compute("scores", settings, compute, *code)

    def _boundary_batches(self) -> Iterator[Boundary]:
        if self._kept_as == "boundary":
            yield from super()._boundary_batches()
            return
        for maps, *bypass in self._kept_batches(self.cut.maps, "maps"):
            yield [self.cut.maps_at_mask(maps), *bypass]

    def _lazily(self, values: Callable[[Array], Array]) -> LazyBatches:
        """`values` of the images, batch by batch."""
        batches = partial(forward.batches, len(self), self.cut.batch_size)
        return LazyBatches(lambda: (values(self.images.pixels[rows]) for rows in batches()))

    def _gradients(self, seed: Seed, progress: Progress, size: int) -> Iterator[Array]:
        """The gradients of batches of `size` images, drawn by seed, by what makes the channels."""
        permutation = np.random.default_rng(seed).permutation(len(self))
        for batch in forward.batches(len(self), size):
            rows = permutation[batch]
            pixels = self.images.pixels.take(rows, axis=0)[:]
            yield self.cut.producer.gradients(pixels, self.images.labels[rows])
            progress(len(rows))


def activations_of(
    cut: Cut | JointCut, images: Mapping[str, Images], cache: Cache | None = None
) -> dict[str, Activations]:
    """The activations of sets of images at a cut, by their name; of them "valid" are ranked."""
    if isinstance(cut, JointCut):
        return {name: Activations(cut, each, cache) for name, each in images.items()}
    return {
        name: LayerActivations(cut, each, cache, ranked=name == "valid")
        for name, each in images.items()
    }


def _concatenated(batches: list[Boundary]) -> Boundary:
    """Several batches as one."""
    return [np.concatenate(tensors) for tensors in zip(*batches, strict=True)]
