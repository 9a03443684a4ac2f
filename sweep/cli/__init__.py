"""The command line: Hydra's configs checked and built, cells run, sweeps resumed and compared.

`jobs.py` is where to start: `tracked` makes a cell out of the task in run.py, `parts.py` builds
what its config names, `checks.py` refuses what cannot be. `sweeps.py` holds the Hydra callback
around all cells of a multirun, `searching` that of a search, `program.py` what is around Hydra.
Hydra only warns of an exception in a callback, so errors leave here as SystemExit. TensorFlow comes
with `parts.py`, which is imported when a cell is to be run.
"""

from sweep.cli.jobs import tracked
from sweep.cli.program import launch
from sweep.cli.searching import Search
from sweep.cli.sweeps import Sweep

__all__ = ["Search", "Sweep", "launch", "tracked"]
