"""What so many images can tell of a rate: 95 % Wilson intervals, by the name of the rate alone.

A run logs rates, and how many images of each kind there are; so tables, pages and reports need
nothing more to say how sure a rate is.
"""

import re
from collections.abc import Mapping

from sweep.evaluation.curve import Predictions
from sweep.evaluation.detection import auroc_interval
from sweep.evaluation.significance import wilson

#: By kind of images the rates that are shares of them; those of a soft GoodNet end in `_at_1`.
RATES = {
    "valid": r"valid_accuracy",
    "test": r"clean_accuracy|false_alarm_rate(_at_\d+)?",
    "poisoned": r"attack_success_rate|robust_accuracy|detection_rate(_at_\d+)?",
}


def image_counts(predictions: Mapping[str, Predictions]) -> dict[str, int]:
    """How many images a rate is a share of, by kind."""
    return {kind: int(of_kind.counted.sum()) for kind, of_kind in predictions.items()}


def images_of(metric: str) -> str | None:
    """The kind of images that `metric` is a share of; None where it is no share of any.

    Of poisoned ones those that count, see `metrics.attacked`.

    >>> images_of("repaired/clean_accuracy"), images_of("goodnet/detection_rate_at_5")
    ('test', 'poisoned')
    >>> images_of("goodnet/auroc"), images_of("tradeoff/attack_success_rate_at_2")
    (None, None)
    """
    rate = metric.rpartition("/")[2]
    return next((kind for kind, names in RATES.items() if re.fullmatch(names, rate)), None)


def interval(metric: str, value: float, images: Mapping[str, int]) -> tuple[float, float] | None:
    """The lowest and highest rate that `value` agrees with; None where `metric` has no interval.

    A share of images has Wilson's, an AUROC Newcombe's (`detection.auroc_interval`). `images` are
    how many there are of each kind; None also where that is not known.

    >>> low, high = interval("repaired/clean_accuracy", 0.9, {"test": 50})
    >>> print(f"{low:.4f} {high:.4f}")
    0.7864 0.9565
    """
    if metric.endswith("/auroc") and images.get("test") and images.get("poisoned"):
        return auroc_interval(value, images["test"], images["poisoned"])
    count = images.get(images_of(metric) or "")
    if not count:
        return None
    low, high = wilson(round(value * count), count)
    return float(low), float(high)
