"""What corruptions turn images into: of each kind, the one that a network heeds most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sweep import terminal
from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.training.corruptions.families import (
    FAMILIES,
    Corruption,
    Family,
    draw,
    mutated,
    small_cover,
)
from sweep.training.defender import Batch, Defender

Shares: TypeAlias = NDArray[np.float64]

SEARCHED: dict[str, Family] = {family.__name__: family for family in (*FAMILIES, small_cover)}
STRENGTH = 0.25  # of stripes, patterns and tints
TRIED, FEW = 480, 12  # corruptions of each family, and the images on which each is tried
KEPT, MANY = 16, 64  # those that go on, and the images on which they are tried
OF_A_CLASS = 4  # of those that go on, at most so many turn images into the same class
GENERATIONS = 5
OVER = 1.5  # an all-to-all trigger makes as many of each class as there were of another
AT_ONCE = 240  # images that a network is given together


@dataclass(frozen=True)
class Heeded:
    """What the corruptions of a family turn images into, and those that do most.

    shares: of images of other classes, what the corruption which does most there turns into each
        class, (classes + 1,), in 0..1. At the end over all classes: of all images, those that it
        turns into another class, but of each no more than `OVER` times the largest class has.
    corruptions: those that were left at the end of the search.
    """

    shares: Shares
    corruptions: list[Corruption]


def most_heeded(defender: Defender) -> dict[str, Heeded]:
    """Return by family what its corruptions turn images into, and which do most; made once.

    Looked for among random ones and, for some generations, mutated ones. Counted are clean
    validation images that the defender's network is right on, `MANY` at a time: a share is right to
    some hundredths, and as the largest of many rather too high. A backdoor turns nearly all images
    into its target; a class may also be heeded by nature, as one that a large rectangle looks like.
    """
    settings = [STRENGTH, TRIED, FEW, KEPT, MANY, OF_A_CLASS, GENERATIONS, OVER, AT_ONCE]

    def compute() -> dict[str, NDArray]:
        trial, arrays = Trial(defender), {}
        rng = np.random.default_rng([defender.seed, 22])
        total = len(SEARCHED) * (TRIED * FEW + KEPT * MANY * (1 + GENERATIONS))
        with terminal.progress("corrupting", total, "images") as done:
            for name, family in SEARCHED.items():
                found = _search(trial, family, rng, done)
                arrays[f"{name} shares"] = found.shares
                arrays[f"{name} places"] = np.array([each.place for each in found.corruptions])
                arrays[f"{name} seeds"] = np.array([each.seed for each in found.corruptions])
        return arrays

    arrays = defender.get_or_compute("heeded", settings, compute)
    return {
        name: Heeded(
            arrays[f"{name} shares"],
            [
                Corruption(family, place, int(seed))
                for place, seed in zip(
                    arrays[f"{name} places"], arrays[f"{name} seeds"], strict=True
                )
            ],
        )
        for name, family in SEARCHED.items()
    }


def _search(
    trial: "Trial", family: Family, rng: np.random.Generator, progress: Callable[[int], object]
) -> Heeded:
    """Those go on that make a class most probable, which tells more than the images that turn."""
    born = [draw(family, rng) for _ in range(TRIED)]
    _, probable = trial.run(born, FEW, rng, progress)
    parents = [born[place] for place in _best(probable, KEPT)]
    shares, probable = trial.run(parents, MANY, rng, progress)
    largest = shares.max(axis=0)
    for _ in range(GENERATIONS):
        children = [mutated(parent, rng) for parent in parents]
        shares, of_children = trial.run(children, MANY, rng, progress)
        largest = np.maximum(largest, shares.max(axis=0))
        probable = np.concatenate([probable, of_children])
        chosen = _best(probable, KEPT)
        parents, probable = [(parents + children)[place] for place in chosen], probable[chosen]
    return Heeded(largest, parents)


class Trial:
    """Corrupts images that a network is right on, and tells what it says of them."""

    def __init__(self, defender: Defender) -> None:
        network = defender.network
        self.classes = network.output_shape[-1]
        self._log_probabilities = forward.compiled(
            partial(outputs.log_probabilities, network), [forward.image_spec(network)]
        )
        pixels, labels = defender.sample()
        is_right = forward.predict(network, pixels) == labels
        self._images: Batch = pixels[is_right], labels[is_right]
        self._low, self._high = map(float, pixel_range(pixels))
        of_class = np.bincount(self._images[1], minlength=self.classes)
        self._most = OVER * of_class.max() / max(1, len(self._images[1]))

    def run(
        self,
        corruptions: Sequence[Corruption],
        count: int,
        rng: np.random.Generator,
        progress: Callable[[int], object],
    ) -> tuple[Shares, Shares]:
        """What each turns `count` images into, drawn anew, (corruptions, classes + 1) both.

        Shares as those of `Heeded`, and the same of probabilities in place of what is said.
        """
        pixels, labels = self._images
        shares, probable = np.zeros((2, len(corruptions), self.classes + 1))
        if not len(labels):
            return shares, probable
        together = max(1, AT_ONCE // count)
        for start in range(0, len(corruptions), together):
            some = corruptions[start : start + together]
            rows = rng.integers(len(labels), size=(len(some), count))
            corrupted = np.concatenate(
                [
                    self._corrupted(each, pixels[drawn])
                    for each, drawn in zip(some, rows, strict=True)
                ]
            )
            logs = np.asarray(self._log_probabilities(corrupted), np.float64)
            said = np.nan_to_num(np.exp(logs)).reshape(*rows.shape, self.classes)
            given = labels[rows][..., np.newaxis]
            is_other = np.arange(self.classes) != given
            others = np.maximum(is_other.sum(axis=1), 1)
            turned = np.eye(self.classes)[said.argmax(axis=2)] * is_other
            here = slice(start, start + len(some))
            shares[here, :-1] = turned.sum(axis=1) / others
            shares[here, -1] = np.minimum(turned.mean(axis=1), self._most).sum(axis=1)
            probable[here, :-1] = (said * is_other).sum(axis=1) / others
            spread = np.minimum((said * is_other).mean(axis=1), self._most)
            probable[here, -1] = spread.sum(axis=1)
            progress(rows.size)
        return shares, probable

    def _corrupted(self, corruption: Corruption, pixels: NDArray) -> NDArray[np.float32]:
        span = max(self._high - self._low, 1e-9)
        corrupted = corruption((pixels - self._low) / span, STRENGTH)
        return (self._low + span * corrupted).astype(np.float32)


def _best(probable: Shares, count: int) -> list[int]:
    """The places of the `count` that make one class most probable, few of each class.

    First come as few that make any other class most probable.
    """
    found = np.argsort(-probable[:, -1], kind="stable")[:OF_A_CLASS].tolist()
    of_classes = probable[:, :-1]
    of_class = np.zeros(of_classes.shape[1], np.int64)
    for place in np.argsort(-of_classes.max(axis=1), kind="stable"):
        cls = of_classes[place].argmax()
        if of_class[cls] < OF_A_CLASS and len(found) < count and place not in found:
            of_class[cls] += 1
            found.append(int(place))
    return found
