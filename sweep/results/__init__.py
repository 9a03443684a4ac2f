"""Compare what runs left in MLflow: tables, figures, pages; in a notebook by `load`.

`cells.py` is where to start: a row for each cell of a sweep. `sources.py` finds the runs,
`comparison.py` is the table at a sweep's end, `pages/` writes docs/results/.
"""

from sweep.results.notebook import load

__all__ = ["load"]
