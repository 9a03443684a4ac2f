"""Prune the channels of a layer: cut the network there, score the channels, predict at every step.

`prune_point.py` and `layer_cut.py` are where to start, then `incremental/`, which makes the whole
pruning curve cheap.
What an order may see is in `evidence.py`, what it must declare in `requirements.py`.
"""

from sweep.pruning.activations import Activations, LayerActivations, activations_of
from sweep.pruning.evidence import Evidence, Oracle
from sweep.pruning.joint_cut import cut_at
from sweep.pruning.layer_cut import Cut
from sweep.pruning.predictions import RepairedNetwork, predict_steps
from sweep.pruning.requirements import needs, threat_model
from sweep.pruning.scoring import rank

__all__ = [
    "Activations",
    "Cut",
    "Evidence",
    "LayerActivations",
    "Oracle",
    "RepairedNetwork",
    "activations_of",
    "cut_at",
    "needs",
    "predict_steps",
    "rank",
    "threat_model",
]
