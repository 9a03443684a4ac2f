"""Probes: what an attack success rate does not tell of the repaired network.

Each takes an `Attacker`, who has poisoned images and B' itself, and gives rates by their names. A
probe measures beside a cell: it changes nothing of B', and no choice of a defender sees it.
`relearning.py` is where to start.
"""

from sweep.probes.attacker import Attacker, Probe
from sweep.probes.dosing import dose
from sweep.probes.relearning import relearn

__all__ = ["CATALOGUE", "Attacker", "Probe", "dose", "relearn"]

#: All of them, as they are listed for a reader.
CATALOGUE = (relearn, dose)
