"""A search in what a grid has measured: the cells that a study asks for, trial by trial."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mlflow.entities import Run
from numpy.typing import NDArray

from sweep.evaluation.tradeoffs import dominated_share
from sweep.results.pages.search.reading import Sweep
from sweep.results.pages.sweeps import overrides
from sweep.results.pick import ASR, BOTH, LARGEST_DROP
from sweep.results.searches import MOST_LOST
from sweep.search import Found, Space, Study
from sweep.search.space import REPAIR
from sweep.search.study import Row, replayed, row_of

SEEDS = 5
SAMPLERS = {"tpe": "search (tpe)", "random": "random"}
ENOUGH = 0.99  # of what the whole grid dominates
SEVERAL = re.compile(r",(?![^\[]*\])|^(glob|range|choice)\(")  # values, not those of one list
GROUPS = ("prune.order", "prune.stop")

#: By a sampler: how much of what the whole grid dominates the first trials do, (seeds, trials).
Curves = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Replay:
    """What searches find in a grid of `cells` cells: by the proxy, and by true attack success."""

    cells: int
    by_proxy: Curves
    by_attack: Curves


def replay(grid: Sweep, seeds: int = SEEDS) -> Replay | None:
    """Let studies search in what a grid has measured.

    None where its command sweeps nothing, or none of its cells is better than doing nothing.
    """
    swept = _swept(grid.parent)
    repaired = grid.cells[0].data.params.get(REPAIR, "[]") != "[]"
    if not swept:
        return None
    space = Space.of({name: _setting(name, grid.cells) for name in swept}, repaired)
    table = _table(space, grid.cells)
    told = {row: _by_proxy(cell) for row, cell in table.items()}
    true = {row: _by_attack(cell) for row, cell in table.items()}
    if not all(_dominated(list(found.values())) for found in (told, true)):
        return None
    curves: list[dict[str, NDArray[np.float64]]] = [{}, {}]
    for sampler in SAMPLERS:
        studies = (Study(space, sampler, seed, LARGEST_DROP) for seed in range(seeds))
        tried = [replayed(study, told, len(table)) for study in studies]
        for by, found in enumerate((told, true)):
            whole = _dominated(list(found.values()))
            curves[by][sampler] = np.array(
                [
                    [
                        _dominated([found[row] for row in rows[:count] if row in found]) / whole
                        for count in range(1, len(table) + 1)
                    ]
                    for rows in tried
                ]
            )
    return Replay(len(table), *curves)


def needed(curves: NDArray[np.float64]) -> list[int]:
    """How many trials each seed, (seeds, trials), needs for `ENOUGH`.

    >>> needed(np.array([[0.5, 0.995, 1.0], [1.0, 1.0, 1.0]]))
    [2, 1]
    """
    return [int(np.argmax(curve >= ENOUGH)) + 1 for curve in curves]


def _swept(parent: Run) -> list[str]:
    """The params that a grid's command gives several values of."""
    words = [word.partition("=") for word in overrides(parent)]
    keys = [key for key, _, value in words if SEVERAL.search(value)]
    return [key.lstrip("+").replace("/", ".") for key in keys]


def _setting(name: str, cells: Sequence[Run]) -> dict[str, object]:
    key = name.replace("prune.", "prune/") if name in GROUPS else name
    values = list(dict.fromkeys(cell.data.params[name] for cell in cells))
    choices = [_list(value) for value in values] if name == REPAIR else values
    return {"key": key, "choices": choices}


def _list(value: str) -> list[str]:
    return [name for name in value.strip("[]").split(",") if name]


def _table(space: Space, cells: Sequence[Run]) -> dict[Row, Run]:
    """The cells by what of the space is chosen in each: of readings of one curve the best kept.

    That is the one within the constraint that prunes most.
    """
    table: dict[Row, Run] = {}
    for cell in sorted(cells, key=_prunes_most_within):
        values: dict[str, str] = {}
        for setting in space.settings:
            if space.is_chosen(setting, values):
                values[setting.name] = cell.data.params[setting.name]
        table[row_of(values)] = cell
    return table


def _prunes_most_within(cell: Run) -> tuple[bool, float]:
    within = _by_proxy(cell).lost <= LARGEST_DROP + 1e-9
    return within, cell.data.metrics.get("prune/channels", 0.0)


def _by_proxy(cell: Run) -> Found:
    """What a defender sees of a cell."""
    metrics = cell.data.metrics
    lost = metrics["badnet/valid_accuracy"] - metrics["repaired/valid_accuracy"]
    proxy = BOTH.of(metrics)
    assert proxy is not None
    return Found(lost, proxy)


def _by_attack(cell: Run) -> Found:
    """What a cell is worth: on clean test images, and by true attack success."""
    metrics = cell.data.metrics
    lost = metrics["badnet/clean_accuracy"] - metrics["repaired/clean_accuracy"]
    return Found(lost, metrics[ASR])


def _dominated(found: Sequence[Found]) -> float:
    if not found:
        return 0.0
    return dominated_share([one.lost for one in found], [one.success for one in found], MOST_LOST)
