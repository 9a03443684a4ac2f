"""Changes that leave an image what it is, drawn at random: `Corruption`.

`CorruptionPool` has those that a network heeds while it learns; `most_heeded` tells what they do,
and `compare` what they do beside another network.
"""

from sweep.training.corruptions.compared import Compared, compare
from sweep.training.corruptions.families import FAMILIES, Corruption, draw, mutated
from sweep.training.corruptions.heeded import STRENGTH, Heeded, most_heeded
from sweep.training.corruptions.pool import CorruptionPool

__all__ = [
    "FAMILIES",
    "STRENGTH",
    "Compared",
    "Corruption",
    "CorruptionPool",
    "Heeded",
    "compare",
    "draw",
    "most_heeded",
    "mutated",
]
