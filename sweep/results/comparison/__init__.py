"""The comparison of cells: in the terminal, as comparison.csv, and as a figure.

`table.py` is where to start; `csv_text.py` has every cell, `errors.py` prints what went wrong,
`detectors.py` what detectors are worth, where cells have one, and `probes.py` what probes found.
"""

from sweep.results.comparison.csv_text import to_csv
from sweep.results.comparison.errors import print_errors
from sweep.results.comparison.table import (
    COLUMNS,
    comparison_figure,
    print_comparison,
    print_failures,
    print_published,
    summary,
    unfinished,
)

__all__ = [
    "COLUMNS",
    "comparison_figure",
    "print_comparison",
    "print_errors",
    "print_failures",
    "print_published",
    "summary",
    "to_csv",
    "unfinished",
]
