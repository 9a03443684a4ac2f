"""One sweep: every cell checked before the first runs, a parent run, the comparison at the end.

`tracked` makes a cell out of the story in run.py; `Sweep` is the Hydra callback around all cells.
Hydra only warns of an exception in a callback, so errors leave here as SystemExit.
"""

from sweep.cli.checks import check
from sweep.cli.configs import build, chosen, orders
from sweep.cli.jobs import tracked
from sweep.cli.sweeps import Sweep, launch

__all__ = ["Sweep", "build", "check", "chosen", "launch", "orders", "tracked"]
