"""Sweeps to make reports of."""

from swept import sweeps

__all__ = ["sweeps"]
