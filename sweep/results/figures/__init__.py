"""Figures: of one run (`run.py`), of a verdict (`verdict.py`), of a sweep (`sweep.py`).

Arrays in, matplotlib figures out.
"""

from sweep.results.figures.run import draw_attack, draw_cell
from sweep.results.figures.verdict import draw_verdict

__all__ = ["draw_attack", "draw_cell", "draw_verdict"]
