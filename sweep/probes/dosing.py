"""What the trigger does to B' where it is weaker, or stronger, than it was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable, terminal
from sweep.checked import checked_by
from sweep.data import Images, pairs
from sweep.data.images import PixelRange
from sweep.evaluation import metrics
from sweep.networks import forward
from sweep.probes.attacker import Attacker, share_right
from sweep.probes.requirements import Supply


def _require_pairs(supply: Supply, **settings: object) -> None:
    """Raise BadInput where nobody knows which clean image a poisoned one was made from."""
    if supply.files is None:
        return
    try:
        pairs(supply.files, "test")
    except NotApplicable:
        raise BadInput(
            "probe=[dose] needs to know which clean test image each poisoned one was made from, "
            "and the files do not tell; add clean_index to the poisoned file, or leave dose out"
        ) from None


@checked_by(_require_pairs)
def dose(attacker: Attacker, *, doses: Sequence[float]) -> dict[str, float]:
    """Stamp test images with more or less of the trigger, and see what B' and B make of them.

    At a dose d an image is x + d (stamp(x) - x), clipped to the range of pixels: at 1 the poisoned
    image itself, at 0 the clean one. Of a trigger that moves pixels, as `warp`, that is a mixture
    of both images and no weaker warp. A backdoor that was pushed just out of reach of the trigger
    comes back at a larger dose. Counted are the poisoned test images that count for the attack.
    """
    clean, poisoned = pairs(attacker.files, "test")
    rows = np.flatnonzero(metrics.attacked(poisoned.labels, poisoned.true_labels))
    span = attacker.files.pixel_range(attacker.images["valid"])
    targets = Images(poisoned.pixels.take(rows, axis=0), poisoned.labels[rows])
    networks = {"": attacker.repaired, "badnet/": attacker.badnet}
    rates = {}
    total = len(networks) * len(doses) * len(rows)
    with terminal.progress("dosing", total, "images") as done:
        for name, network in networks.items():
            for factor in doses:
                dosed = _Dosed(clean.pixels.take(rows, axis=0), targets.pixels, factor, span)
                rate = share_right(network, dosed, targets, done)
                rates[f"{name}{factor:g}/attack_success_rate"] = rate
    return rates


@dataclass(frozen=True)
class _Dosed:
    """Images part of the way from `clean` ones to `poisoned` ones, made where they are sliced."""

    clean: forward.Pixels
    poisoned: forward.Pixels
    dose: float
    span: PixelRange

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        before, after = self.clean[rows], self.poisoned[rows]
        mixed = before + np.float32(self.dose) * (after - before)
        return np.clip(mixed, self.span.low, self.span.high)
