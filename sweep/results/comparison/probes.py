"""The tables of probes in the terminal: what an attack success rate does not tell of B'."""

import re
from collections.abc import Iterable, Sequence

from sweep import terminal
from sweep.results.cells import ORACLE, Cell, Group, differing_keys, groups, short_names

RATES = {"clean_accuracy": "clean", "attack_success_rate": "ASR"}
#: A rate of a probe: whose it is, where that is not B', and at which number it was measured.
METRIC = re.compile(rf"(\w+)/(?:(\w+)/)?(\d+(?:\.\d+)?)/({'|'.join(RATES)})")
#: The networks that stand beside B', as metrics and as tables name them.
BESIDE = {"badnet": "B", "twin": "twin"}
LEGENDS = {
    "relearn": "relearn: after fine-tuning with so many poisoned images among clean ones; twin: "
    "the network trained as B was, without the attack, after the same.",
    "dose": "dose: with so many times the change that the trigger makes.",
}


def print_probes(cells: Sequence[Cell]) -> None:
    """Print what probes found of B', a table a probe, where cells have any."""
    metrics = {name for cell in cells for name in cell.metrics}
    found = [match.groups() for match in map(METRIC.fullmatch, sorted(metrics)) if match]
    for probe in dict.fromkeys(probe for probe, *_ in found):
        of_probe = [rest for name, *rest in found if name == probe]
        numbers = sorted({number for _, number, _ in of_probe}, key=float)
        rates = [rate for rate in RATES if any(rate == each for *_, each in of_probe)]
        networks = [name for name in BESIDE if any(name == each for each, *_ in of_probe)]
        columns = [f"{number}/{rate}" for number in numbers for rate in rates]
        heads = [f"{number}\n{RATES[rate]}" for number in numbers for rate in rates]
        _print(cells, probe, networks, dict(zip(columns, heads, strict=True)))
        if probe in LEGENDS:
            terminal.print_line(LEGENDS[probe])


def _print(cells: Sequence[Cell], probe: str, networks: list[str], columns: dict[str, str]) -> None:
    """The table of one probe: networks beside B', where they differ those of each cell, and B'."""
    keys = differing_keys(cells)
    names = short_names(keys) or [""]
    rows: list[list[str]] = []
    last: dict[str, list[str]] = {}
    for group in groups(cells):
        for network in networks:
            values = _values(group, f"{probe}/{network}", columns)
            if values != last.get(network) and any(value != "-" for value in values):
                rows.append([BESIDE[network], *[""] * (len(names) - 1), *values])
                last[network] = values
        values = _values(group, probe, columns)
        if any(value != "-" for value in values):
            labels = group.labels(keys) or [f"B'{ORACLE}" if group.first.oracle else "B'"]
            rows.append([*labels, *values])
    first = f"{probe}\n{names[0]}"
    terminal.print_table(
        [first, *(f"\n{name}" for name in names[1:]), *columns.values()], rows, len(names)
    )


def _values(group: Group, prefix: str, columns: Iterable[str]) -> list[str]:
    """The rates of one network, in %."""
    return [terminal.percent(group.mean(f"{prefix}/{column}")) for column in columns]
