"""Rates, statistics and the pruning curve: plain functions on numpy arrays.

`curve.py` is where to start: from predictions to the rates of every step. `metrics.py` defines the
rates, `run_metrics.py` what a run logs.
"""

from sweep.evaluation.curve import PruningCurve, ValidCurve, pruning_curve
from sweep.evaluation.run_metrics import evaluate, of_repaired

__all__ = ["PruningCurve", "ValidCurve", "evaluate", "of_repaired", "pruning_curve"]
