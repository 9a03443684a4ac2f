"""Figures: of one run (`run.py`), of a verdict (`verdict.py`), of a sweep (`sweep.py`).

Arrays in, matplotlib figures out; `shared.py` keeps once what cells have alike.
"""

from sweep.results.figures.run import draw_attack
from sweep.results.figures.shared import log_cell, log_shared
from sweep.results.figures.verdict import draw_verdict

__all__ = ["draw_attack", "draw_verdict", "log_cell", "log_shared"]
