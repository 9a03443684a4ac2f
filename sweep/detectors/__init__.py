"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one."""

from sweep.detectors.amplification import ibd_psc
from sweep.detectors.blending import strip
from sweep.detectors.brightening import scale_up
from sweep.detectors.control import confidence
from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet

__all__ = ["GoodNet", "confidence", "flagged_csv", "ibd_psc", "scale_up", "strip"]
