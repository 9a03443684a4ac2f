"""From cells to what a report shows: strategies side by side on one network, a `Panel` each."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sweep.report.aggregate import Rate, over_seeds, rate
from sweep.report.sources import PLACES, Entry
from sweep.results.cells import ORACLE, describe, short_names
from sweep.results.paired import Hits


@dataclass(frozen=True)
class Column:
    """A rate of the report: its metric, its name there and in full, its images, what is better."""

    metric: str
    name: str
    meaning: str
    images: str = ""
    better: int = 0


ASR, CLEAN = "repaired/attack_success_rate", "repaired/clean_accuracy"
VALID, ALARM = "repaired/valid_accuracy", "goodnet/false_alarm_rate"
COST = "cost"  # made here: points of clean test accuracy below B
COLUMNS = (
    Column(ASR, "B' ASR", "attack success of B': poisoned test images that get the target",
           "poisoned", -1),
    Column(CLEAN, "B' clean", "accuracy of B' on clean test images", "test", 1),
    Column(COST, "cost", "clean test accuracy of B less that of B', in points", "", -1),
    Column(VALID, "B' valid", "accuracy of B' on clean validation images", "valid", 1),
    Column("goodnet/detection_rate", "G detects", "poisoned test images that GoodNet flags",
           "poisoned", 1),
    Column(ALARM, "G alarms", "clean test images that GoodNet flags", "test", -1),
    Column("goodnet/clean_accuracy", "G clean", "accuracy of GoodNet on clean test images",
           "test", 1),
    Column("goodnet/attack_success_rate", "G ASR", "attack success of GoodNet", "poisoned", -1),
    Column("goodnet/auroc", "G AUROC", "how well GoodNet's soft score tells poisoned from clean",
           "", 1),
    Column("tradeoff/attack_area", "attack area",
           "attack success an order leaves, averaged over all costs", "", -1),
    Column("prune/fraction", "pruned", "channels pruned, as a share of all"),
)  # fmt: skip
BADNET = {metric: metric.replace("repaired/", "badnet/") for metric in (ASR, CLEAN, VALID)}
#: The tag of a run that says how many images of each name there were.
COUNTS = {"valid": "images_valid", "test": "images_test", "poisoned": "images_attacked"}

SEEDS = ("seed", "badnet.seed")
STRATEGY = ("strategy", "prune.order", "prune.stop", "prune.layer", "repair")
NETWORK = ("case", "data", "attack", "badnet")
NONE = {"strategy": "none", "case": "none", "repair": "[]", "attack": "none"}
#: Of the defender's own, though they begin as settings of the network do.
DEFENDERS = ("data.valid_images", "data.valid_at_most")
#: How the command is run, not what is measured.
MACHINE = re.compile(r"(tracking|cache|hydra|experiment)\b|rerun|fail_fast|dry_run|.*\.folder")


@dataclass(frozen=True)
class Group:
    """Cells of one panel that differ in nothing but their seed: a strategy."""

    panel: int
    label: str
    settings: Mapping[str, str]
    cells: Sequence[int]
    oracle: bool
    control: bool
    rates: Mapping[str, Rate]

    @property
    def attacked(self) -> bool:
        """Whether it is known what the attack has left."""
        return ASR in self.rates and CLEAN in self.rates

    @property
    def defends(self) -> bool:
        """Whether a defender could have done it, and it is known what came out."""
        return self.attacked and not self.oracle


@dataclass(frozen=True)
class Panel:
    """One network B, perhaps of several seeds, in one sweep: its name and the rates of B."""

    name: str
    badnet: Mapping[str, Rate]
    groups: Sequence[int]
    verdicts: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """All that a report says: its cells, the strategies they are of, and the panels of these.

    `columns` are the settings that are shown; `swept` those of them that differ.
    """

    title: str
    entries: Sequence[Entry]
    rates: Sequence[Mapping[str, Rate]]
    columns: Sequence[str]
    swept: Sequence[str]
    groups: Sequence[Group]
    panels: Sequence[Panel]


def report(title: str, entries: Sequence[Entry], hits: Sequence[Hits | None]) -> Report:
    """The report of these cells; `hits` say which images each hits, where that is known."""
    settings = _filled(entries)
    keys = _keys(entries, settings)
    varying = [key for key in keys if len({values.get(key, "") for values in settings}) > 1]
    rates = [_rates(entry, one) for entry, one in zip(entries, hits, strict=True)]
    of_network = [key for key in varying if _of_network(key)]
    names = _panel_names(entries, settings, of_network)
    panels = list(dict.fromkeys(names))
    plain = [key for key in keys if key not in SEEDS and not _of_network(key)]
    swept = [key for key in plain if key in varying]
    telling = _telling(settings, swept, names)
    by_settings: dict[tuple[str, ...], list[int]] = {}
    for place, values in enumerate(settings):
        alike = (names[place], *(values.get(key, "") for key in swept))
        by_settings.setdefault(alike, []).append(place)
    groups = []
    for (name, *_), places in by_settings.items():
        groups += [
            _group(panels.index(name), same, plain, telling, entries, settings, rates)
            for same in _apart(places, settings)
        ]
    made = []
    for number, name in enumerate(panels):
        its_groups = [at for at, one in enumerate(groups) if one.panel == number]
        made.append(_panel(name, its_groups, groups, entries, hits))
    return Report(title, entries, rates, plain, swept, groups, made)


def shown(value: str) -> str:
    """A setting as it is shown: of a file its name, nothing of where it lies.

    >>> shown("/home/me/bd_net.h5"), shown("0.1")
    ('bd_net.h5', '0.1')
    """
    return PurePath(value).name if PLACES.search(value) else value


def without_places(text: str) -> str:
    """A sentence without the folders that files lie in.

    >>> without_places("/home/me/outputs/valid.h5 is damaged, see http://host/a/b")
    '…/valid.h5 is damaged, see http://host/a/b'
    """
    return re.sub(r"(?<![\w.:/])~?(?:/[\w.+@-]+)+/([\w.+@-]+)", r"…/\1", text)


def _filled(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The settings of each cell; one that left no run has what all others of its sweep have."""
    by_sweep: dict[str, list[Mapping[str, str]]] = {}
    for entry in entries:
        if entry.run is not None:
            by_sweep.setdefault(_sweep_id(entry), []).append(entry.settings)
    common = {
        sweep: {
            key: value
            for key, value in known[0].items()
            if all(other.get(key) == value for other in known)
        }
        for sweep, known in by_sweep.items()
    }
    return [{**common.get(_sweep_id(entry), {}), **entry.settings} for entry in entries]


