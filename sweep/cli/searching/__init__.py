"""`experiment=search`: trials that Optuna suggests, each a cell, in place of a grid.

`request.py` reads what is asked for, `checking.py` refuses what cannot be, and `search.py` is the
`Sweep` that asks, runs and tells.
"""

from sweep.cli.searching.search import Search

__all__ = ["Search"]
