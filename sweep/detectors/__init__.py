"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one.

A detector is a function from a `Reference` to a score of images, see `reference.py`; `panel.py`
says what one is worth, `rules.py` when GoodNet flags an image.
"""

from sweep.detectors.backdoor_expert import badexpert
from sweep.detectors.controls import goodnet_score, goodnet_vote
from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet
from sweep.detectors.gram_features import beatrix
from sweep.detectors.layer_ranks import ted
from sweep.detectors.panel import detector_rates
from sweep.detectors.reference import Detector, Reference
from sweep.detectors.rules import Rule, answers, by_score, by_vote

__all__ = [
    "CATALOGUE",
    "Detector",
    "GoodNet",
    "Reference",
    "Rule",
    "answers",
    "badexpert",
    "beatrix",
    "by_score",
    "by_vote",
    "detector_rates",
    "flagged_csv",
    "goodnet_score",
    "goodnet_vote",
    "ted",
]

#: All detectors, as they are listed for a reader.
CATALOGUE = (goodnet_score, goodnet_vote, ted, beatrix, badexpert)
