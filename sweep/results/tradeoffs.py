"""The trade-off of a sweep: attack success against clean accuracy, along each order's curves."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sweep.results.cells import ORDER, SEED, Cell, describe, differing_keys
from sweep.results.figures import sweep
from sweep.tracking import artifacts

Curve = NDArray[np.float64]


def tradeoff_figure(cells: Sequence[Cell]) -> Figure | None:
    """What each order trades for the attack, by the whole curves that the cells have logged.

    Cells that differ only in their stop share a curve. None where none has poisoned images.
    """
    done = [cell for cell in cells if cell.finished]
    logged = artifacts.read_all([cell.artifacts for cell in done], "curve.csv")
    curves: dict[int, Curve] = {}
    for cell, text in zip(done, logged, strict=True):
        if text and (curve := _curve(text)) is not None:
            curves[cell.job] = curve
    done = [cell for cell in done if cell.job in curves]
    keys = _curve_keys(done, curves)
    orders: dict[str, sweep.OrderCurves] = {}
    for cell in done:
        words, curve = [cell.overrides.get(key, "") for key in keys], curves[cell.job]
        label = " ".join(filter(None, [cell.ranked_by, describe(keys, words)]))
        order = orders.setdefault(
            label, sweep.OrderCurves(label, [], [], cell.oracle, cell.control)
        )
        known = [np.array_equal(curve, other) for other in order.curves]
        if not any(known):
            order.curves.append(curve)
        place = known.index(True) if any(known) else len(known)
        order.stops.append((place, int(cell.metrics["prune/channels"])))
    title = "Attack success against clean accuracy, by order"
    return sweep.tradeoff(list(orders.values()), title) if orders else None


def _curve(text: bytes) -> Curve | None:
    """Clean test accuracy and attack success, (2, steps), of a curve.csv; None without attack."""
    steps = list(csv.DictReader(StringIO(text.decode())))
    names = ("clean_accuracy", "attack_success_rate")
    if not all(name in steps[0] for name in names):
        return None
    return np.array([[float(step[name]) for step in steps] for name in names])


def _curve_keys(cells: Sequence[Cell], curves: Mapping[int, Curve]) -> list[str]:
    """The settings on which curves depend, but for order and seed: not those of the stop."""
    keys = [key for key in differing_keys(cells) if key not in (ORDER, SEED)]
    for key in list(keys):
        others = {ORDER, SEED, *keys} - {key}
        alike: dict[tuple[str | None, ...], list[Curve]] = {}
        for cell in cells:
            rest = tuple(cell.overrides.get(other) for other in others)
            alike.setdefault(rest, []).append(curves[cell.job])
        pairs = [(same[0], other) for same in alike.values() for other in same[1:]]
        if pairs and all(np.array_equal(*pair) for pair in pairs):
            keys.remove(key)
    return keys
