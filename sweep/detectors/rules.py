"""When GoodNet flags an image, and what it answers of the others: by a score, or by a vote.

`by_score` and `by_vote` are what `goodnet=score` and `goodnet=vote` name: functions from the scores
of clean images that no repair has learned to a `Rule`. The score of an image is its doubt
(`evaluation.detection.doubt`): how little B' believes in what B says of it, in [0, 1].
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput
from sweep.evaluation import detection, significance
from sweep.evaluation.curve import Predictions
from sweep.evaluation.metrics import Labels
from sweep.pruning.predictions import RepairedNetwork

ROUNDING = 1e-6  # by which a score may differ where it is computed elsewhere
BADNET, REPAIRED = "badnet", "repaired"


@dataclass(frozen=True)
class Rule:
    """When an image is flagged: its score is above `threshold`, or, None, B and B' disagree.

    answer: whose class is given where it is not: "badnet" for B's, "repaired" for that of B'.
    false_alarm: the share of clean images that may be flagged; of a vote, by a detector beside it.
    images, flagged: of how many clean images the threshold lets how many through.
    """

    threshold: float | None = None
    answer: str = BADNET
    false_alarm: float = 0.01
    images: int = 0
    flagged: int = 0

    @property
    def tolerance(self) -> tuple[float, float] | None:
        """Lowest and highest share of further clean images that is flagged, at 95 %.

        See `significance.clopper_pearson`; None of a vote, for which no threshold was set.
        """
        if self.threshold is None:
            return None
        return significance.clopper_pearson(self.flagged, self.images)

    def flags(
        self, badnet: Labels, repaired: Labels, scores: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Which images are flagged, bool (n,); by the classes of B and B', and scores, (n,)."""
        return badnet != repaired if self.threshold is None else scores > self.threshold

    def classify(
        self, badnet: Labels, repaired: Labels, scores: NDArray[np.floating], classes: int
    ) -> Labels:
        """GoodNet's class of each image, (n,): `classes` where it is flagged."""
        answers = repaired if self.answer == REPAIRED else badnet
        return np.where(self.flags(badnet, repaired, scores), classes, answers)

    def metrics(self) -> dict[str, float]:
        """What a run logs of it: `goodnet/threshold`, where there is one."""
        return {} if self.threshold is None else {"goodnet/threshold": self.threshold}

    def to_json(self) -> str:
        """The text of goodnet.json."""
        return json.dumps(self.to_dict(), indent=2)

    def to_dict(self) -> dict[str, Any]:
        """All that is known of it, by name, for JSON."""
        rule = "vote" if self.threshold is None else "score"
        return {"rule": rule} | asdict(self) | {"tolerance": self.tolerance}


def answers(
    rule: Rule,
    by_step: Mapping[str, Predictions],
    repaired: RepairedNetwork,
    classes: int,
) -> dict[str, Labels]:
    """GoodNet's classes, (n,), by name of the images, `classes` where they are flagged.

    Of B's predictions (step 0 of `by_step`) and those of B', and how far both are apart.
    """
    return {
        name: rule.classify(
            of_name.predicted[0], repaired.predicted[name], repaired.disagreement[name][0], classes
        )
        for name, of_name in by_step.items()
    }


#: From scores of clean images that no repair has learned, (n,), to a rule.
MakeRule = Callable[[NDArray[np.floating]], Rule]


def by_score(clean: ArrayLike, *, false_alarm: float = 0.01, answer: str = BADNET) -> Rule:
    """Return the rule that flags at most the share `false_alarm` of these clean images.

    An image is flagged where its score is above the threshold. What is then flagged of other clean
    images lies between the ends of `Rule.tolerance`, as long as they are of the same kind.

    >>> by_score([0.1, 0.2, 0.3, 0.4], false_alarm=0.25).threshold
    0.300001
    """
    if answer not in (BADNET, REPAIRED):
        raise BadInput(f"goodnet.answer is {answer}; expected {BADNET} or {REPAIRED}")
    scores = np.asarray(clean, np.float64)
    threshold = detection.threshold(scores, false_alarm) + ROUNDING
    flagged = int(np.count_nonzero(scores > threshold))
    return Rule(round(threshold, 9), answer, false_alarm, len(scores), flagged)


def by_vote(clean: ArrayLike, *, false_alarm: float = 0.01) -> Rule:
    """Return the lab's rule: an image is flagged where the classes of B and B' differ.

    So GoodNet is never right where B or B' is not, and no threshold is set: `false_alarm` is for
    a detector beside it.
    """
    return Rule(false_alarm=false_alarm)
