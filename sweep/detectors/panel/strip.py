"""STRIP: what a trigger says is said whatever image lies over it."""

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.data.images import pixel_range
from sweep.detectors.panel.settings import is_count, is_number
from sweep.detectors.panel.surety import Array, by_batches, log_probabilities
from sweep.detectors.reference import Reference, Score


def strip(reference: Reference, *, blends: int = 8, alpha: float = 0.5) -> Score:
    """STRIP: B stays sure of an image while clean ones are blended into it.

    Score: minus the mean entropy, in nats, of B's probabilities on `clip(x + alpha (r - black))`,
    over `blends` clean reference images r. They are drawn by the seed, and the same for all x;
    black and white, to which is clipped, are the range of the reference pixels.

    Needs: B and as many clean images as `blends`; no labels.

    Passes: `blends` of B an image (8).

    Source: Gao, Xu, Wang, Chen, Ranasinghe, Nepal, "STRIP: A Defence Against Trojan Attacks on
    Deep Neural Networks", ACSAC 2019, arXiv 1902.06531.

    Differs: the paper superimposes both images as they are, which is `alpha` 1, and 100 of them.
    Small images of bright signs are then mostly white. At half the weight the same 8 images tell
    patches and patterns over all of the image apart alike; the mean of both, x/2 + r/2, does worse
    than `alpha` 1 on the latter, since it makes the trigger weak too. The entropies are averaged,
    not added up, and there is no threshold.
    """
    if not is_count(blends, len(reference.pixels)):
        raise BadInput(
            f"detector.blends is {blends!r}; expected 1 to {len(reference.pixels)}, as many clean "
            f"images as there are to blend with"
        )
    if not is_number(alpha, 0):
        raise BadInput(f"detector.alpha is {alpha!r}; expected a weight above 0")
    rng = np.random.default_rng(reference.seed)
    drawn = np.sort(rng.choice(len(reference.pixels), blends, replace=False))
    black, white = pixel_range(reference.pixels)
    overlays = np.float32(alpha) * (reference.pixels[drawn] - np.float32(black))
    logs_of = log_probabilities(reference.badnet)

    def score(pixels: NDArray[np.float32]) -> Array:
        total = np.zeros(len(pixels))
        for overlay in overlays:
            logs = logs_of(np.clip(pixels + overlay, black, white))
            total += (np.exp(logs) * logs).sum(axis=1)
        return total / len(overlays)

    return by_batches(reference.badnet, score)
