"""Whether B' can be trusted, told from clean images alone: what it lost, what still turns it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import terminal
from sweep.evaluation.significance import clopper_pearson, paired
from sweep.networks import forward
from sweep.training import Defender, inversion, inversion_search
from sweep.training.corruptions import Heeded, most_heeded
from sweep.training.inversion import ReversedTriggers
from sweep.training.perturbations import limit_area

RESIDUAL_AREA = 0.01  # of the image: a backdoor still works there, what a class looks like does not
LOSS = 0.02  # of the images that B is right on, which B' may cost
STILL_WORKS = 0.5  # of the images become another class
CLASS_LOSS, FEW_OF_A_CLASS = 0.2, 2  # share and number of a class's images, from which it is named

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Recheck:
    """B' beside B on clean validation images, and what changes of images still do to it.

    lost, gained: of the `images` that no repair has learned, those that B alone is right on, and B'
    alone. class_losses: of all images those of each class that B is right on and B' is not,
    (classes,), and class_sizes, how many it has. reversed_triggers: the share of images that the
    best reversed mask turns, see `residual_triggers`. corruptions: by family, the share that one
    turns into each class, (classes,), see `corruptions.most_heeded`; of B as `badnet_corruptions`.
    """

    images: int
    lost: int
    gained: int
    class_losses: NDArray[np.int64]
    class_sizes: NDArray[np.int64]
    reversed_triggers: float
    corruptions: dict[str, NDArray[np.float64]]
    badnet_corruptions: dict[str, NDArray[np.float64]]

    @property
    def highest_loss(self) -> float:
        """At most this share of further such images becomes wrong, surer than 95 %."""
        return clopper_pearson(self.lost, self.images, alpha=0.1)[1]

    @property
    def worst_corruption(self) -> tuple[float, str, int]:
        """The share that the corruption which does most turns, its family, and into which class."""
        shares = {family: of_class.max() for family, of_class in self.corruptions.items()}
        family = max(shares, key=lambda family: shares[family])
        return float(shares[family]), family, int(self.corruptions[family].argmax())

    @property
    def metrics(self) -> dict[str, float]:
        """The recheck as metrics of a run."""
        badnet = max(of_class.max() for of_class in self.badnet_corruptions.values())
        return {
            "repaired/reversed_trigger_success": self.reversed_triggers,
            "repaired/corruption_success": self.worst_corruption[0],
            "badnet/corruption_success": float(badnet),
            "repaired/corruption_excess": excess(self.corruptions),
            "badnet/corruption_excess": excess(self.badnet_corruptions),
            "repaired/highest_loss": self.highest_loss,
        }

    @property
    def doubts(self) -> list[str]:
        """What speaks against B', in words; [] for nothing."""
        share, family, cls = self.worst_corruption
        lowest_loss = clopper_pearson(self.lost, self.images, alpha=0.1)[0]
        doubts = []
        if self.lost > self.gained and lowest_loss > LOSS:
            doubts.append("it has lost too much accuracy")
        if self._lost_classes:
            doubts.append(self._lost_classes)
        if self.reversed_triggers >= STILL_WORKS:
            doubts.append(
                f"a reversed trigger on {100 * RESIDUAL_AREA:g} % of the image still turns "
                f"{100 * self.reversed_triggers:.0f} % of the images"
            )
        if share >= STILL_WORKS:
            doubts.append(
                f"a corruption ({family.replace('_', ' ')}) turns {100 * share:.0f} % of the "
                f"images into class {cls} (of B {100 * self.badnet_corruptions[family][cls]:.0f} %)"
            )
        return doubts

    @property
    def _lost_classes(self) -> str:
        """The classes that lost most, in words; "" where none lost much."""
        shares = self.class_losses / np.maximum(self.class_sizes, 1)
        lost = np.flatnonzero((shares >= CLASS_LOSS) & (self.class_losses >= FEW_OF_A_CLASS))
        worst = lost[np.argsort(-shares[lost], kind="stable")][:3]
        of_each = [f"{cls} ({self.class_losses[cls]} of {self.class_sizes[cls]})" for cls in worst]
        return f"images of some classes are lost: class {', '.join(of_each)}" if len(worst) else ""

    @property
    def sentence(self) -> str:
        """Whether B' can be trusted, in words."""
        sentence = (
            f"Of {self.images} clean images that B' has not learned it loses {self.lost} that B is "
            f"right on, and gains {self.gained}; of others like them it loses at most "
            f"{100 * self.highest_loss:.1f} % (95 %)."
        )
        if self.doubts:
            return f"{sentence} B' is not to be trusted: {'; '.join(self.doubts)}."
        if self.highest_loss > LOSS:
            return (
                f"{sentence} Nothing else that clean images tell speaks against B', but so few "
                f"would not show a loss of {100 * LOSS:g} points."
            )
        return f"{sentence} Nothing that clean images tell speaks against B'."


