"""Sweeps to be found."""

from swept import sweeps

__all__ = ["sweeps"]
