"""A verdict on a network, without a poisoned image: is there a sign of a backdoor?

Reversed triggers of every class tell, beside those of a network that learned the same images anew.
What each way of pruning would cost is told by the pruning curves of all orders on clean validation
images.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from io import StringIO
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable, terminal
from sweep.evaluation import ValidCurve
from sweep.evaluation.outliers import OUTLIER, log_anomaly
from sweep.networks import forward
from sweep.pruning import Activations, scoring
from sweep.pruning.evidence import Order
from sweep.pruning.predictions import place_of
from sweep.training import Defender, inversion, inversion_search, reference_network
from sweep.training.inversion import ReversedTriggers

Stop = Callable[[ValidCurve], Any]  # a function of sweep.stops, with its settings

SHOWN_CLASSES = 3  # of each kind of trigger
MIN_CLASSES = 5  # below which none can be said to stand out
MIN_IMAGES = 100  # below which that is said

#: What the size of a trigger of each kind is.
SIZE_UNITS = {
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
    reference_sizes: by kind of trigger, what it takes in a reference network, (classes,).
    reference_accuracy: of that network; None where it was not asked, or told nothing.
    """

    triggers: dict[str, ReversedTriggers]
    image: NDArray[np.float32]
    images: int
    accuracy: float
    costs: list[Cost]
    reference_sizes: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    reference_accuracy: float | None = None

    @property
    def indices(self) -> dict[str, NDArray[np.float64]]:
        """How far each class stands out, (classes,), by kind of trigger."""
        return {
            kind: log_anomaly(triggers.sizes, self.reference_sizes.get(kind))
            for kind, triggers in self.triggers.items()
        }

    @property
    def ranked(self) -> list[tuple[float, int, str]]:
        """The index, class and kind of all triggers, those that stand out most first."""
        indices = self.indices
        return sorted(
            (
                (float(index), int(cls), kind)
                for kind, triggers in self.triggers.items()
                for index, cls in zip(indices[kind], triggers.classes, strict=True)
            ),
            reverse=True,
        )

    @property
    def suspects(self) -> dict[int, str]:
        """The classes that stand out, and by which kind of trigger most; most suspicious first."""
        suspects: dict[int, str] = {}
        for index, cls, kind in self.ranked:
            if index > OUTLIER:
                suspects.setdefault(cls, kind)
        return suspects

    @property
    def _classes_with_trigger(self) -> int:
        """For how many classes a trigger was found."""
        return max(int(np.isfinite(triggers.sizes).sum()) for triggers in self.triggers.values())

    @property
    def _is_conclusive(self) -> bool:
        """Whether these are enough to say that one stands out."""
        return self._classes_with_trigger >= MIN_CLASSES

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if not self._is_conclusive:
            return (
                f"Nothing can be said: triggers were found for {self._classes_with_trigger} "
                f"classes, and it takes {MIN_CLASSES} to see that one stands out. Look at the "
                f"sizes."
            )
        sentence = self._signs() if self.suspects else self._no_sign()
        if self.images < MIN_IMAGES:
            sentence += f" Told from {self.images} images only."
        return sentence

    def _no_sign(self) -> str:
        index, cls, kind = self.ranked[0]
        return (
            f"No sign of a backdoor: no class stands out, class {cls} being the nearest ({kind}, "
            f"index {index:.1f}). A trigger that none of these shapes comes near would not be seen."
        )

    def _signs(self) -> str:
        index, cls, kind = self.ranked[0]
        others = ", ".join(str(other) for other in self.suspects if other != cls)
        less_far = f", less far {others}" if others else ""
        if self.reference_accuracy is None:
            comparison = "A class that is easy to draw can stand out too: look at the triggers."
        else:
            comparison = (
                f"So it is not in a network that learned these images anew, right on "
                f"{100 * self.reference_accuracy:.0f} % of those held out."
            )
        return (
            f"Signs of a backdoor: class {cls} stands out ({kind}, index {index:.1f}){less_far}. "
            f"Far less turns any image into it than into the others. {comparison}"
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The verdict as metrics of a run."""
        metrics: dict[str, float] = {}
        if self._is_conclusive:
            metrics["inspect/suspects"] = len(self.suspects)
        if self.reference_accuracy is not None:
            metrics["inspect/reference_accuracy"] = self.reference_accuracy
        for kind, triggers in self.triggers.items():
            indices = self.indices[kind]
            highest = int(indices.argmax())
            metrics[f"inspect/{kind}_index"] = float(indices[highest])
            metrics[f"inspect/{kind}_class"] = int(triggers.classes[highest])
        return {name: value for name, value in metrics.items() if np.isfinite(value)}

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
            indices = self.indices[kind]
            unknown = np.full(len(indices), np.nan)
            reference_sizes = self.reference_sizes.get(kind, unknown)
            for place in np.argsort(-indices, kind="stable")[:SHOWN_CLASSES]:
                yield [
                    kind,
                    str(triggers.classes[place]),
                    _percent(triggers.sizes[place]),
                    _percent(reference_sizes[place]),
                    f"{indices[place]:.1f}",
                ]


def _percent(size: float) -> str:
    return "-" if np.isnan(size) else f"{100 * size:.2f}"


def inspect(
    defender: Defender,
    valid: Activations,
    orders: Mapping[str, Order],
    stop: Stop,
    scope: str,
    step: float = 1,
) -> Verdict:
    """The verdict on the network of `defender`, cut as `valid`, its clean validation images, are.

    `orders` are asked one after the other and stopped by `stop`; oracles must not be among them.
    Without any, signs alone are looked for, and by masks only, which a repair may need as well.
    `scope` and `step` are as in `scoring.rank`.
    """
    classes = defender.network.output_shape[-1]
    kinds = [*inversion_search.KINDS] if orders else ["mask"]
    total = sum(inversion_search.Search(kind).total(classes) for kind in kinds)
    with terminal.progress("reversing triggers", total, "steps") as done:
        triggers = {kind: inversion.invert(defender, kind=kind, progress=done) for kind in kinds}
    reference_sizes, reference_accuracy = _compare_with_reference(defender, triggers)
    how = {"scope": scope, "step": step, "seed": defender.seed}
    costs = [_cost(name, order, defender, valid, stop, how) for name, order in orders.items()]
    is_right = forward.predict(defender.network, defender.pixels) == defender.images.labels
    (image,), _ = defender.sample(1)
    return Verdict(
        triggers,
        image,
        images=len(is_right),
        accuracy=float(is_right.mean()),
        costs=costs,
        reference_sizes=reference_sizes,
        reference_accuracy=reference_accuracy,
    )


def _compare_with_reference(
    defender: Defender, triggers: Mapping[str, ReversedTriggers]
) -> tuple[dict[str, NDArray[np.float64]], float | None]:
    """What triggers take in a reference, of those kinds by which a class stands out; its accuracy.

    Without such a kind, and where the reference learns too little, nothing.
    """
    suspicious = [kind for kind in triggers if _has_outlier(triggers[kind])]
    reference = reference_network.train_reference(defender) if suspicious else None
    if reference is None:
        return {}, None
    sizes = {
        kind: reference_network.reference_sizes(reference, defender, triggers[kind], OUTLIER)
        for kind in suspicious
    }
    return sizes, reference.accuracy


def _has_outlier(triggers: ReversedTriggers) -> bool:
    is_conclusive = np.isfinite(triggers.sizes).sum() >= MIN_CLASSES
    return bool(is_conclusive and (triggers.indices > OUTLIER).any())


def _cost(
    name: str,
    order: Order,
    defender: Defender,
    valid: Activations,
    stop: Stop,
    how: Mapping[str, Any],
) -> Cost:
    """What pruning by one order costs, or that it does not apply; `how` is to rank by it."""
    try:
        scoring.require(order, valid.cut)
        ranking = scoring.rank(order, valid, **how, recompute=False, pairs=_no_pairs)
    except NotApplicable:
        return Cost(name)
    with terminal.progress("pruning", len(valid), "images") as done:
        classes = valid.predict_steps(ranking.channels, done, ranking.step)
    curve = ValidCurve.of(classes, defender.images.labels, ranking.scores, ranking.steps)
    pruned = stop(curve).step
    place = place_of(pruned, curve.steps)
    accuracy, differs = curve.correct[place] / curve.images, curve.differ[place] / curve.images
    return Cost(name, pruned, float(accuracy), float(differs))


def _no_pairs() -> NoReturn:
    raise ValueError("an oracle was asked what it costs; a verdict has no poisoned images for it")