def _sweep_id(entry: Entry) -> str:
    return "" if entry.sweep is None else entry.sweep.info.run_id


def _keys(entries: Sequence[Entry], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The settings that tell what a cell is: what was given, and the parts of a strategy."""
    given = [key.replace("/", ".") for entry in entries for key in entry.given]
    own = [key for key in (*STRATEGY, *NETWORK) if any(
        values.get(key, NONE.get(key, "")) != NONE.get(key, "") for values in settings
    )]  # fmt: skip
    if not given:  # of runs by themselves all params are known, and which were given is not
        params = dict.fromkeys(key for values in settings for key in values)
        first = settings[0]
        given = [
            key
            for key in params
            if not key.endswith("_target_")
            and any(values.get(key) != first.get(key) for values in settings)
        ]
        given = _once(given, settings)
    return [key for key in dict.fromkeys([*own, *given]) if not MACHINE.match(key)]


def _once(keys: Sequence[str], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys without those that only repeat another one: prune.stop.frac is prune.frac."""
    kept: dict[tuple[str, ...], str] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        kept.setdefault(tuple(values.get(key, "") for values in settings), key)
    return [key for key in keys if key in kept.values()]


def _of_network(key: str) -> bool:
    """Whether a setting makes another network B, or other images to judge it by."""
    first = key.partition(".")[0]
    return first in NETWORK and key not in (*DEFENDERS, *SEEDS)


def _panel_names(
    entries: Sequence[Entry], settings: Sequence[Mapping[str, str]], varying: Sequence[str]
) -> list[str]:
    """Of each cell the name of its network and, of several sweeps, of its sweep."""
    names = [
        values.get("data", "") if values.get("case", "none") == "none" else values["case"]
        for values in settings
    ]
    telling = _telling(settings, varying, names)
    sweeps = list(dict.fromkeys(_sweep_id(entry) for entry in entries))
    whole = len(sweeps) > 1 and all(entry.whole for entry in entries)
    full = []
    for name, entry, values in zip(names, entries, settings, strict=True):
        labels = [shown(values.get(key, "")) for key in telling]
        parts = [name, describe(telling, labels) if telling else values.get("attack", "")]
        if whole:
            parts.append(f"sweep {sweeps.index(_sweep_id(entry)) + 1}")
        full.append(", ".join(part for part in parts if part and part != "none"))
    return full


def _telling(
    settings: Sequence[Mapping[str, str]], keys: Sequence[str], names: Sequence[str]
) -> list[str]:
    """The keys that tell cells apart which their names and the keys before do not."""
    telling: list[str] = []
    known = list(names)
    for key in keys:
        more = [
            f"{name}\0{values.get(key, '')}" for name, values in zip(known, settings, strict=True)
        ]
        if len(set(more)) > len(set(known)):
            telling.append(key)
            known = more
    return telling


def _label(values: Mapping[str, str], telling: Sequence[str], mark: str) -> str:
    """A strategy by its name, or its order, and by what else tells it from others: "tac† u=3"."""
    named = [key for key in ("strategy", "prune.order") if key in telling]
    first = [values[key] for key in named] or [values.get("prune.order", "")]
    rest = [key for key in telling if key not in named]
    first[0] += mark
    return " ".join(filter(None, [*first, describe(rest, [values[key] for key in rest])]))


def _apart(places: Sequence[int], settings: Sequence[Mapping[str, str]]) -> list[list[int]]:
    """Cells that differ only in seed together; each alone where two have the same seed."""
    seeds = [tuple(settings[place].get(key, "") for key in SEEDS) for place in places]
    return [list(places)] if len(set(seeds)) == len(seeds) else [[place] for place in places]


def _group(
    panel: int,
    places: Sequence[int],
    columns: Sequence[str],
    telling: Sequence[str],
    entries: Sequence[Entry],
    settings: Sequence[Mapping[str, str]],
    rates: Sequence[Mapping[str, Rate]],
) -> Group:
    cells = [entries[place].cell for place in places]
    values = {key: shown(settings[places[0]].get(key, "")) for key in columns}
    oracle, control = any(cell.oracle for cell in cells), any(cell.control for cell in cells)
    mark = ORACLE if oracle else ""
    means = {}
    for column in COLUMNS:
        known = [rates[place][column.metric] for place in places if column.metric in rates[place]]
        if known:
            means[column.metric] = over_seeds(known)
    label = _label(values, telling, mark)
    if "prune.order" in values:
        values["prune.order"] += mark
    return Group(panel, label, values, list(places), oracle, control, means)


def _rates(entry: Entry, hits: Hits | None) -> dict[str, Rate]:
    """The rates of one cell, with the intervals that its images allow."""
    metrics, found = entry.cell.metrics, {}
    names = {column.metric: column.images for column in COLUMNS}
    names |= {BADNET[column.metric]: column.images for column in COLUMNS if column.metric in BADNET}
    for metric, images in names.items():
        if metric in metrics:
            found[metric] = _rate(entry, metric, images, hits)
    if CLEAN in metrics and BADNET[CLEAN] in metrics:
        found[COST] = Rate(metrics[BADNET[CLEAN]] - metrics[CLEAN])
    return found


def _rate(entry: Entry, metric: str, images: str, hits: Hits | None) -> Rate:
    value, metrics = entry.cell.metrics[metric], entry.cell.metrics
    if not images:
        return Rate(value)
    count = entry.tag(COUNTS[images])
    if count.isdecimal():
        return rate(value, int(count))
    if f"{metric}_low" in metrics:
        ends = metrics[f"{metric}_low"], metrics[f"{metric}_high"]
        return Rate(value, *(round(end, 4) for end in ends))
    return rate(value, hits.images[images][0] if hits and images in hits.images else None)


def _panel(
    name: str,
    numbers: Sequence[int],
    groups: Sequence[Group],
    entries: Sequence[Entry],
    hits: Sequence[Hits | None],
) -> Panel:
    places = [place for number in numbers for place in groups[number].cells]
    badnet = {}
    for metric, of_b in BADNET.items():
        by_network: dict[str, Rate] = {}
        for place in places:
            found = _rates(entries[place], hits[place])
            if of_b in found:
                by_network.setdefault(entries[place].tag("network_digest"), found[of_b])
        if by_network:
            badnet[metric] = over_seeds(list(by_network.values()))
    said = Counter(without_places(entries[place].tag("verdict")) for place in places)
    return Panel(name, badnet, list(numbers), [verdict for verdict in said if verdict])


def headings(keys: Sequence[str]) -> list[str]:
    """The settings' names as short as tells them apart."""
    return short_names(keys)
