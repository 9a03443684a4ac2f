"""What is trained: a BadNet by an attacker, and by a defender whatever clean images can teach.

`defender.py` is where to start: all that a repair, or an order that trains, is given.
"""

from sweep.training.defender import Defender
from sweep.training.inversion import invert
from sweep.training.unlearning import unlearned

__all__ = ["Defender", "invert", "unlearned"]
