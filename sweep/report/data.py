"""From cells to what a report shows: strategies side by side on one network, a `Panel` each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.report.aggregate import Rate, over_seeds, rate
from sweep.report.settings import (
    SEEDS,
    filled,
    is_of_network,
    label_of,
    panel_names,
    shown,
    shown_keys,
    telling_keys,
    without_places,
)
from sweep.results.cells import ORACLE
from sweep.results.paired import Hits
from sweep.results.sources import Entry


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
    Column("detector/auroc", "D AUROC", "how well the detector tells poisoned from clean", "", 1),
    Column("detector/detection_rate", "D detects", "poisoned test images that the detector flags",
           "poisoned", 1),
    Column("detector/false_alarm_rate", "D alarms", "clean test images that the detector flags",
           "test", -1),
    Column("tradeoff/attack_area", "attack area",
           "attack success an order leaves, averaged over all costs", "", -1),
    Column("prune/fraction", "pruned", "channels pruned, as a share of all"),
)  # fmt: skip
BADNET = {metric: metric.replace("repaired/", "badnet/") for metric in (ASR, CLEAN, VALID)}


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

    `columns` are the settings that are shown, `swept` those of them that differ, `telling` those
    that tell strategies apart; `searches`: what each search among its sweeps has logged of itself.
    """

    entries: Sequence[Entry]
    rates: Sequence[Mapping[str, Rate]]
    columns: Sequence[str]
    swept: Sequence[str]
    telling: Sequence[str]
    groups: Sequence[Group]
    panels: Sequence[Panel]
    searches: Sequence[Mapping[str, Any]] = ()


def report(entries: Sequence[Entry], hits: Sequence[Hits | None]) -> Report:
    """The report of these cells; `hits` say which images each hits, where that is known."""
    settings = filled(entries)
    keys = shown_keys(entries, settings)
    varying = [key for key in keys if len({values.get(key, "") for values in settings}) > 1]
    rates = [_rates(entry, one) for entry, one in zip(entries, hits, strict=True)]
    of_network = [key for key in varying if is_of_network(key)]
    names = panel_names(entries, settings, of_network)
    panels = list(dict.fromkeys(names))
    plain = [key for key in keys if key not in SEEDS and not is_of_network(key)]
    swept = [key for key in plain if key in varying]
    telling = telling_keys(settings, swept, names)
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
    shown_panels = []
    for number, name in enumerate(panels):
        of_panel = [place for place, group in enumerate(groups) if group.panel == number]
        shown_panels.append(_panel(name, of_panel, groups, entries, hits))
    return Report(entries, rates, plain, swept, telling, groups, shown_panels)


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
    label = label_of(values, telling, mark)
    if "prune.order" in values:
        values["prune.order"] += mark
    return Group(panel, label, values, list(places), oracle, control, means)


def _rates(entry: Entry, hits: Hits | None) -> dict[str, Rate]:
    """The rates of one cell, with the intervals that its images allow."""
    metrics = {name: v for name, v in entry.cell.metrics.items() if math.isfinite(v)}
    rates = {}
    names = {column.metric: column.images for column in COLUMNS}
    names |= {BADNET[column.metric]: column.images for column in COLUMNS if column.metric in BADNET}
    for metric, images in names.items():
        if metric in metrics:
            rates[metric] = _rate(entry, metric, images, hits)
    if CLEAN in metrics and BADNET[CLEAN] in metrics:
        rates[COST] = Rate(metrics[BADNET[CLEAN]] - metrics[CLEAN])
    return rates


def _rate(entry: Entry, metric: str, images: str, hits: Hits | None) -> Rate:
    value, ends = entry.cell.metrics[metric], entry.cell.interval(metric)
    if ends is not None:
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
            rates = _rates(entries[place], hits[place])
            if of_b in rates:
                by_network.setdefault(entries[place].tag("network_digest"), rates[of_b])
        if by_network:
            badnet[metric] = over_seeds(list(by_network.values()))
    said = Counter(without_places(entries[place].tag("verdict")) for place in places)
    return Panel(name, badnet, list(numbers), [verdict for verdict in said if verdict])


def _apart(places: Sequence[int], settings: Sequence[Mapping[str, str]]) -> list[list[int]]:
    """Cells that differ only in seed together; each alone where two have the same seed."""
    seeds = [tuple(settings[place].get(key, "") for key in SEEDS) for place in places]
    return [list(places)] if len(set(seeds)) == len(seeds) else [[place] for place in places]
