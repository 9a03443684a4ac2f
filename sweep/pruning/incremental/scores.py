"""From the tensors that are known to the scores of a network: the end of every tail."""

from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node, Tensor
from sweep.networks.layer_types import is_softmax
from sweep.pruning.incremental.small_maps import as_product


def run_to_scores(graph: Graph, nodes: list[Node], known: dict[int, Tensor]) -> Tensor:
    """Return the scores that `nodes` make of what is known; a softmax at the end is left out.

    It costs as much as the layer before it where there are many classes, and changes no order.
    Convolutions of very small maps are products with a matrix.
    """
    for node in nodes:
        is_end = node is nodes[-1] and is_softmax(node.operation)
        product = None if is_end else as_product(node)
        if product:
            known[id(node.output_tensors[0])] = product(known[id(node.input_tensors[0])])
        else:
            graph.run([node], known, without_activation=is_end)
    return known[id(graph.network.outputs[0])]
