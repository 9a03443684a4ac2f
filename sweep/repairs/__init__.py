"""Repairs: what is done to the pruned network so that it loses the backdoor and keeps its accuracy.

Called mitigations elsewhere. Each takes a `Defender` and gives a new network.
"""

from sweep.repairs.network_repairs import recalibrate, shrink
from sweep.repairs.training_repairs import finetune, unlearn

__all__ = ["CATALOGUE", "finetune", "recalibrate", "shrink", "unlearn"]

#: All of them, as they are listed for a reader.
CATALOGUE = (finetune, unlearn, recalibrate, shrink)
