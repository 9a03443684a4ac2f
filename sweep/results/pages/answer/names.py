"""What strategies are called: by their name, and by what of their settings is not as usual."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from mlflow.entities import Run

REPEATS = re.compile(r"^prune\.(order|stop)\.")  # prune.stop.frac is prune.frac, if not said
#: Of which kind the defender's clean images are, null for older runs. How many is no setting of a
#: strategy: see `budgets`.
KIND = "data.valid_changed"

Settings = tuple[tuple[str, str], ...]


def strategy_names(
    cells: Sequence[Run], strategy: str, network: Callable[[Run], Hashable]
) -> dict[str, str]:
    """A name for each cell (by its run's id): its strategy, and what is not as in most of those.

    `cells` stand in the order of their making; of two settings that are as many the newer counts.
    `strategy` is the param that names it, and `network` tells the networks of cells apart.
    """
    by_strategy: dict[str, list[Run]] = {}
    for cell in cells:
        by_strategy.setdefault(cell.data.params[strategy], []).append(cell)
    names = {}
    for name, same in by_strategy.items():
        unique = dict.fromkeys((network(cell), _settings(cell)) for cell in reversed(same))
        settings = [settings for _, settings in unique]
        usual = max(settings, key=settings.count)  # the first of several
        for cell in same:
            differing = _differing_settings(dict(_settings(cell)), dict(usual), map(dict, settings))
            names[cell.info.run_id] = ", ".join([name, *differing])
    return names


def _settings(cell: Run) -> Settings:
    """What a strategy sets, but for classes and functions, which follow from choices."""
    settings = [(KIND, cell.data.params.get(KIND, "None"))]
    for key, value in cell.data.params.items():
        if (key.startswith(("repair", "prune.")) or key == "seed") and not key.endswith("_"):
            settings.append((key, value))
    return tuple(sorted(settings))


def _differing_settings(
    settings: Mapping[str, str], usual: Mapping[str, str], known: Iterable[Mapping[str, str]]
) -> list[str]:
    """The settings by which a cell differs from the usual one, as on the command line.

    A setting that only one of both has follows from another choice, as from `repair`; it is told
    where other cells have it otherwise. One that repeats another is not.
    """
    values: dict[str, set[str]] = {}
    for others in known:
        for key, value in others.items():
            values.setdefault(key, set()).add(value)
    differing: dict[str, str] = {}
    for key, value in sorted(settings.items(), key=lambda item: (item[0].count("."), item[0])):
        expected = {usual[key]} if key in usual else values[key]
        if expected != {value} and differing.get(REPEATS.sub("prune.", key)) != value:
            differing[key] = value
    return [f"{key}={value}" for key, value in differing.items()]
