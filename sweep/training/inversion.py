"""Reversed triggers: for each class the least change of clean images that makes the network say it.

A class that takes far less than the others has a backdoor (`outliers.anomaly`). All classes are
searched together, in batches of classes x images, with gradients of the scores by the pixels; only
the network and clean validation images are asked. Source: Neural Cleanse (Wang et al., S&P 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.evaluation.outliers import standing_out
from sweep.networks import forward
from sweep.networks.graph import Graph
from sweep.training.defender import Defender
from sweep.training.inversion_search import (
    KINDS,
    SMALLEST,
    Array,
    Progress,
    Search,
    TriggerSearch,
)

MANY = 64  # classes
SURER, JUDGED = 4, 256  # times as many images a step of a refined class; images at the end


@dataclass(frozen=True)
class ReversedTriggers:
    """One reversed trigger for each of `classes`, (classes,).

    sizes: what it takes, all searched alike, in 0..1: the mean of the mask, the share of the image
        that is covered; or the root mean square of the change, 1 being the pixels' range. Infinite
        where no trigger reached the goal.
    success: share of images of other classes that become the class, measured at the end.
    masks: (classes, height, width, 1), in 0..1, how much of each pixel is covered; additive: 0.
    paints: (classes, height, width, channels), in pixel units, what is then added.
    pixel_range: the lowest and the highest value of a pixel.
    """

    kind: str
    classes: NDArray[np.int64]
    sizes: NDArray[np.float64]
    success: NDArray[np.float64]
    masks: Array
    paints: Array
    pixel_range: Array

    @property
    def indices(self) -> NDArray[np.float64]:
        """How far each class is smaller than the others, (classes,), see `standing_out`."""
        return standing_out(self.sizes)

    @property
    def ranked(self) -> NDArray[np.int64]:
        """The classes, smallest trigger first."""
        return self.classes[np.argsort(self.sizes, kind="stable")]

    def stamp(self, pixels: Array, cls: int) -> Array:
        """Images (n, height, width, channels) with the trigger of class `cls`, which was asked."""
        (place,) = np.flatnonzero(self.classes == cls)
        stamped = (1 - self.masks[place]) * pixels + self.paints[place]
        return np.clip(stamped, *self.pixel_range).astype(np.float32)


def invert(
    defender: Defender,
    *,
    kind: str = "mask",
    classes: Sequence[int] | None = None,
    progress: Progress = lambda more: None,
    **settings: Any,
) -> ReversedTriggers:
    """The reversed triggers of `classes`, None: of all; recalled where they were made before.

    `settings` are those of `Search`; `progress` is told how many more of `Search.total` are done.
    Equal seeds give equal triggers on one machine. Raises BadInput for classes that are not there.
    """
    search = Search(kind, **settings)
    count = defender.network.output_shape[-1]
    wanted = np.unique(np.arange(count) if classes is None else np.asarray(classes, np.int64))
    if not len(wanted) or wanted[0] < 0 or wanted[-1] >= count:
        asked = f"reversed triggers were asked for the classes {wanted.tolist()}"
        raise BadInput(f"{asked}; expected some of the network's, 0 to {count - 1}")
    made = partial(_made, defender, search, wanted, progress)
    found = defender.get_or_compute("inversion", [search, wanted.tolist()], made)
    return ReversedTriggers(kind, **found)


def _made(
    defender: Defender, search: Search, classes: NDArray[np.int64], progress: Progress
) -> dict[str, NDArray]:
    engine = TriggerSearch(defender, search, progress)
    images = search.images or (16 if len(classes) <= MANY else 8)
    state = engine.run(classes, engine.begun(len(classes)), range(search.steps), images)
    sizes = state[SMALLEST].astype(np.float64)
    few = np.argsort(sizes, kind="stable")[: search.refine]
    begun, steps = [part[few] for part in state], range(search.steps, search.steps + search.longer)
    begun[SMALLEST][:] = np.inf  # what reached the goal on few images may not on more
    longer = engine.run(classes[few], begun, steps, SURER * images)
    reached = np.isfinite(longer[SMALLEST])
    for part, new in zip(state, longer, strict=True):
        part[few[reached]] = new[reached]
    cover, paint = map(np.asarray, KINDS[search.kind].cover(engine.found(state)))
    low, high = engine.pixel_range
    found = {"classes": classes, "sizes": sizes, "masks": cover}
    found |= {"paints": low * cover + (high - low) * paint, "pixel_range": np.float32([low, high])}
    triggers = ReversedTriggers(search.kind, success=np.zeros(len(classes)), **found)
    return found | {"success": _success(defender, triggers)}


def _success(defender: Defender, triggers: ReversedTriggers) -> NDArray[np.float64]:
    """Share of `JUDGED` images, those of the class left out, that become it, (classes,)."""
    network, rows = defender.network, forward.batch_size(Graph(defender.network).tensors)
    told = forward.classifier(lambda p: network(p, training=False), [forward.image_spec(network)])
    pixels, labels = defender.sample(JUDGED, key=1)
    shares = []
    for cls in triggers.classes:
        stamped = triggers.stamp(pixels[labels != cls], int(cls))
        hits = [told(stamped[some]) == cls for some in forward.batches(len(stamped), rows)]
        shares.append(np.concatenate([*hits, [False] * (not hits)]).mean())
    return np.array(shares)
