"""A verdict on a network, without a poisoned image: is there a sign of a backdoor?

Reversed triggers of every class tell, beside those of a network that learned the same images anew.
What each way of pruning would cost is told by the pruning curves of all orders on clean validation
images.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable, terminal
from sweep.evaluation import ValidCurve
from sweep.evaluation.outliers import OUTLIER, log_anomaly
from sweep.networks import forward
from sweep.pruning import Activations, scoring
from sweep.pruning.evidence import Order
from sweep.training import Defender, inversion, inversion_search, reference_network
from sweep.training.inversion import ReversedTriggers

SHOWN = 3  # classes of each kind of trigger
FEWEST = 5  # classes, below which none can be said to stand out
ENOUGH = 100  # images, below which that is said

HOW = {
    "mask": "% of the image covered",
    "additive": "% of the pixels' range, root mean square",
}


@dataclass(frozen=True)
class Cost:
    """What pruning by one order costs on clean validation images, at the stop.

    pruned: channels; accuracy: of B'; differs: share of the images that B' gives another class than
    B. All None where the order does not apply.
    """

    order: str
    pruned: int | None = None
    accuracy: float | None = None
    differs: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What was found of a network: triggers by their kind, what pruning costs, and on what images.

    image: one of them, (height, width, channels); images: how many; accuracy: on them.
    usual: by kind of trigger, what it takes in a reference, (classes,); `reference_network.sizes`.
    reference: accuracy of that; None where it was not asked, or told nothing.
    """

    triggers: dict[str, ReversedTriggers]
    image: NDArray[np.float32]
    images: int
    accuracy: float
    costs: list[Cost]
    usual: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    reference: float | None = None

    @property
    def indices(self) -> dict[str, NDArray[np.float64]]:
        """How far each class stands out, (classes,), by kind of trigger."""
        return {
            kind: log_anomaly(triggers.sizes, self.usual.get(kind))
            for kind, triggers in self.triggers.items()
        }

    @property
    def suspects(self) -> dict[int, str]:
        """The classes that stand out, and by which kind of trigger most; most suspicious first."""
        found: list[tuple[float, int, str]] = []
        for kind, triggers in self.triggers.items():
            far = zip(self.indices[kind], triggers.classes, strict=True)
            found += [(float(index), int(cls), kind) for index, cls in far if index > OUTLIER]
        told: dict[int, str] = {}
        for _, cls, kind in sorted(found, reverse=True):
            told.setdefault(cls, kind)
        return told

    @property
    def nearest(self) -> tuple[float, int, str]:
        """The class that stands out most, whether far or not: index, class, kind of trigger."""
        return max(
            (float(index), int(cls), kind)
            for kind, triggers in self.triggers.items()
            for index, cls in zip(self.indices[kind], triggers.classes, strict=True)
        )

    @property
    def _found(self) -> int:
        """For how many classes there is a trigger."""
        return max(int(np.isfinite(triggers.sizes).sum()) for triggers in self.triggers.values())

    @property
    def _known(self) -> bool:
        """Whether there are enough of them to say that one stands out."""
        return self._found >= FEWEST

    @property
    def sentence(self) -> str:
        """What is to be thought of the network."""
        if not self._known:
            return (
                f"Nothing can be said: triggers were found for {self._found} classes, and it takes "
                f"{FEWEST} to see that one stands out. Look at the sizes."
            )
        index, cls, kind = self.nearest
        how = f"({kind}, index {index:.1f})"
        told = (
            f"No sign of a backdoor: no class stands out, class {cls} being the nearest {how}. A "
            f"trigger that none of these shapes comes near would not be seen."
        )
        if self.suspects:
            names = [str(other) for other in self.suspects if other != cls]
            also = f", less far {', '.join(names)}" if names else ""
            easy = "A class that is easy to draw can stand out too: look at the triggers."
            if self.reference is not None:
                easy = (
                    "So it is not in a network that learned these images anew, right on "
                    f"{100 * self.reference:.0f} % of those held out."
                )
            told = (
                f"Signs of a backdoor: class {cls} stands out {how}{also}. Far less turns any "
                f"image into it than into the others. {easy}"
            )
        few = f" Told from {self.images} images only." if self.images < ENOUGH else ""
        return told + few

    @property
    def metrics(self) -> dict[str, float]:
        """The same as numbers of a run."""
        told: dict[str, float] = {"inspect/suspects": len(self.suspects)} if self._known else {}
        if self.reference is not None:
            told["inspect/reference_accuracy"] = self.reference
        for kind, triggers in self.triggers.items():
            index = self.indices[kind]
            place = int(index.argmax())
            told[f"inspect/{kind}_index"] = float(index[place])
            told[f"inspect/{kind}_class"] = int(triggers.classes[place])
        return {name: value for name, value in told.items() if np.isfinite(value)}

    def to_csv(self) -> str:
        """What each order costs: one row an order; empty where it does not apply."""
        text = StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(field.name for field in fields(Cost))
        table.writerows(astuple(cost) for cost in self.costs)
        return text.getvalue()

    def rows(self) -> Iterator[list[str]]:
        """Of each kind of trigger the classes that stand out most: kind, class, sizes, index."""
        for kind, triggers in self.triggers.items():
            index, usual = self.indices[kind], self.usual.get(kind)
            for place in np.argsort(-index, kind="stable")[:SHOWN]:
                anew = np.nan if usual is None else usual[place]
                sizes = (
                    "-" if np.isnan(size) else f"{100 * size:.2f}"
                    for size in (triggers.sizes[place], anew)
                )
                yield [kind, str(triggers.classes[place]), *sizes, f"{index[place]:.1f}"]


