"""Which images each rate of B, B' and GoodNet counts; a rate is the mean over images.

The one place where predicted classes become rates: `curve.py` takes their means at every step,
`run_metrics.py` those of the chosen one, with intervals.
"""

import numpy as np
from numpy.typing import NDArray

from sweep.evaluation.metrics import Labels

#: By name of a rate, which images it counts, bool (n,), or (steps, n) for a whole curve.
Hits = dict[str, NDArray[np.bool_]]


def hits_on_clean(
    badnet: Labels, repaired: Labels, goodnet: Labels, labels: Labels, classes: int
) -> Hits:
    """Return what B, B' and GoodNet get right of clean images, and what GoodNet flags of them.

    `badnet` and `labels` are (n,), `repaired` and `goodnet` (n,) or (steps, n), all of them
    classes; `classes` are how many there are, so that this one is GoodNet's for flagged images.
    """
    return {
        "badnet/clean_accuracy": badnet == labels,
        "repaired/clean_accuracy": repaired == labels,
        "goodnet/clean_accuracy": goodnet == labels,
        "goodnet/false_alarm_rate": goodnet == classes,
    }


def hits_on_poisoned(
    badnet: Labels,
    repaired: Labels,
    goodnet: Labels,
    target: Labels,
    true_labels: Labels | None,
    classes: int,
) -> Hits:
    """Return on which poisoned images an attack succeeds, and on which GoodNet detects it.

    With `true_labels`, (n,), also which are given their true class. Shapes as in `hits_on_clean`;
    all images count, see `metrics.attacked`.
    """
    networks = {"badnet": badnet, "repaired": repaired, "goodnet": goodnet}
    hits = {f"{name}/attack_success_rate": said == target for name, said in networks.items()}
    if true_labels is not None:
        for name, said in networks.items():
            hits[f"{name}/robust_accuracy"] = said == true_labels
    return hits | {"goodnet/detection_rate": goodnet == classes}
