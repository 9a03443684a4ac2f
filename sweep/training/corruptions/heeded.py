"""What corruptions turn images into: of each kind, the one that a network heeds most."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sweep import terminal
from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.training.corruptions.families import FAMILIES, Corruption, Family, draw, mutated
from sweep.training.defender import Batch, Defender

Shares: TypeAlias = NDArray[np.float64]

STRENGTH = 0.25  # of stripes, patterns and tints
TRIED, FEW = 240, 12  # corruptions of each family, and the images on which each is tried
KEPT, MANY = 16, 64  # those that go on, and the images on which they are tried
OF_A_CLASS = 4  # of those that go on, at most so many turn images into the same class
GENERATIONS = 5


def most_heeded(defender: Defender) -> dict[str, Shares]:
    """Return by family the share of images that its corruptions turn into each class, (classes,).

    That of the corruption which does most there, of random ones and, for some generations, of
    mutated ones; made once. Counted are clean validation images that the defender's network is
    right on, of other classes, `MANY` at a time: a share is right to some hundredths, and as the
    largest of many rather too high. A backdoor turns nearly all images into its target; a class may
    also be heeded by nature, as one that a large rectangle looks like.
    """
    classes = defender.network.output_shape[-1]
    settings = [STRENGTH, TRIED, FEW, KEPT, MANY, OF_A_CLASS, GENERATIONS]

    def compute() -> dict[str, NDArray]:
        search = _Search(defender, classes)
        with terminal.progress("corrupting", len(FAMILIES) * search.total, "images") as done:
            return {family.__name__: search.shares(family, done) for family in FAMILIES}

    return defender.get_or_compute("heeded", settings, compute)


class _Search:
    """Tries corruptions on the images that a network is right on."""

    total = TRIED * FEW + KEPT * MANY * (1 + GENERATIONS)  # images, of each family

    def __init__(self, defender: Defender, classes: int) -> None:
        network = defender.network
        self._log_probabilities = forward.compiled(
            partial(outputs.log_probabilities, network), [forward.image_spec(network)]
        )
        pixels, labels = defender.sample()
        is_right = forward.predict(network, pixels) == labels
        self._images: Batch = pixels[is_right], labels[is_right]
        self._low, self._high = map(float, pixel_range(pixels))
        self._classes = classes
        self._rng = np.random.default_rng([defender.seed, 22])

    def shares(self, family: Family, progress: Callable[[int], object]) -> Shares:
        """The largest share of images that a corruption of `family` turns into each class.

        Those go on that make a class most probable, which tells more than the images that turn.
        """
        largest = np.zeros(self._classes)
        if not len(self._images[1]):
            return largest
        born = [draw(family, self._rng) for _ in range(TRIED)]
        _, probable = self._try(born, FEW, progress)
        parents = [born[place] for place in _best(probable, KEPT)]
        shares, probable = self._try(parents, MANY, progress)
        for _ in range(GENERATIONS):
            largest = np.maximum(largest, shares.max(axis=0))
            children = [mutated(parent, self._rng) for parent in parents]
            shares, of_children = self._try(children, MANY, progress)
            probable = np.concatenate([probable, of_children])
            chosen = _best(probable, KEPT)
            parents, probable = [(parents + children)[place] for place in chosen], probable[chosen]
        return np.maximum(largest, shares.max(axis=0))

    def _try(
        self, born: Sequence[Corruption], count: int, progress: Callable[[int], object]
    ) -> tuple[Shares, Shares]:
        """What each turns `count` images of other classes into, (born, classes) both.

        The share that it turns into each class, and how probable the network says that class is, in
        the mean.
        """
        pixels, labels = self._images
        shares, probable = np.zeros((2, len(born), self._classes))
        for number, corruption in enumerate(born):
            rows = self._rng.integers(len(labels), size=count)
            corrupted = self._corrupted(corruption, pixels[rows])
            said = np.exp(np.asarray(self._log_probabilities(corrupted), np.float64))
            is_other = np.arange(self._classes) != labels[rows, np.newaxis]
            others = np.maximum(is_other.sum(axis=0), 1)
            turned = np.eye(self._classes)[said.argmax(axis=1)] * is_other
            shares[number] = turned.sum(axis=0) / others
            probable[number] = np.where(is_other, np.nan_to_num(said), 0).sum(axis=0) / others
            progress(count)
        return shares, probable

    def _corrupted(self, corruption: Corruption, pixels: NDArray) -> NDArray[np.float32]:
        span = max(self._high - self._low, 1e-9)
        corrupted = corruption((pixels - self._low) / span, STRENGTH)
        return (self._low + span * corrupted).astype(np.float32)


def _best(probable: Shares, count: int) -> list[int]:
    """The places of the `count` that make one class most probable, few of each class."""
    found: list[int] = []
    of_class = np.zeros(probable.shape[1], np.int64)
    for place in np.argsort(-probable.max(axis=1), kind="stable"):
        cls = probable[place].argmax()
        if of_class[cls] < OF_A_CLASS and len(found) < count:
            of_class[cls] += 1
            found.append(int(place))
    return found
