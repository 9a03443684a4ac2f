"""A step by which a network learns to look where its teacher does."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from sweep.networks import outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Tensor
from sweep.networks.layer_types import CONVOLUTIONS, is_sum
from sweep.training.rivals.descent import Descent, Step
from sweep.training.trainee import soft_cross_entropy

EPSILON = 1e-6


def plain(descent: Descent) -> Step:
    """Learn by the gradient of the mean cross-entropy."""

    def step(pixels: Tensor, labels: Tensor, rate: Tensor) -> None:
        descent.apply(descent.gradients(lambda: descent.cross_entropy(pixels, labels)), rate)

    return step


def distilling(descent: Descent, teacher: keras.Model, betas: Sequence[float]) -> Step:
    """Learn labels, and the attention maps of `teacher`, a network of the same graph.

    The mean square of what the maps of the last groups (`group_ends`) differ by is added to the
    loss, times its beta, the last one's last.
    """
    graph, count = Graph(descent.network), len(betas)
    ends = group_ends(graph)[-count:]
    look = keras.Model(teacher.inputs[0], group_ends(Graph(teacher))[-count:])
    weights = list(betas)[-len(ends) :]

    def step(pixels: Tensor, labels: Tensor, rate: Tensor) -> None:
        taught = [attention(maps) for maps in keras.tree.flatten(look(pixels, training=False))]

        def loss() -> Tensor:
            known = {id(descent.network.inputs[0]): pixels}
            logs = outputs.run_to_log_probabilities(graph, graph.nodes[1:], known, training=True)
            apart = [
                beta * tf.reduce_mean((attention(known[id(end)]) - goal) ** 2)
                for beta, end, goal in zip(weights, ends, taught, strict=True)
            ]
            return soft_cross_entropy(logs, tf.one_hot(labels, logs.shape[-1])) + sum(apart)

        descent.apply(descent.gradients(loss), rate)

    return step


def group_ends(graph: Graph) -> list[Tensor]:
    """The last maps of each size that convolutions make, or sums of such, with what follows."""
    ends: dict[tuple[int, ...], Tensor] = {}
    for node in graph.nodes:
        (maps, *others) = graph.fused_end(node).output_tensors
        makes_maps = type(node.operation) in CONVOLUTIONS or is_sum(node.operation)
        if makes_maps and not others and maps.ndim == 4:
            ends.pop(maps.shape[1:3], None)  # the last one's place counts
            ends[maps.shape[1:3]] = maps
    return list(ends.values())


def attention(maps: Tensor) -> Tensor:
    """The squares of `maps`, (n, height, width, channels), summed over channels, of norm 1."""
    energy = tf.reduce_sum(maps**2, axis=-1)
    return energy / (tf.norm(energy, axis=(1, 2), keepdims=True) + EPSILON)
