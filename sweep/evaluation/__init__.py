"""Rates, statistics and the pruning curve: plain functions on numpy arrays.

`curve.py` is where to start: from predictions to the rates of every step. `rates.py` says what each
rate counts, `run_metrics.py` what a run logs.
"""

from sweep.evaluation.curve import PruningCurve, ValidCurve, pruning_curve
from sweep.evaluation.intervals import image_counts, interval
from sweep.evaluation.run_metrics import evaluate, repaired_rates

__all__ = [
    "PruningCurve",
    "ValidCurve",
    "evaluate",
    "image_counts",
    "interval",
    "pruning_curve",
    "repaired_rates",
]
