"""What a defender has: a suspect network, clean validation images with labels, and time.

Orders that train, repairs and reversed triggers are given a `Defender` and nothing else, so none of
them can see a test image or a poisoned one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import files, networks
from sweep.cache import Cache
from sweep.data import Images
from sweep.data.images import HeldPixels
from sweep.files import VERSIONS

#: The packages that what a defender makes depends on, beside network, images and settings.
MADE_BY = ("data", "evaluation", "networks", "training")
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Defender:
    """`network` as it is now, and as it came (`suspect`); `images` are clean validation images.

    seed: the run's one integer.
    cache: where what took long is kept, see `get_or_compute`.
    """

    network: keras.Model
    images: Images
    seed: int = 0
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)
    original: keras.Model | None = field(default=None, repr=False)
    _read: list[HeldPixels] = field(default_factory=list, compare=False, repr=False)

    @property
    def suspect(self) -> keras.Model:
        """The network as it came, before anything was pruned or repaired."""
        return self.network if self.original is None else self.original

    def with_network(self, network: keras.Model) -> "Defender":
        """The same defender, whose network has become this one."""
        return replace(self, network=network, original=self.suspect)

    @property
    def pixels(self) -> HeldPixels:
        """All images in memory, where they are drawn from again and again; read once."""
        if not self._read:
            self._read.append(self.images.held())
        return self._read[0]

    def sample(self, count: int | None = None, *, key: int = 0) -> Batch:
        """`count` of the images, drawn by seed and `key`, and their labels; None or too many: all.

        Pixels are float32 (n, height, width, channels), labels int64 (n,).
        """
        return self._rows(self._shuffled(key)[:count])

    def unlearned(self, learned: int) -> NDArray[np.int64]:
        """The rows of images that no repair has seen labels of, sorted: all but the first of these.

        `learned` is how many of `sample()` repairs have learned, see `repairs.learned_images`.
        """
        return np.sort(self._shuffled(0)[learned:])

    def batches(self, size: int, *, key: int = 0) -> Iterator[Batch]:
        """Batches of `size` images (fewer where there are fewer), without end.

        Each image comes once, then all again in another order.
        """
        rng, size = self._rng(key), min(size, len(self.images))
        rows = np.empty(0, dtype=np.int64)
        while True:
            while len(rows) < size:
                rows = np.concatenate([rows, rng.permutation(len(self.images))])
            yield self._rows(rows[:size])
            rows = rows[size:]

    def get_or_compute(
        self, name: str, settings: object, compute: Callable[[], Mapping[str, NDArray]]
    ) -> dict[str, NDArray]:
        """The arrays that `settings` make of network, images and seed; made once.

        Once for the same sources of the packages that a defender works with.
        """
        made_of = [networks.digest(self.network), self.images.key or uuid4().hex, self.seed]
        key = files.key([*made_of, settings, VERSIONS], *MADE_BY)
        return self.cache.get_or_compute(f"{name}/{key}", lambda: dict(compute()))

    def _shuffled(self, key: int) -> NDArray[np.int64]:
        return self._rng(key).permutation(len(self.images))

    def _rng(self, key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, key])

    def _rows(self, rows: NDArray[np.int64]) -> Batch:
        return self.pixels[rows], self.images.labels[rows]
