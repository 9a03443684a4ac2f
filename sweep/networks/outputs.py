"""What the scores of a network mean: probabilities, or what becomes them."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import LAYERS, is_softmax

TINY = 1e-30  # in place of a probability of 0 under a logarithm
#: What names the Dense that makes two scores of a single unit.
FROZEN_ADAPTER = "two_scores"


def known_values(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> dict[int, Tensor]:
    """`values` by id of their tensors, as `Graph.run` takes them."""
    return dict(zip(map(id, tensors), values, strict=True))


def probabilities(network: keras.Model, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probability of each class, (n, classes), from the `scores` that `network` gives.

    A softmax's are probabilities, a sigmoid's are brought to a sum of 1, all else are logits.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if score_kind(network) == "logits":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / np.maximum(scores.sum(axis=1, keepdims=True), TINY)


def cross_entropy(
    network: keras.Model, pixels: Tensor, labels: Tensor, *, training: bool = False
) -> Tensor:
    """Return the mean cross-entropy of `network` on images with `labels`; differentiable.

    In inference, or `training`: dropout drops, and BatchNormalization takes these images' means.
    """
    return -tf.reduce_mean(log_likelihood(network, pixels, labels, training=training))


def log_likelihood(
    network: keras.Model, pixels: Tensor, labels: Tensor, *, training: bool = False
) -> Tensor:
    """Logarithm of the probability of its label, for each image, (n,); as `cross_entropy`."""
    return of_labels(log_probabilities(network, pixels, training=training), labels)


def of_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """Of `scores`, (n, classes), that of each image's label, (n,)."""
    return tf.gather(scores, labels, batch_dims=1)


def log_probabilities(network: keras.Model, pixels: Tensor, *, training: bool = False) -> Tensor:
    """Logarithm of the probability of each class, (n, classes), whatever the scores mean."""
    graph = Graph(network)
    known = {id(network.inputs[0]): pixels}
    return run_to_log_probabilities(
        graph, graph.nodes[1:], known, training=training
    )  # the first is the input


def run_to_log_probabilities(
    graph: Graph, nodes: Sequence[Node], known: dict[int, Tensor], *, training: bool = False
) -> Tensor:
    """As `log_probabilities`, run from within: `nodes` are the last ones, `known` as `Graph.run`'s.

    A softmax at the end is left out, so that no probability is rounded to 0 on the way.
    """
    *nodes, last = nodes
    ends_in_softmax = is_softmax(last.operation)
    graph.run(nodes, known, training=training)
    graph.run([last], known, without_activation=ends_in_softmax, training=training)
    scores = tf.cast(known[id(graph.network.outputs[0])], tf.float32)
    if ends_in_softmax or score_kind(graph.network) == "logits":
        return tf.nn.log_softmax(scores)
    return tf.math.log(scores / tf.reduce_sum(scores, axis=1, keepdims=True) + TINY)


def is_frozen_adapter(layer: Layer) -> bool:
    """Return whether `layer` is the Dense that makes two scores of one unit (`loading`).

    Its weights are fixed by what the unit means: nothing may train them.
    """
    return type(layer) is LAYERS.Dense and layer.name.startswith(FROZEN_ADAPTER)


def score_kind(network: keras.Model) -> str:
    """Return what the scores are: "softmax", "sigmoid" or "logits"."""
    last, before = Graph(network).last_two_operations()
    if is_frozen_adapter(last):
        last = before
    if is_softmax(last) or type(last).__name__ == "Softmax":  # the layer, or the operation
        return "softmax"
    sigmoid = getattr(last, "activation", None) is keras.activations.sigmoid
    return "sigmoid" if sigmoid or type(last).__name__ == "Sigmoid" else "logits"
