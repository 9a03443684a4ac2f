"""What is said of a network from clean images alone: numbers, a sentence, rows of tables."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from functools import cached_property
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from sweep.evaluation import suspicion
from sweep.evaluation.outliers import log_anomaly
from sweep.evaluation.suspicion import Sign
from sweep.inspection.margins import margin_p_value
from sweep.training.corruptions import STRENGTH, Compared
from sweep.training.inversion import ReversedTriggers

SHOWN_CLASSES = 3  # of each kind of trigger
MIN_CLASSES = 5  # below which none can be said to stand out
FEW_IMAGES = 300  # below which that is said
SUSPICIOUS = 0.5  # probability above which a class is said to stand out

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
    """What was found of a network, and on what images.

    image: one of them, (height, width, channels); pixel_range: lowest and highest value of a pixel;
        images: how many; accuracy: on them.
    corruptions: by family, what they do beside a reference network; reference_accuracy: of that
        network. {} and None where it learned too little.
    triggers: reversed ones by their kind; reference_sizes: what they take in the reference network,
        (classes,); margins: how far each class can be made to lead, (classes,); costs: of pruning.
        All of these only where they were asked for.
    """

    image: NDArray[np.float32]
    images: int
    accuracy: float
    pixel_range: tuple[float, float] = (0.0, 1.0)
    corruptions: dict[str, Compared] = field(default_factory=dict)
    reference_accuracy: float | None = None
    triggers: dict[str, ReversedTriggers] = field(default_factory=dict)
    reference_sizes: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    margins: NDArray[np.float64] | None = None
    costs: list[Cost] = field(default_factory=list)

    @cached_property
    def signs(self) -> list[Sign]:
        """What corruptions do to it and not to the reference, the strongest first."""
        return suspicion.signs(
            {family: found.shares for family, found in self.corruptions.items()},
            {family: found.reference for family, found in self.corruptions.items()},
        )

    @property
    def strongest(self) -> list[Sign]:
        """Of each class the strongest sign, suspicious or not, the strongest first."""
        by_class: dict[int | None, Sign] = {}
        for sign in self.signs:
            by_class.setdefault(sign.cls, sign)
        return list(by_class.values())

    def corrupted(self, sign: Sign) -> NDArray[np.float32]:
        """The image with the corruption of `sign`, in 0..1."""
        low, high = self.pixel_range
        place = -1 if sign.cls is None else sign.cls
        corruption = self.corruptions[sign.family].corruptions[place]
        image = (self.image - low) / max(high - low, 1e-9)
        return corruption(image[np.newaxis], STRENGTH)[0]

    @property
    def probability(self) -> float | None:
        """How probable a backdoor is, in 0..1; None where nothing can be said."""
        if not self.signs or self._classes < MIN_CLASSES:
            return None
        return suspicion.probability(self.signs[0].score)

    @property
    def suspects(self) -> list[Sign]:
        """Of each class that stands out the strongest sign, also of one over all classes."""
        if self.probability is None:
            return []
        return [s for s in self.strongest if suspicion.probability(s.score) > SUSPICIOUS]

    @property
    def _classes(self) -> int:
        return min((len(found.shares) - 1 for found in self.corruptions.values()), default=0)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.probability is None:
            return self._nothing()
        percent = f"probability {_in_percent(self.probability)}"
        sentence = self._found(percent) if self.suspects else self._nothing_found(percent)
        if self.images < FEW_IMAGES:
            sentence += f" Told from {self.images} images only."
        return sentence

    def _nothing(self) -> str:
        if self.reference_accuracy is None:
            return (
                f"Nothing can be said of a backdoor: no network could be learned anew from "
                f"{self.images} images, beside which signs would show."
            )
        return (
            f"Nothing can be said of a backdoor: B has {self._classes} classes, and it takes "
            f"{MIN_CLASSES} to see that one stands out."
        )

    def _found(self, percent: str) -> str:
        strongest, *others = self.suspects
        also = ", ".join("many" if sign.cls is None else str(sign.cls) for sign in others)
        less_far = f" Less far stand out: {also}." if others else ""
        right = 100 * (self.reference_accuracy or 0)
        return (
            f"Signs of a backdoor ({percent}): {in_words(strongest)}.{less_far} The other network "
            f"learned these images anew and is right on {right:.0f} % of those held out."
        )

    def _nothing_found(self, percent: str) -> str:
        return (
            f"No sign of a backdoor ({percent}): nothing turns far more images than in a network "
            f"that learned them anew. The nearest: {in_words(self.signs[0])}. A trigger that no "
            f"corruption comes near would not be seen."
        )

    @property
    def indices(self) -> dict[str, NDArray[np.float64]]:
        """How far each class stands out by its reversed trigger, (classes,), by kind."""
        return {
            kind: log_anomaly(triggers.sizes, self.reference_sizes.get(kind))
            for kind, triggers in self.triggers.items()
        }

    @property
    def metrics(self) -> dict[str, float]:
        """The verdict as metrics of a run."""
        metrics: dict[str, float] = {}
        if self.probability is not None:
            metrics["inspect/probability"] = self.probability
            metrics["inspect/score"] = self.signs[0].score
            metrics["inspect/suspects"] = len(self.suspects)
        if self.reference_accuracy is not None:
            metrics["inspect/reference_accuracy"] = self.reference_accuracy
        for kind, triggers in self.triggers.items():
            indices = self.indices[kind]
            highest = int(indices.argmax())
            metrics[f"inspect/{kind}_index"] = float(indices[highest])
            metrics[f"inspect/{kind}_class"] = int(triggers.classes[highest])
        if self.margins is not None:
            metrics["inspect/margin_p_value"] = margin_p_value(self.margins)
            metrics["inspect/margin_class"] = int(self.margins.argmax())
        return {name: value for name, value in metrics.items() if np.isfinite(value)}

    @property
    def tables(self) -> dict[str, str]:
        """As CSV by the names of files: signs, a row a family and class, and costs, one an order.

        The class of a sign over all classes is empty, and what does not apply. Those there are.
        """
        tables = {}
        if self.signs:
            tables["signs.csv"] = _csv(self.signs)
        if self.costs:
            tables["verdict.csv"] = _csv(self.costs)
        return tables

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


def _csv(rows: Sequence[Sign] | Sequence[Cost]) -> str:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(rows[0]))
    table.writerows(map(astuple, rows))
    return text.getvalue()


def in_words(sign: Sign) -> str:
    """Return what a sign says."""
    into = "other classes, many of them" if sign.cls is None else f"class {sign.cls}"
    return (
        f"a corruption ({sign.family.replace('_', ' ')}) turns {100 * sign.share:.0f} % of the "
        f"images into {into}, in the other network {100 * sign.reference:.0f} %"
    )


def _in_percent(probability: float) -> str:
    """A probability as text, never as if it were sure.

    >>> [_in_percent(probability) for probability in (0.004, 0.42, 0.9999)]
    ['below 1 %', '42 %', 'over 99 %']
    """
    if not 0.01 <= probability <= 0.99:
        return "over 99 %" if probability > 0.5 else "below 1 %"
    return f"{100 * probability:.0f} %"


def _percent(size: float) -> str:
    return "-" if np.isnan(size) else f"{100 * size:.2f}"