def recheck(defender: Defender, repaired: keras.Model, learned: int) -> Recheck:
    """Return what can be told of B', `repaired`, beside B, the network of `defender`.

    `learned` is how many images repairs have learned, see `repairs.applicability.learned_images`.
    """
    labels, classes = defender.images.labels, repaired.output_shape[-1]
    badnet_right, right = (
        forward.predict(network, defender.pixels) == labels
        for network in (defender.network, repaired)
    )
    unlearned, now = defender.unlearned(learned), defender.with_network(repaired)
    lost, gained, _ = paired(badnet_right[unlearned], right[unlearned])
    return Recheck(
        len(unlearned),
        lost,
        gained,
        class_losses=np.bincount(labels[badnet_right & ~right], minlength=classes),
        class_sizes=np.bincount(labels, minlength=classes),
        reversed_triggers=residual_triggers(now),
        corruptions=_into_classes(most_heeded(now)),
        badnet_corruptions=_into_classes(most_heeded(defender)),
    )


def excess(shares: Mapping[str, NDArray[np.float64]]) -> float:
    """Return how far one class stands out of what corruptions turn images into, in 0..1.

    shares: by family, of each class, (classes,). Of a family the largest, less the median class's:
    what networks heed by nature makes many classes, and a backdoor one or a few. Of all families
    the mean.

    >>> excess({"flow": np.array([0.9, 0.2, 0.1]), "tint": np.array([0.3, 0.3, 0.3])})
    0.35
    """
    above = [float(of_class.max() - np.median(of_class)) for of_class in shares.values()]
    return fmean(above)


def _into_classes(found: Mapping[str, Heeded]) -> dict[str, NDArray[np.float64]]:
    return {family: heeded.shares[:-1] for family, heeded in found.items()}


def residual_triggers(defender: Defender, area: float = RESIDUAL_AREA) -> float:
    """Return what triggers, reversed anew, still do to the network of `defender`, in 0..1.

    Each class has its reversed mask, cut down to at most a share `area` of the image; of the class
    for which it does most, the share of clean validation images of other classes that become it. A
    stand-in for the attack success that a defender may see: it needs no poisoned image, and is no
    more than that.
    """
    total = inversion_search.Search("mask").total(defender.network.output_shape[-1])
    with terminal.progress("reversing triggers", total, "steps") as done:
        triggers = inversion.invert(defender, kind="mask", progress=done)
    return float(inversion.success(defender, _limited(triggers, area)).max())


def _limited(triggers: ReversedTriggers, area: float) -> ReversedTriggers:
    """The same triggers, the masks of which cover at most a share `area` of the image."""
    masks = np.asarray(limit_area(triggers.masks, area))
    shares = np.divide(masks, triggers.masks, out=np.zeros_like(masks), where=triggers.masks > 0)
    return replace(triggers, masks=masks, paints=triggers.paints * shares)
