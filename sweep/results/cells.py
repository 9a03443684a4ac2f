"""What the cells of a sweep left: a `Cell` each, in a `Group` those that differ only in seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from types import MappingProxyType

from mlflow.entities import Run

from sweep.redaction import redacted

ORACLE = "†"

MISSING, FINISHED = "MISSING", "FINISHED"
ORDER, SEED = "prune/order", "seed"
REUSED, MANY = "reused", 100  # a tag of a parent, and how many run ids it holds
TARGET = "._target_"  # how a key ends that puts a function in place of a choice
CONTROL = "random"  # the order that knows nothing


@dataclass(frozen=True)
class Cell:
    """One cell: its number, its overrides, and what its run left (none where it never started)."""

    job: int
    overrides: Mapping[str, str]
    run_id: str = ""
    status: str = MISSING
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = "the cell left no run"
    stop_reached: bool = True
    threat_model: str = ""
    order: str = ""
    artifacts: str = ""
    repaired: bool = False
    reused: bool = False

    @property
    def measured(self) -> bool:
        """Whether the cell came as far as any rate."""
        return any(not name.startswith("time/") for name in self.metrics)

    @property
    def finished(self) -> bool:
        """Whether the cell came to its end, with all its numbers."""
        return self.status == FINISHED

    @property
    def oracle(self) -> bool:
        """Whether its order looked at poisoned images, which no defender has."""
        return self.threat_model == "oracle"

    @property
    def ranked_by(self) -> str:
        """Its order, with the mark of an oracle."""
        return f"{self.order}{ORACLE}" if self.oracle else self.order

    @property
    def control(self) -> bool:
        """Whether its order knows nothing."""
        return self.order == CONTROL


@dataclass(frozen=True)
class Group:
    """Cells that differ in nothing but their seed; or one cell."""

    cells: Sequence[Cell]

    @property
    def first(self) -> Cell:
        """One of the cells: all have the same settings, but those that left no run know less."""
        return next((cell for cell in self.cells if cell.threat_model), self.cells[0])

    def words(self, keys: Sequence[str]) -> list[str]:
        """Values of `keys`, for the seed how many; an oracle's mark at its order or else at first.

        >>> tac = Cell(0, {"prune/order": "tac", "prune.frac": "0.1"}, threat_model="oracle")
        >>> Group([tac]).words(["prune.frac", "prune/order"]), Group([tac]).words(["prune.frac"])
        (['0.1', 'tac†'], ['0.1†'])
        """
        values = [self.first.overrides.get(key, "") for key in keys]
        if SEED in keys and len(self.cells) > 1:
            values[keys.index(SEED)] = str(len(self.cells))
        if values and self.first.oracle:
            values[keys.index(ORDER) if ORDER in keys else 0] += ORACLE
        return values

    def mean(self, metric: str) -> float | None:
        """Mean over the cells that have it, None where none has."""
        rates = self.all(metric)
        return None if not rates else rates[0] if len(set(rates)) == 1 else fmean(rates)

    def all(self, metric: str) -> list[float]:
        """The metric of every cell that has it."""
        return [cell.metrics[metric] for cell in self.cells if metric in cell.metrics]


def groups(cells: Sequence[Cell]) -> list[Group]:
    """The cells of a sweep, those together that differ only in their seed."""
    by_settings: dict[tuple[tuple[str, str], ...], list[Cell]] = {}
    for cell in cells:
        alike = tuple(item for item in cell.overrides.items() if item[0] != SEED)
        by_settings.setdefault(alike, []).append(cell)
    if all(
        len({cell.overrides.get(SEED) for cell in same}) == len(same)
        for same in by_settings.values()
    ):
        return [Group(same) for same in by_settings.values()]
    return [Group([cell]) for cell in cells]  # the same cell twice


def cells_of(
    overrides: Sequence[Sequence[str]],
    runs: Sequence[Run],
    reused: Mapping[int, Run] = MappingProxyType({}),
) -> list[Cell]:
    """Return a Cell for each of `overrides` (a list a cell), in their order, from their runs.

    `reused` are those of other sweeps, by the number of the cell.
    """
    by_job = {int(run.data.tags["job"]): run for run in runs}
    return [
        replace(cell_of(job, values, by_job.get(job, reused.get(job))), reused=job in reused)
        for job, values in enumerate(settings(overrides))
    ]


def cell_of(job: int, settings: Mapping[str, str], run: Run | None) -> Cell:
    """Return one cell by its run and by what `settings` gives of it; run None: it left none."""
    if run is None:
        return Cell(job, settings, order=settings.get(ORDER, ""))
    tags = run.data.tags
    return Cell(
        job,
        settings,
        run.info.run_id,
        tags.get("status", run.info.status),
        run.data.metrics,
        tags.get("error", ""),
        tags.get("stop_reached") != "false",
        tags.get("threat_model", ""),
        run.data.params.get("prune.order", settings.get(ORDER, "")),
        run.info.artifact_uri,
        run.data.params.get("repair", "[]") != "[]",
    )


def settings(cells: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """The overrides of each cell by key, as they are shown.

    Passwords are left out, and a function that is put in place of a group's choice is shown by its
    name, as if it were a choice.

    >>> settings([["+a=1", "prune.order._target_=my_package.mine"], ["prune/order=clp"]])
    [{'a': '1', 'prune/order': 'mine'}, {'prune/order': 'clp'}]
    """
    given = [
        dict(override.lstrip("+").partition("=")[::2] for override in map(redacted, cell))
        for cell in cells
    ]
    targets = {value for cell in given for key, value in cell.items() if key.endswith(TARGET)}
    ends = [target.rpartition(".")[2] for target in targets]
    return [_shown(cell, ends) for cell in given]


def _shown(cell: Mapping[str, str], ends: Sequence[str]) -> dict[str, str]:
    """The settings of a cell, functions by their last names unless these `ends` are not unique."""
    shown = dict(cell)
    for key, target in cell.items():
        if key.endswith(TARGET):
            end = target.rpartition(".")[2]
            group = _group(key.removesuffix(TARGET))
            before = f"{cell[group]}:" if group in cell else ""
            shown.pop(key)
            shown[group] = before + (end if ends.count(end) == 1 else target)
    return shown


def _group(node: str) -> str:
    """The group of a node's dotted name: "prune/order" of "prune.order"."""
    first, *rest = node.split(".")
    if first == "repair":
        return node
    return "/".join([first, *rest[:1]]) if first == "prune" else first


