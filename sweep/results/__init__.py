"""Compare what runs left in MLflow: tables, figures, pages.

`cells.py` is where to start: a row for each cell of a sweep. `comparison.py` is the table at a
sweep's end, `pages/` writes docs/results.md.
"""
