"""Repairs: what is done to the pruned network so that it loses the backdoor and keeps its accuracy.

Elsewhere these are called mitigations. Each takes a `Defender`, whose `network` is B' as it is now,
and gives a new network. None sees more than clean validation images; what was pruned stays pruned.
`fine_tuning.py` is where to start.
"""

from sweep.repairs.fine_tuning import finetune
from sweep.repairs.recalibration import recalibrate
from sweep.repairs.shrinking import shrink
from sweep.repairs.unlearning import unlearn

__all__ = ["CATALOGUE", "finetune", "recalibrate", "shrink", "unlearn"]

#: All of them, as they are listed for a reader.
CATALOGUE = (finetune, unlearn, recalibrate, shrink)
