"""Ways of training of an attacker's own, of one who expects a defender; `attack.training` names it.

Each takes what `badnet_training.train` takes, and how many of the images, the first ones, are
clean.
"""

from sweep.adaptive.dormant import pruning_aware
from sweep.adaptive.written import dfba

__all__ = ["dfba", "pruning_aware"]
