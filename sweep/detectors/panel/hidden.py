"""The hidden layers of a network, and what it makes of images there, batch by batch."""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable
from sweep.networks import forward
from sweep.networks.forward import Pixels
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import is_activation, makes_channels

Array = NDArray[np.float32]
#: For one batch after the other what some nodes make, and the class that the network says.
Batches = Iterator[tuple[list[Array], NDArray[np.int64]]]


def hidden_ends(network: keras.Model) -> list[Node]:
    """Return where the hidden layers of `network` end, in forward order.

    That is behind each layer that makes channels, with the BatchNormalization and the activation
    that follow it, and behind each other activation, as after a sum. What makes the class scores is
    not hidden; where there is nothing else, it is taken. Raises NotApplicable where there is
    nothing at all.
    """
    graph = Graph(network)
    ends = []
    for node in graph.nodes:
        if makes_channels(node.operation) or is_activation(node.operation):
            end = graph.fused_end(node)
            if end not in ends:
                ends.append(end)
    if not ends:
        raise NotApplicable(
            "this detector looks at convolutions, Dense layers and activations, and the network "
            "has none that it knows; take another detector"
        )
    ends.sort(key=graph.nodes.index)
    return [end for end in ends if not graph.makes_scores(end)] or ends


def passes(network: keras.Model, nodes: Sequence[Node]) -> Callable[[Pixels], Batches]:
    """Return a pass of `network` that also says what its `nodes` make, compiled once.

    It takes images and gives, for one batch after the other, what each node makes, float32
    (n, ..., channels), and the class that the network says, int64 (n,). Raises BadInput for what is
    not finite.
    """
    tensors = [*(node.output_tensors[0] for node in nodes), network.outputs[0]]
    run = forward.feature_extractor(network, tensors)
    size = forward.batch_size(Graph(network).tensors)

    def batches(pixels: Pixels) -> Batches:
        for rows in forward.batches(len(pixels), size):
            made = run(np.asarray(pixels[rows], np.float32))
            *maps, scores = (np.asarray(values, np.float32) for values in made)
            if not all(np.isfinite(values).all() for values in (*maps, scores)):
                raise BadInput(forward.NOT_FINITE)
            yield maps, scores.argmax(axis=1)

    return batches
