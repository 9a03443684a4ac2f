"""Changes that leave an image what it is, drawn at random: `Corruption`.

`CorruptionPool` has those that a network heeds while it learns; `most_heeded` tells what they do.
"""

from sweep.training.corruptions.families import FAMILIES, Corruption, draw, mutated
from sweep.training.corruptions.heeded import most_heeded
from sweep.training.corruptions.pool import CorruptionPool

__all__ = ["FAMILIES", "Corruption", "CorruptionPool", "draw", "most_heeded", "mutated"]
