"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one."""

from sweep.detectors.backdoor_expert import badexpert
from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet
from sweep.detectors.gram_features import beatrix
from sweep.detectors.layer_ranks import ted

__all__ = ["GoodNet", "badexpert", "beatrix", "flagged_csv", "ted"]
