"""Give every BatchNormalization the statistics of clean images: what a trigger left there goes."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import terminal
from sweep.networks import clone, forward
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.layer_types import is_norm
from sweep.pruning import needs
from sweep.training import Defender


@needs("norm")
def recalibrate(defender: Defender) -> keras.Model:
    """Set every BatchNormalization to the mean and variance of what reaches it on clean images.

    One after the other from the input on, so that each is told of what those before it, set anew,
    make of all clean validation images. A trigger's share in the statistics is lost with that.
    Raises NotApplicable without a BatchNormalization.
    """
    network = clone(defender.network)
    norms = norms_of(network)
    layers = list(dict.fromkeys(node.operation for node in norms))
    with terminal.progress("recalibrate", len(layers), "layers") as done:
        for layer in layers:
            inputs = [node.input_tensors[0] for node in norms if node.operation is layer]
            mean, variance = _moments(network, inputs, defender.pixels)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
            done(1)
    return network


def norms_of(network: keras.Model) -> list[Node]:
    """The calls of BatchNormalization in `network`, in forward order."""
    return [node for node in Graph(network).nodes if is_norm(node.operation)]


def _moments(
    network: keras.Model, tensors: Sequence[Tensor], pixels: forward.Pixels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each channel of some tensors of `network` on these images."""
    extract = forward.feature_extractor(network, tensors)
    sums = []
    for rows in forward.batches(len(pixels), forward.batch_size(Graph(network).tensors)):
        for values in map(np.asarray, extract(pixels[rows])):
            flat = values.reshape(-1, values.shape[-1])
            counts = np.full(flat.shape[-1], len(flat))
            total = flat.sum(axis=0, dtype=np.float64)
            squares = np.square(flat).sum(axis=0, dtype=np.float64)
            sums.append([counts, total, squares])
    counts, total, squares = np.sum(sums, axis=0)
    mean = total / counts
    return mean, np.maximum(squares / counts - mean**2, 0)