def inspect(
    defender: Defender, valid: Activations, orders: Mapping[str, Order], stop: Any, scope: str
) -> Verdict:
    """Look at the network of `defender`, cut as `valid`, its clean validation images there, are.

    `orders` are asked one after the other and stopped by `stop`; oracles must not be among them.
    Without any, signs alone are looked for, and by masks only, which a repair may need as well.
    """
    classes, kinds = (
        defender.network.output_shape[-1],
        [*inversion_search.KINDS] if orders else ["mask"],
    )
    total = sum(inversion.Search(kind).total(classes) for kind in kinds)
    with terminal.progress("reversing triggers", total, "steps") as done:
        triggers = {kind: inversion.invert(defender, kind=kind, progress=done) for kind in kinds}
    usual, accuracy = _usual(defender, triggers)
    costs = [_cost(name, order, defender, valid, stop, scope) for name, order in orders.items()]
    right = forward.predict(defender.network, defender.pixels) == defender.images.labels
    (image,), _ = defender.sample(1)
    return Verdict(triggers, image, len(right), float(right.mean()), costs, usual, accuracy)


def _usual(
    defender: Defender, triggers: Mapping[str, ReversedTriggers]
) -> tuple[dict[str, NDArray[np.float64]], float | None]:
    """What triggers take in a reference, of those kinds by which a class stands out; its accuracy.

    Without such a kind, and where the reference learns too little, nothing.
    """
    far = {
        kind: found
        for kind, found in triggers.items()
        if np.isfinite(found.sizes).sum() >= FEWEST and (found.indices > OUTLIER).any()
    }
    anew = reference_network.reference(defender) if far else None
    if anew is None:
        return {}, None
    usual = {
        kind: reference_network.sizes(anew, defender, found, OUTLIER) for kind, found in far.items()
    }
    return usual, anew.accuracy


def _cost(
    name: str, order: Order, defender: Defender, valid: Activations, stop: Any, scope: str
) -> Cost:
    """What pruning by one order costs, or that it does not apply."""
    how = {"scope": scope, "recompute": False, "seed": defender.seed}
    try:
        scoring.require(order, valid.cut)
        ranked = scoring.rank(order, valid, **how, pairs=tuple)
    except NotApplicable:
        return Cost(name)
    curve = ValidCurve.of(
        valid.predict_steps(ranked.channels), defender.images.labels, ranked.scores
    )
    step = stop(curve).step
    return Cost(
        name, step, *(float(of[step]) / curve.images for of in (curve.correct, curve.differ))
    )
