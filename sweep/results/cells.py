"""What the cells of a sweep left: a `Cell` each, in a `Group` those that differ only in seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from types import MappingProxyType

from mlflow.entities import Run

from sweep.attacks import HARMLESS_RATE
from sweep.evaluation import interval
from sweep.evaluation.implant import IMPLANTED, implant
from sweep.redaction import redacted
from sweep.tracking import IMAGE_TAGS

ORACLE = "†"

MISSING, FINISHED = "MISSING", "FINISHED"
ORDER_KEY, SEED_KEY = "prune/order", "seed"
REUSED = "reused"  # a parent's tags of this name hold the ids of runs that it reused
IDS_PER_TAG = 100
TARGET = "._target_"  # how a key ends that puts a function in place of a choice
CONTROL = "random"  # the order that knows nothing
OWN_WAY = "attack.training."  # how params of an attacker's own way of training begin


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
    images: Mapping[str, int] = field(default_factory=dict)
    implant: str = ""  # see `implant_of`

    @property
    def apart(self) -> bool:
        """Whether the attack did not take hold of B: such cells are shown apart."""
        return self.implant not in ("", IMPLANTED)

    @property
    def measured(self) -> bool:
        """Whether the cell came as far as any rate."""
        return any(not name.startswith("time/") for name in self.metrics)

    def interval(self, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of a rate; None where it is not measured, or no share of images."""
        return interval_of(metric, self.metrics, self.images)

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
    """Cells that differ in nothing but their seed; or one cell. They are all `apart`, or none."""

    cells: Sequence[Cell]

    @property
    def apart(self) -> bool:
        """Whether the attack did not take hold of their B."""
        return self.cells[0].apart

    @property
    def first(self) -> Cell:
        """One of the cells: all have the same settings, but those that left no run know less."""
        return next((cell for cell in self.cells if cell.threat_model), self.cells[0])

    def labels(self, keys: Sequence[str]) -> list[str]:
        """The values of `keys`, for the seed how many; oracles marked at their order or at first.

        >>> tac = Cell(0, {"prune/order": "tac", "prune.frac": "0.1"}, threat_model="oracle")
        >>> Group([tac]).labels(["prune.frac", "prune/order"]), Group([tac]).labels(["prune.frac"])
        (['0.1', 'tac†'], ['0.1†'])
        """
        values = [self.first.overrides.get(key, "") for key in keys]
        if SEED_KEY in keys and len(self.cells) > 1:
            values[keys.index(SEED_KEY)] = str(len(self.cells))
        if values and self.first.oracle:
            values[keys.index(ORDER_KEY) if ORDER_KEY in keys else 0] += ORACLE
        return values

    def mean(self, metric: str) -> float | None:
        """The mean of a metric over the cells that have it, None where none has."""
        values = self.values(metric)
        if not values:
            return None
        return values[0] if len(set(values)) == 1 else fmean(values)  # fmean may round

    def values(self, metric: str) -> list[float]:
        """The values of a metric in all cells that have it."""
        return [cell.metrics[metric] for cell in self.cells if metric in cell.metrics]


def groups(cells: Sequence[Cell]) -> list[Group]:
    """The cells of a sweep, those together that differ only in their seed.

    Those on a network that the attack did not take hold of are never among others.
    """
    by_settings: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        settings = (item for item in cell.overrides.items() if item[0] != SEED_KEY)
        by_settings.setdefault((cell.apart, *settings), []).append(cell)
    for same in by_settings.values():
        if len(distinct_values(same, SEED_KEY)) < len(same):
            return [Group([cell]) for cell in cells]  # a cell stands there twice
    return [Group(same) for same in by_settings.values()]


def cells_of(
    overrides: Sequence[Sequence[str]],
    runs: Mapping[int, Run] = MappingProxyType({}),
    reused: Mapping[int, Run] = MappingProxyType({}),
) -> list[Cell]:
    """Return a Cell for each of `overrides` (a list a cell), in their order.

    `runs` are the sweep's own, `reused` those of other sweeps, by the number of the cell.
    """
    by_job = {**runs, **reused}
    return [
        replace(cell_of(job, values, by_job.get(job)), reused=job in reused)
        for job, values in enumerate(shown_settings(overrides))
    ]


def by_number(runs: Sequence[Run]) -> dict[int, Run]:
    """Runs of one sweep by the number of their cell."""
    return {int(run.data.tags["job"]): run for run in runs}


def cell_of(job: int, settings: Mapping[str, str], run: Run | None) -> Cell:
    """Return one cell by its run and by what `settings` gives of it; run None: it left none."""
    if run is None:
        return Cell(job, settings, order=settings.get(ORDER_KEY, ""))
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
        run.data.params.get("prune.order", settings.get(ORDER_KEY, "")),
        run.info.artifact_uri,
        run.data.params.get("repair", "[]") != "[]",
        images=image_counts(run),
        implant=implant_of(run),
    )


