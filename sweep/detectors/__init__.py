"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one."""

from sweep.detectors.badexpert import badexpert
from sweep.detectors.beatrix import beatrix
from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet
from sweep.detectors.ted import ted

__all__ = ["GoodNet", "badexpert", "beatrix", "flagged_csv", "ted"]
