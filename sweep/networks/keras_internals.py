"""What is used of Keras beyond its public names, and the types of its graph.

Private names of Keras stand in this module alone, so that a new version is looked through here.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

#: A symbolic tensor of a graph, or the value that one has while the graph runs: Keras and
#: TensorFlow share no type of their own for these.
Tensor: TypeAlias = Any
#: A layer, or an operation (`keras.ops`) that stands in its place in a graph.
Layer: TypeAlias = Any


class Node(Protocol):
    """One call of a layer in a functional model, as Keras keeps it."""

    operation: Layer
    input_tensors: Sequence[Tensor]
    output_tensors: Sequence[Tensor]
    arguments: Any
    is_input: bool
