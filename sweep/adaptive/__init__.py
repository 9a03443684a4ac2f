"""Ways of training of an attacker's own; `attack.training` or `attack.learn` names it.

Each takes what `badnet_training.train` takes. One who expects a defender (`training`) is also told
how many of the images, the first ones, are clean. One whose trigger is learned (`learn`) is given
clean images, the attack, and what gives the network's clean twin, and returns what the trigger has
learned too: see `attacks.learned`.
"""

from sweep.adaptive.dormant import pruning_aware
from sweep.adaptive.generating import input_aware
from sweep.adaptive.inconspicuous import grond
from sweep.adaptive.written import dfba

__all__ = ["dfba", "grond", "input_aware", "pruning_aware"]