def implant_of(run: Run) -> str:
    """Whether the attack took hold of B: "yes", or why not; "" where B is not known to have one.

    Where no twin was measured, as in older runs, attack success alone is judged.
    """
    return (run.data.tags.get("implant") or implant(run.data.metrics)) if is_attacked(run) else ""


def is_attacked(run: Run) -> bool:
    """Whether B was given a backdoor: by poisoned images, or by an attacker's way of training."""
    rate = float(run.data.params.get("attack.rate", 1))
    return rate > HARMLESS_RATE or any(name.startswith(OWN_WAY) for name in run.data.params)


def image_counts(run: Run) -> dict[str, int]:
    """How many images of each kind the rates of `run` are shares of, as far as it says so."""
    tags = run.data.tags
    return {kind: int(tags[tag]) for kind, tag in IMAGE_TAGS.items() if tag in tags}


def interval_of(
    metric: str, metrics: Mapping[str, float], images: Mapping[str, int]
) -> tuple[float, float] | None:
    """The 95 % interval of one of a run's metrics, None where it has none.

    Runs of version 0.1 hold its ends among their metrics.
    """
    ends = (f"{metric}_low", f"{metric}_high")
    if metrics.keys() >= set(ends):
        return metrics[ends[0]], metrics[ends[1]]
    return interval(metric, metrics[metric], images) if metric in metrics else None


def shown_settings(cells: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """The overrides of each cell by key, as they are shown.

    Passwords are left out, and a function that is put in place of a group's choice is shown by its
    name, as if it were a choice.

    >>> shown_settings([["+a=1", "prune.order._target_=my_package.mine"], ["prune/order=clp"]])
    [{'a': '1', 'prune/order': 'mine'}, {'prune/order': 'clp'}]
    """
    settings = [dict(map(_key_and_value, overrides)) for overrides in cells]
    targets = {value for cell in settings for key, value in cell.items() if key.endswith(TARGET)}
    names = [_last_name(target) for target in targets]
    return [_with_function_names(cell, names) for cell in settings]


def _key_and_value(override: str) -> tuple[str, str]:
    key, _, value = redacted(override).lstrip("+").partition("=")
    return key, value


def _last_name(target: str) -> str:
    return target.rpartition(".")[2]


def _with_function_names(cell: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The settings of a cell, functions by their last names unless these `names` are not unique."""
    shown = dict(cell)
    for key, target in cell.items():
        if key.endswith(TARGET):
            name = _last_name(target)
            group = _group(key.removesuffix(TARGET))
            choice = f"{cell[group]}:" if group in cell else ""
            shown.pop(key)
            shown[group] = choice + (name if names.count(name) == 1 else target)
    return shown


def _group(node: str) -> str:
    """The group of a node's dotted name: "prune/order" of "prune.order"."""
    first, *rest = node.split(".")
    if first in ("repair", "probe"):
        return node
    return "/".join([first, *rest[:1]]) if first == "prune" else first


def reused_tags(reused: Mapping[int, Run]) -> dict[str, str]:
    """The tags by which a parent run names runs of other sweeps: ids, `IDS_PER_TAG` in each."""
    ids = list(dict.fromkeys(run.info.run_id for run in reused.values()))
    parts = [ids[start : start + IDS_PER_TAG] for start in range(0, len(ids), IDS_PER_TAG)]
    return {f"{REUSED}.{number}": ",".join(part) for number, part in enumerate(parts)}


def reused_run_ids(parent: Run) -> list[str]:
    """The ids of the runs of other sweeps that `parent` says belong to it."""
    tags = parent.data.tags.items()
    return [run for tag, ids in tags if tag.startswith(f"{REUSED}.") for run in ids.split(",")]


def distinguishing_keys(cells: Sequence[Cell]) -> list[str]:
    """The overrides that tell the cells apart; where none does, all of them."""
    return differing_keys(cells) or _keys(cells)


def differing_keys(cells: Sequence[Cell]) -> list[str]:
    """The overrides that are not the same in all cells."""
    return [key for key in _keys(cells) if len({cell.overrides.get(key) for cell in cells}) > 1]


def _keys(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(key for cell in cells for key in cell.overrides))


def distinct_values(cells: Sequence[Cell], key: str) -> list[str]:
    """The values that `key` has in the cells, each once."""
    return list(dict.fromkeys(cell.overrides.get(key, "") for cell in cells))


def describe(keys: Sequence[str], labels: Sequence[str]) -> str:
    """Settings in a line: "order=tac frac=0.1"."""
    names = short_names(keys)
    return " ".join(f"{name}={label}" for name, label in zip(names, labels, strict=True))


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key; where several end alike the whole key."""
    last = [key.replace("/", ".").rpartition(".")[2] for key in keys]
    return [key if last.count(name) > 1 else name for key, name in zip(keys, last, strict=True)]
