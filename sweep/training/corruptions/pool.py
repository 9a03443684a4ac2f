"""Corruptions that a network heeds, found by trying, and followed while it learns."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.data.images import pixel_range
from sweep.networks import forward, outputs
from sweep.networks.keras_internals import Tensor
from sweep.training.corruptions.families import FAMILIES, Corruption, Family, draw, mutated

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Batch = tuple[Array, Labels]
AT_ONCE = 96  # images, to try corruptions
TRIED = 40  # corruptions for each that is taken
FEW, MANY = 4, 24  # images on which each is tried, and on which the better ones are
GENERATIONS = 6  # of mutated ones, before the network learns
REPLACED = 4  # before each batch
EVENLY = 0.5  # share of the images that is dealt to all corruptions alike
ANEW = 0.5  # share of the corruptions put in that are drawn anew
KEPT = 0.7  # of a corruption's mean cost, at each further image


class CorruptionPool:
    """Corruptions, the same for all images, as long as the network heeds them.

    A backdoor is heeded where hardly anything else is: of many random corruptions those near its
    trigger cost a network far more than the others. So many of each family are tried on it, and of
    those that cost most, in cross-entropy, mutated ones; `size` are taken in all. Half of the
    images are dealt to them evenly, half by what each costs. Before every batch the cheapest of a
    family makes place for another, drawn anew or near one that costs more. `strength` is that of
    `Corruption`.

    There is no gradient in that. What is found are images that are still what they were, and
    learning them costs little accuracy, where learning the perturbations that gradients find costs
    much. Search by mutation and selection is that of evolution strategies (Beyer and Schwefel,
    Natural Computing 2002).
    """

    def __init__(
        self,
        network: keras.Model,
        pixels: Array,
        labels: Labels,
        *,
        size: int,
        strength: float,
        seed: int,
    ) -> None:
        self._network, self._strength = network, strength
        self._low, self._high = map(float, pixel_range(pixels))
        specs = [forward.image_spec(network), tf.TensorSpec((None,), tf.int64)]
        self._compiled_costs = forward.compiled(lambda *batch: _costs(network, *batch), specs)
        rng = np.random.default_rng([seed, 21])
        found = [
            one
            for family, count in _quotas(size).items()
            for one in self._search(family, count, (pixels, labels), rng)
        ]
        corruptions, costs = zip(*found, strict=True)
        # Variables, all of it: training that starts anew sets them to what they were.
        self._families = tf.Variable([_number(each) for each in corruptions], dtype=tf.int64)
        self._places = tf.Variable(np.stack([each.place for each in corruptions]))
        self._seeds = tf.Variable([each.seed for each in corruptions], dtype=tf.int64)
        self._costs = tf.Variable(np.array(costs, np.float32))
        self.variables = [self._families, self._places, self._seeds, self._costs]

    @property
    def corruptions(self) -> list[Corruption]:
        """Those that are in the pool now."""
        rows = zip(self._families.numpy(), self._places.numpy(), self._seeds.numpy(), strict=True)
        families = [*FAMILIES]
        return [Corruption(families[family], place, int(seed)) for family, place, seed in rows]

    def draw(self, pixels: Array, labels: Labels, rng: np.random.Generator) -> list[NDArray]:
        """The images, each with a corruption of the pool, and the number of that, (n,)."""
        costs = self._replace_cheapest(rng)
        costs = np.maximum(costs, 1e-3)
        chances = (1 - EVENLY) * costs / costs.sum() + EVENLY / len(costs)
        numbers = rng.choice(len(costs), size=len(labels), p=chances / chances.sum())
        corruptions, corrupted = self.corruptions, np.empty_like(pixels)
        for number in np.unique(numbers):
            rows = numbers == number
            corrupted[rows] = self._corrupted(corruptions[number], pixels[rows])
        return [corrupted, numbers]

    def __call__(self, pixels: Tensor, labels: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """The corrupted images; what each costs the network is counted to its corruption."""
        corrupted, numbers = drawn
        costs = _costs(self._network, corrupted, labels)
        means = KEPT * tf.gather(self._costs, numbers) + (1 - KEPT) * costs
        self._costs.assign(tf.tensor_scatter_nd_update(self._costs, numbers[:, None], means))
        return corrupted

    def _search(
        self, family: Family, count: int, images: Batch, rng: np.random.Generator
    ) -> list[tuple[Corruption, float]]:
        """So many of a family that cost most, and what each costs."""
        born = [draw(family, rng) for _ in range(TRIED * count)]
        costs = self._try(born, FEW, images, rng)
        born = [born[place] for place in np.argsort(-costs, kind="stable")[: 4 * count]]
        costs = self._try(born, MANY, images, rng)
        for _ in range(GENERATIONS):
            best = np.argsort(-costs, kind="stable")[:count]
            parents, costs = [born[place] for place in best], costs[best]
            children = [mutated(parent, rng) for parent in parents]
            born = parents + children
            costs = np.concatenate([costs, self._try(children, MANY, images, rng)])
        best = np.argsort(-costs, kind="stable")[:count]
        return [(born[place], float(costs[place])) for place in best]

    def _try(
        self, born: Sequence[Corruption], count: int, images: Batch, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """What each costs, (born,), on `count` images that are drawn for it."""
        pixels, labels = images
        costs, at_once = [], max(1, AT_ONCE // count)
        for start in range(0, len(born), at_once):
            some = born[start : start + at_once]
            rows = rng.integers(len(labels), size=(len(some), count))
            corrupted = [self._corrupted(*each) for each in zip(some, pixels[rows], strict=True)]
            costs.append(self._compiled_costs(np.concatenate(corrupted), labels[rows.ravel()]))
        return np.concatenate(costs).reshape(len(born), count).mean(axis=1)

    def _corrupted(self, corruption: Corruption, pixels: Array) -> Array:
        span = self._high - self._low
        corrupted = corruption((pixels - self._low) / span, self._strength)
        return (self._low + span * corrupted).astype(np.float32)

    def _replace_cheapest(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Put `REPLACED` others in the places of the cheapest of their families; all costs then.

        Each is taken to cost the median of its family.
        """
        families, corruptions = self._families.numpy(), self.corruptions
        costs: NDArray[np.float32] = self._costs.numpy()
        for _ in range(REPLACED):
            rows = np.flatnonzero(families == rng.choice(families))
            median = np.median(costs[rows])
            parent = corruptions[rng.choice(rows[costs[rows] >= median])]
            is_new = rng.random() < ANEW
            place = rows[costs[rows].argmin()]
            corruptions[place] = draw(parent.family, rng) if is_new else mutated(parent, rng)
            costs[place] = median
        self._places.assign(np.stack([each.place for each in corruptions]))
        self._seeds.assign([each.seed for each in corruptions])
        self._costs.assign(costs)
        return costs


def _quotas(size: int) -> dict[Family, int]:
    """How many of `size` each family has, by its share in `FAMILIES`, at least one."""
    total = sum(FAMILIES.values())
    return {family: max(1, round(size * share / total)) for family, share in FAMILIES.items()}


def _number(corruption: Corruption) -> int:
    return [*FAMILIES].index(corruption.family)


def _costs(network: keras.Model, pixels: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each image, (n,); 0 where a network that broke gives none."""
    costs = -outputs.log_likelihood(network, pixels, labels)
    return tf.where(tf.math.is_finite(costs), costs, 0.0)
