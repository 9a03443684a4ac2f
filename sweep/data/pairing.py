"""Which clean image each poisoned one was made from: an oracle compares the two, and so do eyes."""

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable, files
from sweep.data.images import Images
from sweep.data.sources import Files

Pictures = NDArray[np.float32]

LOOKED_AT = 64  # pairs, to see whether they are pairs
ALIKE = 0.8  # of the distance of images that are none
_NAMES = {"valid": "validation", "test": "test"}
SHOWN = 6  # examples of an attack


def pairs(source: Files, split: str = "valid") -> tuple[Images, Images]:
    """The clean images of a split that were poisoned, and the poisoned ones, in one order.

    Which belongs to which is told by `clean_index` in the poisoned file. Without it the i-th is
    taken for the i-th clean image, or the i-th that is not of the target's class, whichever looks
    more like it. Raises NotApplicable where there are no such images, or neither looks like it.
    """
    clean, poisoned = source.read(split), source.read(f"poisoned_{split}")
    if poisoned is None:
        raise NotApplicable(
            "this order is an oracle: it needs poisoned validation images, bd/bd_valid.h5 under "
            "data.root or data.poisoned_valid; take another order"
        )
    if poisoned.shape != clean.shape:
        raise BadInput(
            f"the poisoned {_NAMES[split]} images are {poisoned.shape} (height, width, channels), "
            f"the clean ones {clean.shape}; expected the same"
        )
    index = source.clean_index(f"poisoned_{split}")
    if index is None:
        index = _found(clean, poisoned)
    elif len(index) != len(poisoned) or index.max(initial=0) >= len(clean):
        raise BadInput(
            f"{getattr(source, f'poisoned_{split}')}: clean_index has {len(index)} values up to "
            f"{index.max(initial=0)}; expected one for each of {len(poisoned)} images, below "
            f"{len(clean)}, as many clean {_NAMES[split]} images as there are"
        )
    key = clean.key and files.key([clean.key, index.tolist()])
    return Images(clean.pixels.take(index, axis=0), clean.labels[index], key=key), poisoned


def examples(source: Files) -> tuple[Pictures, Pictures, list[tuple[int, int]]] | None:
    """Some poisoned test images, of every target, and the clean ones they were made from.

    The clean ones' pixels, the poisoned ones', and of each the true class and the target; at least
    one of each target, `SHOWN` of a single one. None where there are no pairs, see `pairs`.
    """
    if source.poisoned_test is None:
        return None
    try:
        clean, poisoned = pairs(source, "test")
    except BadInput:  # a run goes on without a picture
        return None
    targets, some = np.unique(poisoned.labels), []
    rng = np.random.default_rng(0)
    for target in targets:
        own = np.flatnonzero(poisoned.labels == target)
        many = min(len(own), max(1, SHOWN // len(targets)))
        some += sorted(rng.choice(own, many, replace=False).tolist())
    before, after = (each.pixels.take(some, axis=0)[:] for each in (clean, poisoned))
    classes = zip(clean.labels[some].tolist(), poisoned.labels[some].tolist(), strict=True)
    return before, after, list(classes)


def _found(clean: Images, poisoned: Images) -> NDArray[np.int64]:
    """The clean image of each poisoned one, by place and looks."""
    not_target = np.flatnonzero(clean.labels != poisoned.labels[0])
    guesses = [
        index[: len(poisoned)]
        for index in (not_target, np.arange(len(clean)))
        if len(index) >= len(poisoned)
    ]
    if guesses:
        best = min(guesses, key=lambda index: _distance(clean, poisoned, index))
        apart = _distance(clean, poisoned, np.roll(best, 1))
        if _distance(clean, poisoned, best) < ALIKE * apart:
            return best
    raise NotApplicable(
        "this order is an oracle: it needs to know which clean validation image each poisoned one "
        "was made from, and the files do not tell; add clean_index to the poisoned file"
    )


def _distance(clean: Images, poisoned: Images, index: NDArray[np.int64]) -> float:
    """Mean absolute difference of the pixels of some pairs, spread over all."""
    some = np.unique(np.linspace(0, len(index) - 1, min(LOOKED_AT, len(index))).astype(int))
    ours = poisoned.pixels.take(some, axis=0)[:]
    return float(np.abs(ours - clean.pixels.take(index[some], axis=0)[:]).mean())
