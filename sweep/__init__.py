"""Sweep pruning strategies against backdoored neural networks.

The parts stand one noun a file; `run.py` in the repository's root tells their story.
"""

__version__ = "0.1.0"


class BadInput(ValueError):
    """What the user gave cannot be used: says what came, what was expected, how to mend it."""


class NotApplicable(BadInput):
    """The strategy does not apply to this network; a sweep skips the cell and goes on."""
