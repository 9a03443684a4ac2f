"""Reversed triggers: the least change of clean images that makes the network say a class.

A class that takes far less than the others has a backdoor (`outliers.anomaly`). All classes are
searched together, in batches of classes x images, with gradients of the scores by the pixels; only
the network and clean validation images are asked. Source: Neural Cleanse (Wang et al., S&P 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.evaluation.outliers import log_anomaly
from sweep.networks import forward
from sweep.training.defender import Defender
from sweep.training.inversion_search import (
    Array,
    Progress,
    Search,
    SearchState,
    TriggerSearch,
)

MANY_CLASSES = 64  # above which each sees fewer images a step
REFINE_FACTOR = 4  # times as many images a step of a refined class
SUCCESS_IMAGES = 256  # images on which success is measured


@dataclass(frozen=True)
class ReversedTriggers:
    """One reversed trigger for each of `classes`, (classes,).

    sizes: what it takes, all searched alike, in 0..1: the mean of the mask, the share of the image
        that is covered; or the root mean square of the change, 1 being the pixels' range. Infinite
        where no trigger reached the goal.
    masks: (classes, height, width, 1), in 0..1, how much of each pixel is covered; additive: 0.
    paints: (classes, height, width, channels), in pixel units, what is then added.
    pixel_range: the lowest and the highest value of a pixel.
    """

    kind: str
    classes: NDArray[np.int64]
    sizes: NDArray[np.float64]
    masks: Array
    paints: Array
    pixel_range: Array

    @property
    def indices(self) -> NDArray[np.float64]:
        """How far each class is smaller than the others, (classes,), see `log_anomaly`."""
        return log_anomaly(self.sizes)

    @property
    def ranked(self) -> NDArray[np.int64]:
        """The classes, smallest trigger first."""
        return self.classes[np.argsort(self.sizes, kind="stable")]

    def stamp(self, pixels: Array, cls: int) -> Array:
        """Images (n, height, width, channels) with the trigger of class `cls`, one of `classes`."""
        (row,) = np.flatnonzero(self.classes == cls)
        stamped = (1 - self.masks[row]) * pixels + self.paints[row]
        return np.clip(stamped, *self.pixel_range).astype(np.float32)


def invert(
    defender: Defender,
    *,
    kind: str = "mask",
    classes: Sequence[int] | None = None,
    progress: Progress = lambda steps: None,
    **settings: Any,
) -> ReversedTriggers:
    """Return the reversed triggers of `classes`, None: of all; kept for the next to ask for them.

    `settings` are those of `Search`; `progress` is told how many more of `Search.total` are done.
    Equal seeds give equal triggers on one machine. Raises BadInput for classes that are not there.
    """
    search = Search(kind, **settings)
    count = defender.network.output_shape[-1]
    targets = np.unique(np.arange(count) if classes is None else np.asarray(classes, np.int64))
    if not len(targets) or targets[0] < 0 or targets[-1] >= count:
        asked = f"reversed triggers were asked for the classes {targets.tolist()}"
        raise BadInput(f"{asked}; expected some of the network's, 0 to {count - 1}")
    arrays = defender.get_or_compute(
        "inversion",
        [search, targets.tolist()],
        partial(_search, defender, search, targets, progress),
    )
    return ReversedTriggers(kind, **arrays)


def _search(
    defender: Defender, search: Search, classes: NDArray[np.int64], progress: Progress
) -> dict[str, NDArray]:
    """The arrays of `ReversedTriggers`, by name."""
    engine = TriggerSearch(defender, search, progress)
    images = search.images or (16 if len(classes) <= MANY_CLASSES else 8)
    state = engine.run(classes, engine.initial_state(len(classes)), range(search.steps), images)
    sizes = state.smallest.astype(np.float64)
    _refine(engine, search, state, classes, images)
    masks, paints = map(np.asarray, engine.masks_and_paints(engine.best_values(state)))
    arrays = {"classes": classes, "sizes": sizes, "masks": masks, "paints": paints}
    return arrays | {"pixel_range": np.array(engine.pixel_range, np.float32)}


def _refine(
    engine: TriggerSearch,
    search: Search,
    state: SearchState,
    classes: NDArray[np.int64],
    images: int,
) -> None:
    """Search longer for the smallest triggers, and put those into `state` that reach the goal."""
    rows = np.argsort(state.smallest.astype(np.float64), kind="stable")[: search.refine]
    start = replace(
        state.rows(rows),
        smallest=np.full(len(rows), np.inf, np.float32),  # reached on few images, maybe not on more
    )
    steps = range(search.steps, search.steps + search.longer)
    refined = engine.run(classes[rows], start, steps, REFINE_FACTOR * images)
    reached = np.flatnonzero(np.isfinite(refined.smallest))
    state.put(rows[reached], refined.rows(reached))


def success(defender: Defender, triggers: ReversedTriggers) -> NDArray[np.float64]:
    """The share of `SUCCESS_IMAGES` images of other classes that become each class, (classes,)."""
    predict = forward.predictor(defender.network)
    pixels, labels = defender.sample(SUCCESS_IMAGES, key=1)
    shares = []
    for cls in triggers.classes:
        stamped = triggers.stamp(pixels[labels != cls], int(cls))
        shares.append(np.mean(predict(stamped) == cls) if len(stamped) else 0.0)
    return np.array(shares)
