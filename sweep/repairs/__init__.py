"""Repairs: what is done to the pruned network so that it loses the backdoor and keeps its accuracy.

Elsewhere these are called mitigations. Each takes a `Defender`, whose `network` is B' as it is now,
and gives a new network. None sees more than clean validation images; what was pruned stays pruned.
`fine_tuning.py` is where to start.
"""

from sweep.repairs.clipping import unit
from sweep.repairs.fine_tuning import finetune
from sweep.repairs.hypergradient_unlearning import i_bau
from sweep.repairs.recalibration import recalibrate
from sweep.repairs.rivals import fst, ft_sam, nad
from sweep.repairs.shrinking import shrink
from sweep.repairs.unlearning import unlearn

__all__ = [
    "CATALOGUE",
    "finetune",
    "fst",
    "ft_sam",
    "i_bau",
    "nad",
    "recalibrate",
    "shrink",
    "unit",
    "unlearn",
]

#: All of them, as they are listed for a reader.
CATALOGUE = (finetune, unlearn, ft_sam, i_bau, fst, unit, nad, recalibrate, shrink)
