"""What an order may see, and how it says what it needs of that.

`Evidence` is all that a defender has: clean validation images at the cut, the weights there.
Poisoned images are in `Oracle` alone, which is made for no order but those that declare it: they
show what is possible, are no defences, and are marked in every table.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.evaluation.curve import Scores

Array = NDArray[np.float32]
Batches = Iterable[Array]
Order = Callable[..., Scores]


@dataclass(frozen=True)
class Each:
    """Batches that are made anew whenever they are iterated."""

    make: Callable[[], Iterable[Array]]

    def __iter__(self) -> Iterator[Array]:
        return iter(self.make())


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization of the channels: gamma (x - mean) / sqrt(variance + epsilon) + beta.

    gamma, beta, and the running mean and variance are float32 (channels,); `inputs` is what it
    makes of the clean validation images' x, in batches of float32 (images, ..., channels).
    """

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    inputs: Batches

    def of(self, channels: NDArray[np.int64], inputs: Batches) -> "Norm":
        """The same of some of the channels alone, whose `inputs` these are."""
        mine = (self.gamma, self.beta, self.mean, self.variance)
        return Norm(*(values[channels] for values in mine), inputs)


@dataclass(frozen=True)
class Training:
    """What an order trains with: a `defender` (defender.Defender), and its network's `cut`.

    The network is not changed: an order trains copies, or masks.
    """

    defender: Any
    cut: Any


@dataclass(frozen=True)
class Evidence:
    """All that an order may see.

    maps: activations of the clean validation images at the cut, in batches of float32
        (images, ..., channels); they need not fit into memory, so `per_image` reads them.
    channels: how many there are.
    weights: what makes each channel, (..., inputs, channels), without bias; None where the cut
        layer mixes several producers (a residual sum).
    seed: the run's one integer.
    progress: told the number of images whenever a batch was read.
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
    seed: int
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
        told = []
        for maps in self.maps if of is None else of:
            told.append(statistic(maps.reshape(len(maps), -1, maps.shape[-1])))
            self.progress(len(maps))
        return np.concatenate(told)

    def of(self, channels: NDArray[np.int64]) -> "Evidence":
        """The same of some of the channels alone, as if there were no others.

        Training is not among it: a network cannot be trained as if.
        """

        def pick(batches: Batches | None) -> Batches | None:
            if batches is None:
                return None
            return Each(lambda: (some[..., channels] for some in batches))

        gradients, norm = self.gradients, self.norm
        return replace(
            self,
            maps=pick(self.maps),
            channels=len(channels),
            weights=None if self.weights is None else self.weights[..., channels],
            preactivations=pick(self.preactivations),
            norm=None if norm is None else norm.of(channels, pick(norm.inputs)),
            gradients=None if gradients is None else lambda size: pick(gradients(size)),
            training=None,
        )


@dataclass(frozen=True, kw_only=True)
class Oracle(Evidence):
    """Evidence that no defender has: also of poisoned validation images.

    `poisoned` is of these, `clean` of the images that they were made from, in the same order.
    """

    poisoned: Evidence
    clean: Evidence

    def of(self, channels: NDArray[np.int64]) -> "Oracle":
        """The same of some of the channels alone, as if there were no others."""
        poisoned, clean = self.poisoned.of(channels), self.clean.of(channels)
        return replace(super().of(channels), poisoned=poisoned, clean=clean)
