"""The trade-off of a sweep: attack success against clean accuracy, along each order's curves."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sweep.results.cells import ORDER_KEY, SEED_KEY, Cell, describe, differing_keys
from sweep.results.figures.sweep import OrderCurves, draw_tradeoff
from sweep.tracking import artifacts

Curve = NDArray[np.float64]


def tradeoff_figure(cells: Sequence[Cell]) -> Figure | None:
    """The figure of what each order trades for the attack, by the curves that cells have logged.

    Cells that differ only in their stop share a curve. None where none has poisoned images.
    """
    curves = _read_curves([cell for cell in cells if cell.finished])
    measured = [cell for cell in cells if cell.job in curves]
    keys = _curve_keys(measured, curves)
    orders: dict[str, OrderCurves] = {}
    for cell in measured:
        settings = describe(keys, [cell.overrides.get(key, "") for key in keys])
        label = " ".join(filter(None, [cell.ranked_by, settings]))
        order = orders.setdefault(label, OrderCurves(label, [], [], cell.oracle, cell.control))
        number = _number_of(curves[cell.job], order.curves)
        order.stops.append((number, int(cell.metrics["prune/channels"])))
    title = "Attack success against clean accuracy, by order"
    return draw_tradeoff(list(orders.values()), title) if orders else None


def _read_curves(cells: Sequence[Cell]) -> dict[int, Curve]:
    """The curves that cells have logged, by the number of the cell; without those of no attack."""
    curves = {}
    logged = artifacts.read_all([cell.artifacts for cell in cells], "curve.csv")
    for cell, text in zip(cells, logged, strict=True):
        curve = _parse_curve(text) if text else None
        if curve is not None:
            curves[cell.job] = curve
    return curves


def _parse_curve(text: bytes) -> Curve | None:
    """Channels pruned, clean test accuracy and attack success, (3, steps), of a curve.csv.

    None without an attack.
    """
    steps = list(csv.DictReader(StringIO(text.decode())))
    names = ("pruned", "clean_accuracy", "attack_success_rate")
    if not all(name in steps[0] for name in names):
        return None
    return np.array([[float(step[name]) for step in steps] for name in names])


def _number_of(curve: Curve, curves: list[Curve]) -> int:
    """The place of `curve` among `curves`, to which it is added where it is not one of them."""
    for number, other in enumerate(curves):
        if np.array_equal(curve, other):
            return number
    curves.append(curve)
    return len(curves) - 1


def _curve_keys(cells: Sequence[Cell], curves: Mapping[int, Curve]) -> list[str]:
    """The settings on which curves depend, but for order and seed: not those of the stop."""
    keys = [key for key in differing_keys(cells) if key not in (ORDER_KEY, SEED_KEY)]
    for key in list(keys):
        others = {ORDER_KEY, SEED_KEY, *keys} - {key}
        by_others: dict[tuple[str | None, ...], list[Curve]] = {}
        for cell in cells:
            values = tuple(cell.overrides.get(other) for other in others)
            by_others.setdefault(values, []).append(curves[cell.job])
        pairs = [(same[0], other) for same in by_others.values() for other in same[1:]]
        if pairs and all(np.array_equal(*pair) for pair in pairs):
            keys.remove(key)
    return keys
