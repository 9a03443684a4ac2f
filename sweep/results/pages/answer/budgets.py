"""Budgets: how many clean images the defender had, in words that tell one cell from others.

A budget is `ALL`, where the command says nothing of it or as many as there are, or else a number of
images, "1300", or so many of each class, "10 a class".
"""

from collections.abc import Sequence

from mlflow.entities import Run

from sweep.results.cells import image_counts
from sweep.results.pages.sweeps import case_name

PARAMS = ("data.valid_images", "data.valid_at_most", "data.valid_per_class")
ALL, A_CLASS = "all", "a class"
#: What `strategy=answer` sets of itself, which is no choice of whoever gave the command.
USUAL = ("data.valid_at_most", "4000")


def budgets(cells: Sequence[Run]) -> dict[str, str]:
    """The budget of each cell, by its run's id.

    A number that is no limit says nothing: as 3000, where cells without one had as many images.
    """
    every: dict[str, int] = {}
    for cell in cells:
        had = _had(cell)
        if had is not None and not _limited(cell):
            every[case_name(cell)] = max(had, every.get(case_name(cell), 0))
    return {cell.info.run_id: _budget(cell, every.get(case_name(cell))) for cell in cells}


def _budget(cell: Run, every: int | None) -> str:
    """Its budget, where all images are `every`, if that is known."""
    per_class = cell.data.params.get("data.valid_per_class", "None")
    if per_class != "None":
        return f"{per_class} {A_CLASS}"
    asked = _asked(cell)
    if asked is None or not _limited(cell) or (every is not None and asked >= every):
        return ALL
    return str(asked)


def _asked(cell: Run) -> int | None:
    """How many images the command asks for, as `sweep.data` reads it; None: it does not say."""
    params = cell.data.params
    for name in ("data.valid_images", "data.valid_at_most"):
        value = params.get(name, "None")
        if value != "None":
            return None if (name, value) == USUAL else int(value)
    return None


def _limited(cell: Run) -> bool:
    """Whether the command gives a defender fewer images than there are, as far as one can tell."""
    if cell.data.params.get("data.valid_per_class", "None") != "None":
        return True
    asked, had = _asked(cell), _had(cell)
    return asked is not None and (had is None or had >= asked)


def _had(cell: Run) -> int | None:
    """How many images there were, where the cell came as far as any rate."""
    return image_counts(cell).get("valid")


def words(budget: str) -> str:
    """A budget in a sentence, behind "with".

    >>> words("all"), words("1300"), words("10 a class")
    ('all images', '1300 images', '10 images a class')
    """
    number, _, of_each = budget.partition(" ")
    return " ".join(filter(None, [number, "images", of_each]))


def sort_key(budget: str) -> tuple[bool, bool, int]:
    """Where a budget stands among others: all images first, then the more the earlier.

    >>> sorted(["270", "10 a class", "all", "1300"], key=sort_key)
    ['all', '1300', '270', '10 a class']
    """
    number = budget.partition(" ")[0]
    return budget != ALL, budget.endswith(A_CLASS), -int(number) if number.isdigit() else 0
