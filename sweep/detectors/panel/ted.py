"""TED: an image's ranks among clean images, layer by layer."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.detectors.panel.hidden import Batches, hidden_ends, passes
from sweep.detectors.panel.settings import is_number, require_counts, require_labelled
from sweep.detectors.reference import Reference, Score
from sweep.networks import forward
from sweep.networks.forward import Pixels

Array = NDArray[np.float32]
MAX_DISTANCES = 2**22  # that are held at a time
TIE = 1e-6  # share of an image's square by which squared distances must differ: float rounding


def ted(reference: Reference, *, layers: int = 8, values: int = 4096, ridge: float = 1.0) -> Score:
    """Ranks of the nearest image of its class, layer by layer, far from those of clean images.

    Score: `(k - mu)^T (S + ridge I)^-1 (k - mu)`, a squared Mahalanobis distance. `k` has one rank
    a layer: how many reference images are nearer to the image there (Euclidean distance of the
    activations) than the nearest one of the class that B says of it. `mu` and `S` are mean and
    covariance of the ranks of the reference images themselves, each left out when it is ranked.
    A poisoned image comes from among images of its own class and ends among those of the target.

    Of the hidden layers, that is behind each convolution or Dense, its BatchNormalization and its
    activation, and behind activations of sums, at most `layers` are taken, spread evenly, the last
    one always. Maps are averaged over squares of the smallest side that leaves at most `values` an
    image, or one average a channel. `ridge` is a variance in squares of ranks.

    Needs: clean images with labels, of which B is right on some. Only those are ranked among. Where
    there is none of the class that B says, all others are counted as nearer; a reference image that
    is the only one of its class counts for `mu` and `S` no more.

    Passes: 1 of B an image.

    Source: Mo, Zhang, Zhang, Luo, Sun, Hu, Gao, Xiang, "Robust Backdoor Detection for Deep Learning
    via Topological Evolution Dynamics", IEEE S&P 2024, arXiv 2312.02673.

    Differs: there outliers are told by PCA of the standardised ranks, a sum of distances weighted
    by the share of variance; here by the distance that is stated, and a variance of `ridge` is
    added, because in the last layers clean ranks are all 0. There all layers of a kind are taken,
    activations are not averaged, and an image of a class without reference images has no score.
    """
    require_counts(layers=layers, values=values)
    if not is_number(ridge, 0):
        raise BadInput(f"detector.ridge is {ridge!r}; expected a variance above 0")
    require_labelled(reference)
    ends = hidden_ends(reference.badnet)
    places = np.linspace(len(ends) - 1, 0, min(layers, len(ends))).round().astype(int)[::-1]
    run = passes(reference.badnet, [ends[place] for place in places])

    def features(pixels: Pixels) -> Batches:
        for maps, classes in run(pixels):
            yield [pooled(layer_maps, values) for layer_maps in maps], classes

    bank = _Bank.of(features(reference.pixels), reference.labels)
    clean = _CleanRanks.of(bank.own_ranks(), len(places), ridge)

    def score(pixels: Pixels) -> NDArray[np.float64]:
        scores = [np.zeros(0)]
        for images, classes in features(pixels):
            scores.append(clean.distance(bank.ranks(images, classes)))
        return np.concatenate(scores)

    return score


def pooled(maps: Array, values: int) -> Array:
    """Return `maps`, (n, ..., channels), as at most `values` an image, (n, values).

    They are averaged over squares of the smallest side that brings them to so many, those at the
    far edges over what is there; of more channels than that, one average each is left.
    """
    sizes, side = maps.shape[1:-1], 1
    while prod(-(-size // side) for size in sizes) * maps.shape[-1] > values:
        if side >= max(sizes, default=1):
            break
        side += 1
    if side > 1:
        for axis, size in enumerate(sizes, start=1):
            starts = np.arange(0, size, side)
            counts = np.diff([*starts, size]).reshape(-1, *[1] * (maps.ndim - axis - 1))
            maps = np.asarray(np.add.reduceat(maps, starts, axis=axis) / counts, np.float32)
    return maps.reshape(len(maps), -1)


@dataclass(frozen=True)
class _Bank:
    """Images to rank among: their values at each layer, (m, values) each, and labels, (m,)."""

    layers: list[Array]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, batches: Batches, labels: NDArray[np.int64]) -> "_Bank":
        """The images of `batches` whose class, as B says, is that of `labels`."""
        parts, kept, done = [], [], 0
        for values, classes in batches:
            right = classes == labels[done : done + len(classes)]
            parts.append([layer[right] for layer in values])
            kept.append(classes[right])
            done += len(classes)
        if not any(map(len, kept)):
            raise BadInput(
                f"B is right on none of the {done} reference images; expected images and labels "
                f"as B was trained on"
            )
        return cls(
            [np.concatenate(layer) for layer in zip(*parts, strict=True)], np.concatenate(kept)
        )

    def ranks(
        self,
        values: list[Array],
        classes: NDArray[np.int64],
        own: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """How many of these images are nearer than the nearest of its class, (n, layers).

        `values` are those of n images at each layer; `own`, where given, is the place of each among
        these, which is passed over.
        """
        ranks = np.empty((len(classes), len(self.layers)))
        for rows in forward.batches(len(classes), max(1, MAX_DISTANCES // len(self.labels))):
            others = np.ones((len(classes[rows]), len(self.labels)), dtype=bool)
            if own is not None:
                others[np.arange(len(others)), own[rows]] = False
            same = others & (self.labels == classes[rows, None])
            for number, (layer, images) in enumerate(zip(self.layers, values, strict=True)):
                ranks[rows, number] = _nearer(layer, images[rows], others, same)
        return ranks

    def own_ranks(self) -> NDArray[np.float64]:
        """The ranks of these images, each among the others; those alone in their class left out."""
        _, place, count = np.unique(self.labels, return_inverse=True, return_counts=True)
        own = np.flatnonzero(count[place] > 1)
        return self.ranks([layer[own] for layer in self.layers], self.labels[own], own)


def _nearer(
    layer: Array, images: Array, others: NDArray[np.bool_], same: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """How many `others` of `layer` are nearer to each of `images` than the nearest of `same`."""
    bank, wanted = layer.astype(np.float64), images.astype(np.float64)
    squares = np.square(wanted).sum(axis=1)
    distances = squares[:, None] + np.square(bank).sum(axis=1) - 2 * wanted @ bank.T
    nearest = np.where(same, distances, np.inf).min(axis=1)
    counts: NDArray[np.int64] = (others & (distances < (nearest - TIE * squares)[:, None])).sum(1)
    return counts


@dataclass(frozen=True)
class _CleanRanks:
    """Mean, (layers,), and inverse covariance, (layers, layers), of ranks of clean images."""

    mean: NDArray[np.float64]
    inverse: NDArray[np.float64]

    @classmethod
    def of(cls, ranks: NDArray[np.float64], layers: int, ridge: float) -> "_CleanRanks":
        """Those of `ranks`, (n, layers); of no image a mean of 0."""
        mean = ranks.mean(axis=0) if len(ranks) else np.zeros(layers)
        covariance: NDArray[np.float64] = (ranks - mean).T @ (ranks - mean) / max(1, len(ranks))
        inverse = np.linalg.inv(covariance + ridge * np.eye(layers))
        return cls(mean, np.asarray(inverse, np.float64))

    def distance(self, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """The squared distance of `ranks`, (n, layers), from these, (n,)."""
        away = ranks - self.mean
        distance: NDArray[np.float64] = np.einsum("ni,ij,nj->n", away, self.inverse, away)
        return np.maximum(distance, 0)
