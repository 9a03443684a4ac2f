"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one.

`rules.py` says when GoodNet flags an image. Any other detector is a function from a `Reference` to
a score of images (`reference.py`); those to compare stand in `panel/`, and `rates.py` says what one
is worth.
"""

from sweep.detectors.flagged import flagged_csv
from sweep.detectors.goodnet import GoodNet
from sweep.detectors.panel.badexpert import badexpert
from sweep.detectors.panel.beatrix import beatrix
from sweep.detectors.panel.confidence import confidence
from sweep.detectors.panel.ibd_psc import ibd_psc
from sweep.detectors.panel.of_goodnet import goodnet_score, goodnet_vote
from sweep.detectors.panel.scale_up import scale_up
from sweep.detectors.panel.strip import strip
from sweep.detectors.panel.ted import ted
from sweep.detectors.rates import detector_rates
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
    "confidence",
    "detector_rates",
    "flagged_csv",
    "goodnet_score",
    "goodnet_vote",
    "ibd_psc",
    "scale_up",
    "strip",
    "ted",
]

#: All detectors, as they are listed for a reader.
CATALOGUE = (
    goodnet_score,
    goodnet_vote,
    confidence,
    strip,
    scale_up,
    ibd_psc,
    ted,
    beatrix,
    badexpert,
)
