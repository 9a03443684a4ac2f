"""Figures: of one run (`run.py`), of a verdict (`verdict.py`), of a sweep (`sweep.py`).

Arrays in, matplotlib figures out.
"""

from sweep.results.figures.run import attack, of_cell
from sweep.results.figures.verdict import of_verdict

__all__ = ["attack", "of_cell", "of_verdict"]
