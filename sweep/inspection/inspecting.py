"""Asks a network, and clean images, for all that a verdict holds."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable, terminal
from sweep.data.images import pixel_range
from sweep.evaluation import ValidCurve
from sweep.evaluation.outliers import OUTLIER
from sweep.inspection.margins import largest_margins
from sweep.inspection.verdict import MIN_CLASSES, Cost, Verdict
from sweep.networks import forward
from sweep.pruning import Activations, scoring
from sweep.pruning.evidence import Order
from sweep.pruning.predictions import place_of
from sweep.training import Defender, inversion, inversion_search, reference_network
from sweep.training.corruptions import compare
from sweep.training.inversion import ReversedTriggers
from sweep.training.reference_network import ReferenceNetwork

Stop = Callable[[ValidCurve], Any]  # a function of sweep.stops, with its settings


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
    Without any, only corruptions are tried; with some, triggers are reversed too, and margins
    climbed. `scope` and `step` are as in `scoring.rank`.
    """
    reference = reference_network.train_reference(defender)
    is_right = forward.predict(defender.network, defender.pixels) == defender.images.labels
    (image,), _ = defender.sample(1)
    low, high = map(float, pixel_range(defender.pixels))
    verdict = Verdict(image, len(is_right), float(is_right.mean()), (low, high))
    if reference is not None:
        beside = defender.with_network(reference.network)
        found = compare(defender, beside)
        verdict = replace(verdict, corruptions=found, reference_accuracy=reference.accuracy)
    if not orders:
        return verdict
    triggers = _reversed(defender)
    how = {"scope": scope, "step": step, "seed": defender.seed}
    return replace(
        verdict,
        triggers=triggers,
        reference_sizes=_reference_sizes(defender, triggers, reference),
        margins=largest_margins(defender),
        costs=[_cost(name, order, defender, valid, stop, how) for name, order in orders.items()],
    )


def _reversed(defender: Defender) -> dict[str, ReversedTriggers]:
    """Reversed triggers of all classes, by kind."""
    kinds, classes = inversion_search.KINDS, defender.network.output_shape[-1]
    total = sum(inversion_search.Search(kind).total(classes) for kind in kinds)
    with terminal.progress("reversing triggers", total, "steps") as done:
        return {kind: inversion.invert(defender, kind=kind, progress=done) for kind in kinds}


def _reference_sizes(
    defender: Defender,
    triggers: Mapping[str, ReversedTriggers],
    reference: ReferenceNetwork | None,
) -> dict[str, NDArray[np.float64]]:
    """What triggers take in a reference, of those kinds by which a class stands out."""
    if reference is None:
        return {}
    return {
        kind: reference_network.reference_sizes(reference, defender, triggers[kind], OUTLIER)
        for kind in triggers
        if _has_outlier(triggers[kind])
    }


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
