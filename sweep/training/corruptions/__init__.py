"""Changes that leave an image what it is, drawn at random: `Corruption`, and a `CorruptionPool`."""

from sweep.training.corruptions.families import FAMILIES, Corruption, draw, mutated
from sweep.training.corruptions.pool import CorruptionPool

__all__ = ["FAMILIES", "Corruption", "CorruptionPool", "draw", "mutated"]
