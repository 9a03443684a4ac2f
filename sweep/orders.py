"""Which channel first: an order scores the channels of the cut layer from clean evidence.

An order is a pure function `(evidence: Evidence, ...) -> scores`, float array of shape (channels,);
the lowest score is pruned first (`ranking`). What an order needs beyond activations it declares
with `@needs(...)`, beside its formula.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep import NotApplicable

Scores = NDArray[np.float64]
Channels = NDArray[np.int64]
Order = Callable[..., Scores]

#: Everything an order may declare, and how its absence reads in a sentence.
NEEDS = {"weights": "the weights of one convolution or Dense layer that produces the channels"}


@dataclass(frozen=True)
class Evidence:
    """All that an order may see.

    maps: activations of the clean validation images at the cut, in batches of float32
        (images, ..., channels); they need not fit into memory, so `per_image` reads them.
    channels: how many there are.
    weights: what makes each channel, (..., channels); None where the cut layer mixes several
        producers (a residual sum).
    seed: the run's one integer.
    progress: told the number of images whenever a batch was read.
    """

    maps: Iterable[NDArray[np.float32]]
    channels: int
    weights: NDArray[np.float32] | None
    seed: int
    progress: Callable[[int], object] = field(default=lambda images: None, compare=False)

    def per_image(self, statistic: Callable[[NDArray[np.float32]], NDArray]) -> NDArray:
        """A statistic of every image, (images, ...), of maps as (images, positions, channels).

        >>> evidence = Evidence([np.arange(12.0).reshape(2, 3, 2)], 2, None, 0)
        >>> evidence.per_image(lambda maps: maps.max(axis=1))
        array([[ 4.,  5.],
               [10., 11.]])
        """
        told = []
        for maps in self.maps:
            told.append(statistic(maps.reshape(len(maps), -1, maps.shape[-1])))
            self.progress(len(maps))
        return np.concatenate(told)


def needs(*what: str) -> Callable[[Order], Order]:
    """Declare what an order needs beside clean activations; see `NEEDS`."""
    if not set(what) <= set(NEEDS):
        raise ValueError(f"an order can declare {set(NEEDS)}, not {set(what)}")

    def declare(order: Order) -> Order:
        order.needs = frozenset(what)
        return order

    return declare


def module_of(order: Order) -> ModuleType:
    """The module that `order` is written in; also of a `functools.partial` as Hydra makes it."""
    while isinstance(order, partial):
        order = order.func
    return sys.modules[order.__module__]


def needs_of(order: Order) -> frozenset[str]:
    """What `order` declared; also of a `functools.partial` as Hydra makes it."""
    while isinstance(order, partial):
        order = order.func
    return getattr(order, "needs", frozenset())


def require(order: Order, layer: str, there: Mapping[str, Any]) -> None:
    """Raise NotApplicable where `order` needs what is None, at `layer`, of all that is `there`."""
    for need in sorted(needs_of(order)):
        if there[need] is None:
            raise NotApplicable(
                f"this order needs {NEEDS[need]}, and at {layer!r} there is none; "
                f"take another order or another layer"
            )


def ranking(scores: ArrayLike) -> Channels:
    """The channels by rising score, first pruned first; ties break by channel number.

    >>> ranking([0.5, 0.0, 2.0, 0.0])
    array([1, 3, 0, 2])
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(
            f"an order must give one finite score a channel, got shape {scores.shape} "
            f"with {np.count_nonzero(~np.isfinite(scores))} values not finite"
        )
    return np.argsort(scores, kind="stable")


def mean_activation(evidence: Evidence) -> Scores:
    """Mean activation over images and positions, lowest first: channels asleep on clean images.

    Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning", RAID 2018, arXiv 1805.12185.
    """
    return evidence.per_image(lambda maps: maps.mean(axis=1, dtype=np.float64)).mean(axis=0)


@needs("weights")
def l1_norm(evidence: Evidence, *, descending: bool = False) -> Scores:
    """L1 norm of each channel's filter (without bias), lowest first, or highest if `descending`.

    Lowest first is compression's order: Li et al., "Pruning Filters for Efficient ConvNets",
    ICLR 2017, arXiv 1608.08710. Highest first looks for backdoor channels, which often have larger
    weights: Zhu et al., ICCV 2023, arXiv 2304.11823.
    """
    kernel = np.abs(evidence.weights, dtype=np.float64)
    norms = kernel.reshape(-1, kernel.shape[-1]).sum(axis=0)
    return -norms if descending else norms


def random(evidence: Evidence) -> Scores:
    """A permutation drawn by the run's seed: the control that every comparison needs."""
    return np.random.default_rng(evidence.seed).permutation(evidence.channels).astype(np.float64)
