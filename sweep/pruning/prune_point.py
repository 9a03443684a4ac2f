"""Where in a network the channels of a layer are: made, ranked and silenced, masked more cheaply.

Read the example in `PrunePoint` first; the analysis of the graph is in `networks/graph.py`.
"""

from dataclasses import dataclass

import keras

from sweep import BadInput
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import LAYERS, is_norm


@dataclass(frozen=True)
class PrunePoint:
    """The places in a network that the name of one `layer` stands for.

    prune_node: where channels are ranked and silenced. It is the layer's own node, or, where that
        is linear and followed by BatchNormalization and/or an activation, the end of that chain.
    mask_path: from prune_node through the poolings that follow it, to `mask_node`. Masking there is
        the same and cheaper, as maps are smaller, so that is where the network is really cut.
    producer_path: from the node that makes the channels, through those that pass them on, to
        prune_node.

    >>> images = keras.Input((8, 8, 3))
    >>> x = keras.layers.Conv2D(5, 3, padding="same", name="conv")(images)
    >>> x = keras.layers.BatchNormalization(name="bn")(x)
    >>> x = keras.layers.ReLU(name="relu")(x)
    >>> x = keras.layers.MaxPooling2D(name="pool")(x)
    >>> x = keras.layers.Dense(4, name="scores")(keras.layers.Flatten(name="flatten")(x))
    >>> point = PrunePoint.of(Graph(keras.Model(images, x)), "conv")
    >>> [node.operation.name for node in point.producer_path]
    ['conv', 'bn', 'relu']
    >>> point.prune_node.operation.name, point.prune_node.output_tensors[0].shape
    ('relu', (None, 8, 8, 5))
    >>> point.mask_node.operation.name, point.mask_node.output_tensors[0].shape
    ('pool', (None, 4, 4, 5))
    >>> [node.operation.name for node in point.silenced_path]  # gamma = beta = 0
    ['bn', 'relu']
    """

    layer: str
    prune_node: Node
    mask_path: list[Node]
    producer_path: list[Node]

    @classmethod
    def of(cls, graph: Graph, layer: str) -> "PrunePoint":
        """The prune point of a layer's name; "auto" is `Graph.default_node`.

        Raises BadInput where there are no channels to prune.
        """
        node = graph.default_node() if layer == "auto" else graph.node_of(layer)
        prune_node = graph.fused_end(node)
        _check_channels(prune_node, graph.network)
        return cls(
            layer=node.operation.name,
            prune_node=prune_node,
            mask_path=graph.equivalent_path(prune_node),
            producer_path=graph.producer_path(prune_node),
        )

    @property
    def mask_node(self) -> Node:
        """The node behind which the network is cut."""
        return self.mask_path[-1]

    @property
    def channels(self) -> int:
        """How many channels there are."""
        count: int = self.prune_node.output_tensors[0].shape[-1]
        return count

    @property
    def has_norm(self) -> bool:
        """Whether a BatchNormalization is part of the channels."""
        return is_norm(self.silenced_path[0].operation)

    @property
    def silenced_path(self) -> list[Node]:
        """The end of producer_path, from the layer on whose weights are zeroed to silence channels.

        That is the last BatchNormalization, or without one the first node.
        """
        norms = [step for step, node in enumerate(self.producer_path) if is_norm(node.operation)]
        return self.producer_path[norms[-1] if norms else 0 :]


def _check_channels(prune_node: Node, network: keras.Model) -> None:
    """Raise BadInput where there is nothing to prune at `prune_node`."""
    tensor, *others = prune_node.output_tensors
    name = prune_node.operation.name
    if others:
        raise BadInput(
            f"prune.layer is {name!r} of {1 + len(others)} outputs; expected a layer of 1"
        )
    is_input = isinstance(prune_node.operation, LAYERS.InputLayer)
    if is_input or any(tensor is output for output in network.outputs):
        raise BadInput(
            f"prune.layer is {name!r}, the network's input or output; expected a layer between"
        )
    if tensor.ndim < 2 or (tensor.shape[-1] or 0) < 2:
        raise BadInput(
            f"prune.layer is {name!r} of shape {tensor.shape}; expected 2 channels or more"
        )
    if getattr(prune_node.operation, "data_format", None) == "channels_first":
        raise BadInput(
            f"prune.layer is {name!r}, whose channels stand first; expected a network of "
            f"channels_last layers"
        )
