"""What an order may see, of a defender and of an oracle.

`Evidence` is all that a defender has: clean validation images at the cut, the weights there.
Poisoned images are in `Oracle` alone, which is made for no order but those that declare it: they
show what is possible, are no defences, and are marked in every table.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sweep.evaluation.curve import Scores
from sweep.pruning.layer_cut import Cut
from sweep.pruning.producer import Array, Batches, Norm
from sweep.training import Defender

Order = Callable[..., Scores]
Seed = int | Sequence[int]


@dataclass(frozen=True)
class LazyBatches:
    """Batches that are made anew whenever they are iterated."""

    make: Callable[[], Iterable[Array]]

    def __iter__(self) -> Iterator[Array]:
        return iter(self.make())


@dataclass(frozen=True)
class Training:
    """What an order trains with: a `defender`, and the `cut` of its network.

    The network is not changed: an order trains copies, or masks.
    """

    defender: Defender
    cut: Cut


Value = TypeVar("Value")


def required(value: Value | None) -> Value:
    """The `value` of an `Evidence` that an order needs, which is there if it declared that.

    Raises ValueError for None: `@needs` does not name it.
    """
    if value is None:
        raise ValueError("an order reads what it does not declare: name it in its @needs")
    return value


@dataclass(frozen=True)
class Evidence:
    """All that an order may see.

    maps: activations of the clean validation images at the cut, in batches of float32
        (images, ..., channels); they need not fit into memory, so `per_image` reads them.
    channels: how many there are.
    weights: what makes each channel, (..., inputs, channels), without bias; None where the cut
        layer mixes several producers (a residual sum).
    seed: the run's one integer; of several layers, with the layer's number.
    progress: is called with the number of images whenever a batch was read.
    preactivations: like maps, before the activation (behind the BatchNormalization, where one
        stands between); None where that is not known.
    norm: the last BatchNormalization of the channels at or before the cut, None without one.
    labels: classes of the clean validation images, int64 (images,), in the order of the maps.
    gradients: `gradients(size)` gives for one batch of `size` clean validation images after the
        other, drawn by seed, the gradient of their mean cross-entropy by `weights`, in its shape.
    """

    maps: Batches
    channels: int
    weights: Array | None
    seed: Seed
    progress: Callable[[int], object] = field(default=lambda images: None, compare=False)
    preactivations: Batches | None = None
    norm: Norm | None = None
    labels: NDArray[np.int64] | None = None
    gradients: Callable[[int], Batches] | None = None
    training: Training | None = field(default=None, compare=False)

    def per_image(
        self, statistic: Callable[[Array], NDArray], of: Batches | None = None
    ) -> NDArray:
        """A statistic of every image, (images, ...), of maps as (images, positions, channels).

        `of` are other batches than the maps, as the preactivations.

        >>> evidence = Evidence([np.arange(12.0).reshape(2, 3, 2)], 2, None, 0)
        >>> evidence.per_image(lambda maps: maps.max(axis=1))
        array([[ 4.,  5.],
               [10., 11.]])
        """
        statistics = []
        for maps in self.maps if of is None else of:
            statistics.append(statistic(maps.reshape(len(maps), -1, maps.shape[-1])))
            self.progress(len(maps))
        return np.concatenate(statistics)

    def select(self, channels: NDArray[np.int64]) -> "Evidence":
        """The evidence of some of the channels alone, as if there were no others.

        Training is not among it: a network cannot be trained as if.
        """

        def selected(batches: Batches) -> Batches:
            return LazyBatches(lambda: (values[..., channels] for values in batches))

        weights, preactivations = self.weights, self.preactivations
        norm, gradients = self.norm, self.gradients
        return replace(
            self,
            maps=selected(self.maps),
            channels=len(channels),
            weights=None if weights is None else weights[..., channels],
            preactivations=None if preactivations is None else selected(preactivations),
            norm=None if norm is None else norm.select(channels, selected(norm.inputs)),
            gradients=None if gradients is None else lambda size: selected(gradients(size)),
            training=None,
        )


@dataclass(frozen=True, kw_only=True)
class Oracle(Evidence):
    """Evidence that no defender has: also of poisoned validation images.

    `poisoned` is of these, `clean` of the images that they were made from, in the same order.
    """

    poisoned: Evidence
    clean: Evidence

    @classmethod
    def of_pairs(cls, evidence: Evidence, clean: Evidence, poisoned: Evidence) -> "Oracle":
        """All of `evidence`, a defender's, and the pairs of `clean` and `poisoned` images."""
        defenders = {field.name: getattr(evidence, field.name) for field in fields(Evidence)}
        return cls(**defenders, clean=clean, poisoned=poisoned)

    def select(self, channels: NDArray[np.int64]) -> "Oracle":
        """The evidence of some of the channels alone, as if there were no others."""
        return Oracle.of_pairs(
            super().select(channels),
            clean=self.clean.select(channels),
            poisoned=self.poisoned.select(channels),
        )
