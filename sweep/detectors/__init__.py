"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one.

A detector is a function from a `Reference` to a score of images; `rules.py` says when GoodNet flags
one.
"""

from sweep.detectors.controls import goodnet_score, goodnet_vote
from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet
from sweep.detectors.panel import detector_rates
from sweep.detectors.reference import Detector, Reference
from sweep.detectors.rules import Rule, answers, by_score, by_vote

__all__ = [
    "Detector",
    "GoodNet",
    "Reference",
    "Rule",
    "answers",
    "by_score",
    "by_vote",
    "detector_rates",
    "flagged_csv",
    "goodnet_score",
    "goodnet_vote",
]