def tags_of(reused: Mapping[int, Run]) -> dict[str, str]:
    """What a parent run says of runs of other sweeps: their ids, so many in a tag as it holds."""
    ids = list(dict.fromkeys(run.info.run_id for run in reused.values()))
    parts = [ids[start : start + MANY] for start in range(0, len(ids), MANY)]
    return {f"{REUSED}.{number}": ",".join(part) for number, part in enumerate(parts)}


def reused_by(parent: Run) -> list[str]:
    """The ids of the runs of other sweeps that `parent` says belong to it."""
    tags = parent.data.tags.items()
    return [run for tag, ids in tags if tag.startswith(f"{REUSED}.") for run in ids.split(",")]


def distinguishing_keys(cells: Sequence[Cell]) -> list[str]:
    """The overrides that tell the cells apart; where none does, all of them."""
    return differing_keys(cells) or list(
        dict.fromkeys(key for cell in cells for key in cell.overrides)
    )


def differing_keys(cells: Sequence[Cell]) -> list[str]:
    """The overrides that are not the same in all cells."""
    keys = dict.fromkeys(key for cell in cells for key in cell.overrides)
    return [key for key in keys if len({cell.overrides.get(key) for cell in cells}) > 1]


def values_of(cells: Sequence[Cell], key: str) -> list[str]:
    """The values that `key` has in the cells, each once."""
    return list(dict.fromkeys(cell.overrides.get(key, "") for cell in cells))


def describe(keys: Sequence[str], words: Sequence[str]) -> str:
    """Settings in a line: "order=tac frac=0.1"."""
    return " ".join(
        f"{head}={word}" for (_, head), word in zip(short_names(keys), words, strict=True)
    )


def short_names(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Each key, and its last part where that tells them apart."""
    last = [key.replace("/", ".").rsplit(".", 1)[-1] for key in keys]
    return [(key, key if last.count(end) > 1 else end) for key, end in zip(keys, last, strict=True)]
