"""The table of detectors in the terminal: how well each tells poisoned images from clean ones."""

from collections.abc import Sequence

from sweep import terminal
from sweep.results.cells import Cell, Group, differing_keys, groups, short_names

AUROC, SECONDS = "detector/auroc", "detector/seconds_per_1000"
#: What is shown beside AUROC: metric, heading.
COLUMNS = (
    ("detector/detection_rate_at_1", "at 1 %\ndet."),
    ("detector/false_alarm_rate_at_1", "\nalarm"),
    ("detector/detection_rate_at_5", "at 5 %\ndet."),
    ("detector/false_alarm_rate_at_5", "\nalarm"),
)
LEGEND = (
    "Detectors: AUROC, with the ends of its 95 % interval (Newcombe); det.: poisoned, alarm: clean "
    "test images that are flagged, in %, where the threshold flags at most 1 or 5 % of clean "
    "validation images; s: seconds for 1,000 images."
)


def print_detectors(cells: Sequence[Cell]) -> None:
    """Print what detectors are worth, where cells have one."""
    shown = [group for group in groups(cells) if group.values(COLUMNS[1][0])]
    if not shown:
        return
    keys = differing_keys(cells)
    heads = ["\nAUROC", "", *(heading for _, heading in COLUMNS), "\ns"]
    rows = [[*(group.labels(keys) or ["B'"]), *_numbers(group)] for group in shown]
    names = [f"\n{name}" for name in short_names(keys) or [""]]
    terminal.print_table([*names, *heads], rows, len(names))
    terminal.print_line(LEGEND)


def _numbers(group: Group) -> list[str]:
    """AUROC and its interval, of one cell, the rates of `COLUMNS`, and the seconds."""
    auroc, seconds = group.mean(AUROC), group.mean(SECONDS)
    ends = group.first.interval(AUROC) if len(group.cells) == 1 else None
    return [
        "-" if auroc is None else f"{auroc:.3f}",
        "" if ends is None else f"{ends[0]:.3f}-{ends[1]:.3f}",
        *(terminal.percent(group.mean(metric)) for metric, _ in COLUMNS),
        "-" if seconds is None else f"{seconds:.2f}",
    ]
