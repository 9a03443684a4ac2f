"""What went wrong in cells: each error once, with the cells that it befell."""

from collections.abc import Sequence

from sweep import terminal
from sweep.results.cells import Cell


def print_errors(cells: Sequence[Cell]) -> None:
    """Say of each error which cells it befell."""
    for error, jobs in _errors(cells).items():
        terminal.print_line(f"{cell_numbers(jobs)} {error}")


def _errors(cells: Sequence[Cell]) -> dict[str, list[int]]:
    """The cells that each error befell, by their numbers."""
    jobs_by_error: dict[str, list[int]] = {}
    for cell in cells:
        if cell.error:
            jobs_by_error.setdefault(f"{cell.status}: {cell.error}", []).append(cell.job)
    return jobs_by_error


def cell_numbers(jobs: Sequence[int]) -> str:
    """The numbers of some cells, those that follow each other in short.

    >>> cell_numbers([3]), cell_numbers([0, 1, 2, 5])
    ('cell 3', 'cells 0-2, 5')
    """
    starts = [job for job in jobs if job - 1 not in jobs]
    ends = [job for job in jobs if job + 1 not in jobs]
    ranges = (str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
    return f"cell{'s' if len(jobs) > 1 else ''} {', '.join(ranges)}"
