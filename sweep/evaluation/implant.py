"""Whether an attack took hold: B beside its clean twin, the same network trained without it."""

from collections.abc import Mapping

from sweep.evaluation.curve import Predictions
from sweep.evaluation.significance import TOLERANCE

#: What B must reach to count as implanted: the attack succeeds on so many of the poisoned test
#: images, at so much less clean accuracy than its twin has.
LEAST_SUCCESS, LARGEST_LOSS = 0.85, 0.02
IMPLANTED = "yes"

SUCCESS, CLEAN = "badnet/attack_success_rate", "badnet/clean_accuracy"
TWIN_CLEAN = "twin/clean_accuracy"


def twin_rates(predictions: Mapping[str, Predictions]) -> dict[str, float]:
    """The metrics `twin/...` of what a clean twin says of "test" and "poisoned" images.

    Its attack success is what the trigger does by nature, on the images that count for the attack
    (`metrics.attacked`); robust accuracy, the share given its true class, needs true labels.
    """
    test, poisoned = predictions["test"], predictions["poisoned"]
    said, counted = poisoned.predicted[0], poisoned.counted
    hits = {
        "clean_accuracy": test.predicted[0] == test.labels,
        "attack_success_rate": (said == poisoned.labels)[counted],
    }
    if poisoned.true_labels is not None:
        hits["robust_accuracy"] = (said == poisoned.true_labels)[counted]
    return {f"twin/{name}": float(of_images.mean()) for name, of_images in hits.items()}


def implant(rates: Mapping[str, float]) -> str:
    """`IMPLANTED`, or why the attack did not take hold of B, in words; "" where it has no ASR.

    Without the rates of a twin attack success alone is judged.

    >>> implant({"badnet/attack_success_rate": 0.997})
    'yes'
    >>> clean = {"badnet/clean_accuracy": 0.9, "twin/clean_accuracy": 0.931}
    >>> implant(clean | {"badnet/attack_success_rate": 0.76})
    'ASR 76.00 %, below 85 %; clean accuracy 3.10 points below its twin, more than 2'
    """
    if SUCCESS not in rates:
        return ""
    success, reasons = rates[SUCCESS], []
    if success < LEAST_SUCCESS - TOLERANCE:
        reasons.append(f"ASR {100 * success:.2f} %, below {100 * LEAST_SUCCESS:g} %")
    loss = rates.get(TWIN_CLEAN, rates[CLEAN]) - rates[CLEAN] if CLEAN in rates else 0.0
    if loss > LARGEST_LOSS + TOLERANCE:
        reasons.append(
            f"clean accuracy {100 * loss:.2f} points below its twin, more than "
            f"{100 * LARGEST_LOSS:g}"
        )
    return "; ".join(reasons) or IMPLANTED
