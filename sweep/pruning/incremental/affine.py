"""Which layers behind a cut are affine in its maps, so that contributions of channels add up."""

from collections.abc import Callable, Sequence
from math import prod

from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import has_activation, is_affine, is_pointwise


def linear_part(
    graph: Graph,
    node: Node,
    affine: Callable[[Node], bool] = lambda node: is_affine(node.operation),
) -> list[Node]:
    """The nodes behind `node` that are affine in its maps, but for an activation at their end."""
    tail = graph.downstream_nodes(node)
    tail_outputs = {id(tensor) for other in [node, *tail] for tensor in other.output_tensors}
    linear = {id(tensor) for tensor in node.output_tensors}
    part = []
    for other in tail:
        inputs = {id(tensor) for tensor in other.input_tensors} & tail_outputs
        if affine(other) and inputs <= linear:
            part.append(other)
            if not has_activation(other.operation):
                linear |= {id(tensor) for tensor in other.output_tensors}
    return part


def pointwise_part(graph: Graph, node: Node) -> list[Node]:
    """Those of them that treat each position of the maps alone, and all positions alike."""
    positions = node.output_tensors[0].shape[1:-1]

    def affine(other: Node) -> bool:
        return is_pointwise(other.operation) and other.output_tensors[0].shape[1:-1] == positions

    return linear_part(graph, node, affine)


def ends_of(graph: Graph, node: Node, part: list[Node]) -> list[Node]:
    """The nodes of the `part` behind `node`, or `node`, whose output the rest of the tail reads."""
    rest = [other for other in graph.downstream_nodes(node) if other not in part]
    read = {id(tensor) for other in rest for tensor in other.input_tensors}
    read.add(id(graph.network.outputs[0]))
    return [other for other in [node, *part] if id(other.output_tensors[0]) in read]


def sizes(ends: Sequence[Node]) -> list[int]:
    """How many values of an image each of the `ends` makes."""
    return [prod(end.output_tensors[0].shape[1:]) for end in ends]
