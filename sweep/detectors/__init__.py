"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one."""

from sweep.detectors.blending import strip
from sweep.detectors.brightening import scale_up
from sweep.detectors.control import confidence
from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet

__all__ = ["GoodNet", "confidence", "flagged_csv", "scale_up", "strip"]
