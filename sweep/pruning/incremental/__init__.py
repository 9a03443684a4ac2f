"""The incremental evaluation of the tail: the part of a network behind a cut, at every step.

A plain pass of the tail at each of C steps would cost C passes. Steps are taken backwards instead,
from all channels pruned to none (`steps.py`): then a step adds one channel to a state, and only
images on which that channel is active can change their class. Where a tail begins, what channels
hold there and what their pruned maps do: `entry.py`. In a `LinearTail` (`linear.py`) the state is
what the linear layers there (`affine.py`) make of the maps, to which a channel adds its
contribution: one product of matrices, and of several steps in one call where these are small. A
`NormalizedTail` (`normalized.py`) knows what LayerNormalization and a mean of tokens make of that.
Where contributions are too large or do not add up on real images, a `MaskedTail` (`masked.py`)
masks maps and runs the whole tail. All end in `scores.py`.
"""

from sweep.pruning.incremental.affine import linear_part
from sweep.pruning.incremental.linear import LinearTail
from sweep.pruning.incremental.masked import MaskedTail
from sweep.pruning.incremental.steps import Tail, predict_steps, tail_classifier, tail_of

__all__ = [
    "LinearTail",
    "MaskedTail",
    "Tail",
    "linear_part",
    "predict_steps",
    "tail_classifier",
    "tail_of",
]
