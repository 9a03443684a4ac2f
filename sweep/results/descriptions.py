"""What runs say of themselves on their page in MLflow, in Markdown."""

from collections.abc import Mapping, Sequence

from sweep.results.cells import (
    ORACLE,
    Cell,
    Group,
    describe,
    distinguishing_keys,
    groups,
    interval_of,
    short_names,
)
from sweep.results.pick import Pick
from sweep.terminal import percent
from sweep.tracking import SKIPPED

NETWORKS = {"badnet": "B", "repaired": "B'", "goodnet": "GoodNet"}
RATES = {"clean_accuracy": "clean", "attack_success_rate": "ASR"}
SHOWN_ROWS = 40  # of a table in a description, which MLflow cuts at 8,000 characters
CELL_RATES = (
    ("repaired/clean_accuracy", "B' clean"),
    ("repaired/attack_success_rate", "B' ASR"),
    ("goodnet/detection_rate", "GoodNet detects"),
    ("goodnet/false_alarm_rate", "false alarms"),
)
PICK_RATES = ("repaired/", "goodnet/", "badnet/", "prune/")
ASR = "repaired/attack_success_rate"


def of_cell(
    strategy: str, metrics: Mapping[str, float], images: Mapping[str, int], command: str
) -> str:
    """What a cell came to: its `strategy`, the rates of B, B' and GoodNet, and its command.

    >>> rates = {"repaired/clean_accuracy": 0.9, "goodnet/false_alarm_rate": 0.05}
    >>> print(of_cell("clp at conv_3", rates, {"test": 100}, "python run.py prune/order=clp"))
    **clp at conv_3**
    <BLANKLINE>
    | | clean |
    |---|---|
    | B' | 90.00 (82.56-94.48) |
    <BLANKLINE>
    GoodNet flags 5.00 (2.15-11.18) % of the clean test images.
    <BLANKLINE>
    All in %, with 95 % intervals.
    <BLANKLINE>
        python run.py prune/order=clp
    """

    def shown(metric: str) -> str:
        ends = interval_of(metric, metrics, images)
        extent = f" ({percent(ends[0])}-{percent(ends[1])})" if ends else ""
        return f"{percent(metrics.get(metric))}{extent}"

    rates = {rate: head for rate, head in RATES.items() if f"repaired/{rate}" in metrics}
    rows = [
        [name, *(shown(f"{network}/{rate}") for rate in rates)]
        for network, name in NETWORKS.items()
        if any(f"{network}/{rate}" in metrics for rate in rates)
    ]
    flags = [
        f"{shown(f'goodnet/{rate}')} % of the {images}"
        for rate, images in (
            ("detection_rate", "poisoned"),
            ("false_alarm_rate", "clean test images"),
        )
        if f"goodnet/{rate}" in metrics
    ]
    paragraphs = [f"**{plain(strategy)}**"]
    if rows:
        paragraphs += [table(["", *rates.values()], rows)]
    if flags:
        paragraphs += [f"GoodNet flags {' and '.join(flags)}."]
    return "\n\n".join([*paragraphs, "All in %, with 95 % intervals.", f"    {command}"])


def about(params: Mapping[str, str]) -> str:
    """Which images and network a cell's params are of.

    >>> about({"data": "faces", "attack": "sunglasses", "badnet": "trained"})
    'the images faces, a network trained on the attack sunglasses'
    """
    network = f"a network trained on the attack {params.get('attack', '?')}"
    if params.get("badnet") != "trained":
        network = f"the network {params.get('badnet.path', params.get('badnet', '?'))}"
    return f"the images {params.get('data', '?')}, {network}"


def of_sweep(cells: Sequence[Cell], chosen: Pick, command: str, what: str) -> str:
    """What a sweep on `what` images and network came to: table, pick, and the command."""
    keys = distinguishing_keys(cells)
    rates = [
        (name, head) for name, head in CELL_RATES if any(name in cell.metrics for cell in cells)
    ]
    rows = []
    for group in groups(cells)[:SHOWN_ROWS]:
        pruned = group.mean("prune/channels")
        bad = [cell.status for cell in group.cells if not cell.finished]
        rows.append(
            [
                *map(plain, group.labels(keys)),
                bad[0] if bad else "-" if pruned is None else f"{pruned:g}",
                *(percent(group.mean(name)) for name, _ in rates),
            ]
        )
    heads = [*short_names(keys), "pruned", *(head for _, head in rates)]
    more = len(groups(cells)) - SHOWN_ROWS
    paragraphs = [f"**{len(cells)} cells** on {plain(what)}.", table(heads, rows)]
    if more > 0:
        paragraphs.append(f"{more} more rows stand in comparison.csv.")
    paragraphs += [_standing_out(cells), chosen.sentence, "To repeat it:", f"    {command}"]
    return "\n\n".join(filter(None, paragraphs))


def parent_metrics(cells: Sequence[Cell], chosen: Pick) -> dict[str, float]:
    """The metrics of a sweep: how many cells of each kind, and those of its pick."""
    statuses = [cell.status for cell in cells]
    counts = {
        "finished": sum(cell.finished for cell in cells),
        "skipped": statuses.count(SKIPPED),
        "reused": sum(cell.reused for cell in cells),
    }
    counts["failed"] = len(cells) - counts["finished"] - counts["skipped"]
    metrics = {f"cells/{name}": float(count) for name, count in counts.items()}
    if chosen.cell is not None:
        metrics |= {k: v for k, v in chosen.cell.metrics.items() if k.startswith(PICK_RATES)}
    if chosen.rank is not None:
        metrics["pick/rank_by_attack_success"] = float(chosen.rank)
    return metrics


def _standing_out(cells: Sequence[Cell]) -> str:
    """Which cells leave the attack least, of defenders and of oracles; "" where nobody knows."""
    keys = distinguishing_keys(cells)
    sentences = []
    for owner, is_oracle in (("a defender's order", False), (f"an oracle {ORACLE}", True)):
        counted = [cell for cell in cells if cell.finished and not cell.apart]
        known = [c for c in counted if ASR in c.metrics and c.oracle == is_oracle]
        if known:
            least = min(known, key=lambda cell: cell.metrics[ASR])
            lost = least.metrics["badnet/clean_accuracy"] - least.metrics["repaired/clean_accuracy"]
            settings = plain(describe(keys, Group([least]).labels(keys)) or least.ranked_by)
            sentences.append(
                f"By true attack success {owner} leaves least with {settings}: "
                f"{percent(least.metrics[ASR])} %, for {100 * lost:.2f} points of clean accuracy."
            )
    return " ".join(sentences)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = "|---" * len(heads) + "|"
    head, *lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (heads, *rows)]
    return "\n".join([head, rule, *lines])


def plain(text: str) -> str:
    """Return `text` so that it means nothing in Markdown but itself."""
    for character in "\\`*|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
