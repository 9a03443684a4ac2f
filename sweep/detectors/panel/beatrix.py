"""Beatrix: Gram features of feature maps, outside of what clean images of the class have."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.detectors.panel.hidden import Batches, hidden_ends, passes
from sweep.detectors.panel.settings import is_number, require_counts, require_labelled
from sweep.detectors.reference import Reference, Score
from sweep.networks import forward
from sweep.networks.forward import Pixels
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import CONVOLUTIONS

Array = NDArray[np.float64]
MAX_IMAGES = 1500  # whose Gram features are held
IMAGES_AT_ONCE = 64  # whose Gram matrices are worked out together
TINY = 1e-6  # added to the bounds that deviations are divided by


def beatrix(
    reference: Reference,
    *,
    powers: int = 8,
    width: float = 10.0,
    least: int = 30,
    channels: int = 64,
) -> Score:
    """Gram features of the last convolution's maps outside of the band of clean images.

    Score: the mean over powers p = 1 .. `powers` and pairs of channels i <= j of
    `(low - G)_+ / (|low| + 1e-6) + (G - high)_+ / (|high| + 1e-6)`. `G_ij` is
    `sign(s) |s|^(1/p)` of `s`, the sum over positions of `F_i^p F_j^p`, F being the feature maps.
    `low` and `high` are the median of that G less and plus `width` times its median absolute
    deviation (MAD), over clean images of the class that B says of the image. A trigger makes
    channels fire together that do not for that class.

    The maps are those of the last convolution behind its BatchNormalization and activation, or
    without one of the last hidden layer, each unit a channel of one position.

    Needs: clean images with labels, some 30 a class. A class of fewer than `least` takes the band
    of all classes' images together.

    Passes: 1 of B an image.

    Source: Ma, Wang, Sun, Xue, Wen, Xiang, "The 'Beatrix' Resurrections: Robust Backdoor Detection
    via Gram Matrices", NDSS 2023, arXiv 2209.11715.

    Differs: there the layer is chosen for the architecture, the bands of few images are not
    replaced, and the sum is divided by half the square of the number of channels; here it is a mean
    over pairs. Of more than `channels` channels so many are taken, spread evenly, and of more than
    1,500 images so many: the features grow with the square of the channels. The threshold, there
    from clean images in turn left out, is not set here, and no class is named as the target.
    """
    require_counts(powers=powers, least=least, channels=channels)
    if width != 0 and not is_number(width, 0):
        raise BadInput(f"detector.width is {width!r}; expected a number of deviations, 0 or more")
    require_labelled(reference)
    run = passes(reference.badnet, [_layer(reference)])
    rows = _spread(len(reference.labels), MAX_IMAGES)
    clean = np.concatenate(
        [gram(maps, powers, channels) for maps in _maps_of(rows, run(reference.pixels))]
    )
    bands = _Bands.of(clean, reference.labels[rows], width, least)

    def score(pixels: Pixels) -> Array:
        scores = [np.zeros(0)]
        for (maps,), classes in run(pixels):
            scores.append(bands.deviation(gram(maps, powers, channels), classes))
        return np.concatenate(scores)

    return score


def _maps_of(rows: NDArray[np.int64], batches: Batches) -> Iterator[NDArray[np.float32]]:
    """The maps of the images of these numbers, of all that `batches` bring."""
    done = 0
    for (maps,), classes in batches:
        yield maps[rows[(rows >= done) & (rows < done + len(classes))] - done]
        done += len(classes)


def gram(maps: NDArray[np.float32], powers: int, channels: int) -> Array:
    """Gram features of `maps`, (n, ..., channels), of each power, (n, powers * pairs).

    Pairs are those of at most `channels` channels, i <= j, row by row.
    """
    taken = maps.reshape(len(maps), -1, maps.shape[-1])[..., _spread(maps.shape[-1], channels)]
    slices = forward.batches(len(taken), IMAGES_AT_ONCE)
    parts = [_gram(taken[rows].astype(np.float64), powers) for rows in slices]
    return np.concatenate(parts or [_gram(taken.astype(np.float64), powers)])


def _gram(maps: Array, powers: int) -> Array:
    """As `gram`, of `maps` (n, positions, channels); scaled, so that no power is lost."""
    largest = np.abs(maps).max(axis=1, keepdims=True)
    unit = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    scale = largest.swapaxes(1, 2) * largest
    first, second = np.triu_indices(maps.shape[-1])
    features = []
    for power in range(1, powers + 1):
        raised = unit**power
        sums = raised.swapaxes(1, 2) @ raised
        rooted = np.sign(sums) * np.abs(sums) ** (1 / power) * scale
        features.append(rooted[:, first, second])
    return np.concatenate(features, axis=1)


@dataclass(frozen=True)
class _Bands:
    """Bounds of each feature, (2, features): of some classes, and of all images together."""

    of_class: dict[int, Array]
    of_all: Array

    @classmethod
    def of(cls, features: Array, labels: NDArray[np.int64], width: float, least: int) -> "_Bands":
        """Those of clean `features`, (n, features), of each class that has `least` images."""
        found, counts = np.unique(labels, return_counts=True)
        of_class = {
            int(label): _band(features[labels == label], width) for label in found[counts >= least]
        }
        return cls(of_class, _band(features, width))

    def deviation(self, features: Array, classes: NDArray[np.int64]) -> Array:
        """How far images are outside of the bands of their `classes`, (n,)."""
        deviations = np.empty(len(features))
        for row, (image, label) in enumerate(zip(features, classes, strict=True)):
            low, high = self.of_class.get(int(label), self.of_all)
            below = np.maximum(low - image, 0) / (np.abs(low) + TINY)
            above = np.maximum(image - high, 0) / (np.abs(high) + TINY)
            deviations[row] = (below + above).mean()
        return deviations


def _band(features: Array, width: float) -> Array:
    median = np.median(features, axis=0)
    away = width * np.median(np.abs(features - median), axis=0)
    return np.stack([median - away, median + away])


def _layer(reference: Reference) -> Node:
    """The node that makes the maps."""
    graph = Graph(reference.badnet)
    ends = hidden_ends(reference.badnet)
    for node in reversed(graph.nodes):
        if type(node.operation) in CONVOLUTIONS and graph.fused_end(node) in ends:
            return graph.fused_end(node)
    return ends[-1]


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the numbers below `count`, spread evenly."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
