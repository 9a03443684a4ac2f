"""What an attacker has who meets B' again: the network, poisoned images, and time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from sweep.data import Files, Images
from sweep.evaluation import metrics
from sweep.networks import forward


@dataclass(frozen=True)
class Attacker:
    """`badnet` and `repaired` are B and B', which are never changed; `files` has poisoned images.

    images: by name, of them the "test" and the "poisoned" ones judge.
    seed: the run's one integer.
    make_twin: gives the clean twin of B, the network trained as B was but without the attack; None
        where nobody can train it.
    """

    badnet: keras.Model
    repaired: keras.Model
    files: Files
    images: Mapping[str, Images]
    seed: int
    make_twin: Callable[[], keras.Model] | None = None

    @cached_property
    def attacked(self) -> Images:
        """The poisoned test images that count, see `metrics.attacked`."""
        return counted(self.images["poisoned"])

    @property
    def judging(self) -> int:
        """How many images `rates` looks at."""
        return len(self.images["test"]) + len(self.attacked)

    def probed(self, probes: Mapping[str, "Probe"]) -> dict[str, float]:
        """All rates of `probes`, each behind its probe's name: "relearn/5/clean_accuracy"."""
        return {
            f"{name}/{rate}": float(value)
            for name, probe in probes.items()
            for rate, value in probe(self).items()
        }

    def rates(self, network: keras.Model, progress: forward.Progress) -> dict[str, float]:
        """Attack success and clean accuracy of `network` on test images."""
        sets = {"attack_success_rate": self.attacked, "clean_accuracy": self.images["test"]}
        return {
            rate: share_right(network, images.pixels, images, progress)
            for rate, images in sets.items()
        }


#: Measures B': gives rates by their names.
Probe = Callable[[Attacker], Mapping[str, float]]


def counted(poisoned: Images) -> Images:
    """Those of the images whose true class is not the target's, as far as it is known."""
    rows = np.flatnonzero(metrics.attacked(poisoned.labels, poisoned.true_labels))
    return Images(poisoned.pixels.take(rows, axis=0), poisoned.labels[rows])


def share_right(
    network: keras.Model, pixels: forward.Pixels, images: Images, progress: forward.Progress
) -> float:
    """The share of `pixels` to which `network` gives the label of the image at its place."""
    return float(np.mean(forward.scores(network, pixels, progress).argmax(axis=1) == images.labels))
