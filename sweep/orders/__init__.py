"""Orders: which channel is pruned first. Elsewhere these are called pruning criteria.

An order is a pure function `(evidence, ...) -> scores`, float64 (channels,), the lowest pruned
first, so one that wants the highest first negates. Infinite scores go first and last, NaN never
comes out. What an order needs beyond activations it declares with `@needs`, beside its formula.
`activations.py` is where to start; all of them stand in `conf/prune/order/` too.

In a docstring `a_c` is the feature map of channel c, `z_c` the same before its activation, `W_c`
its filter without bias; D are the clean validation images. The first line says which channel goes
first; what published code and this order do differently stands under "Differs".
"""

from sweep.orders.activations import apoz, bnp, max_activation, mean_activation
from sweep.orders.control import random
from sweep.orders.learned import anp, reversed_trigger, rnp, weight_change
from sweep.orders.oracles import ep, tac
from sweep.orders.weights import clp, fpgm, l1_norm, l2_norm, taylor

__all__ = [
    "CATALOGUE",
    "anp",
    "apoz",
    "bnp",
    "clp",
    "ep",
    "fpgm",
    "l1_norm",
    "l2_norm",
    "max_activation",
    "mean_activation",
    "random",
    "reversed_trigger",
    "rnp",
    "tac",
    "taylor",
    "weight_change",
]

#: All of them, as they are listed for a reader.
CATALOGUE = (
    mean_activation,
    max_activation,
    apoz,
    l1_norm,
    l2_norm,
    fpgm,
    taylor,
    random,
    clp,
    bnp,
    ep,
    tac,
    anp,
    rnp,
    weight_change,
    reversed_trigger,
)
