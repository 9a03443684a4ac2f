"""Which clean image each poisoned one was made from: for oracles, and for the attack's picture."""

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable, files
from sweep.data.images import Images
from sweep.data.sources import Files

Pictures = NDArray[np.float32]

COMPARED_PAIRS = 64  # pairs, to see whether they are pairs
MAX_DISTANCE = 0.8  # of the distance of images that are no pairs
_NAMES = {"valid": "validation", "test": "test"}
EXAMPLES = 6  # examples of an attack


def pairs(source: Files, split: str = "valid") -> tuple[Images, Images]:
    """Return the clean images of a split that were poisoned, and the poisoned ones, in one order.

    Which belongs to which is told by `clean_index` in the poisoned file. Without it the i-th is
    taken for the i-th clean image, or the i-th that is not of the target's class, whichever looks
    more like it. Raises NotApplicable where there are no such images, or neither looks like it.
    """
    clean, poisoned = source.read_clean(split), source.read(f"poisoned_{split}")
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
        index = _guess_index(clean, poisoned)
    elif len(index) != len(poisoned) or index.max(initial=0) >= len(clean):
        raise BadInput(
            f"{getattr(source, f'poisoned_{split}')}: clean_index has {len(index)} values up to "
            f"{index.max(initial=0)}; expected one for each of {len(poisoned)} images, below "
            f"{len(clean)}, as many clean {_NAMES[split]} images as there are"
        )
    key = clean.key and files.key([clean.key, index.tolist()])
    return Images(clean.pixels.take(index, axis=0), clean.labels[index], key=key), poisoned


def examples(source: Files) -> tuple[Pictures, Pictures, list[tuple[int, int]]] | None:
    """Return a few clean test images, their poisoned versions, and their (true class, target).

    As many of each target, `EXAMPLES` in all where there are no fewer. None where there are no
    pairs, see `pairs`.
    """
    if source.poisoned_test is None:
        return None
    try:
        clean, poisoned = pairs(source, "test")
    except BadInput:  # a run goes on without a picture
        return None
    targets = np.unique(poisoned.labels)
    rng = np.random.default_rng(0)
    if len(targets) > EXAMPLES:
        targets = np.sort(rng.choice(targets, EXAMPLES, replace=False))
    chosen: list[int] = []
    for target in targets:
        of_target = np.flatnonzero(poisoned.labels == target)
        count = min(len(of_target), EXAMPLES // len(targets))
        chosen += sorted(rng.choice(of_target, count, replace=False).tolist())
    rows = np.array(chosen, np.int64)
    classes = zip(clean.labels[rows].tolist(), poisoned.labels[rows].tolist(), strict=True)
    before, after = clean.pixels.take(rows, axis=0)[:], poisoned.pixels.take(rows, axis=0)[:]
    return before, after, list(classes)


def _guess_index(clean: Images, poisoned: Images) -> NDArray[np.int64]:
    """Return the index of the clean image of each poisoned one, guessed by place and looks."""
    not_target = np.flatnonzero(clean.labels != poisoned.labels[0])
    guesses = [
        index[: len(poisoned)]
        for index in (not_target, np.arange(len(clean)))
        if len(index) >= len(poisoned)
    ]
    if guesses:
        best = min(guesses, key=lambda index: _distance(clean, poisoned, index))
        distance_of_others = _distance(clean, poisoned, np.roll(best, 1))
        if _distance(clean, poisoned, best) < MAX_DISTANCE * distance_of_others:
            return best
    raise NotApplicable(
        "this order is an oracle: it needs to know which clean validation image each poisoned one "
        "was made from, and the files do not tell; add clean_index to the poisoned file"
    )


def _distance(clean: Images, poisoned: Images, index: NDArray[np.int64]) -> float:
    """Return the mean absolute difference of the pixels of `COMPARED_PAIRS`, spread over all."""
    rows = np.unique(np.linspace(0, len(index) - 1, min(COMPARED_PAIRS, len(index))).astype(int))
    after, before = poisoned.pixels.take(rows, axis=0)[:], clean.pixels.take(index[rows], axis=0)[:]
    return float(np.abs(after - before).mean())
