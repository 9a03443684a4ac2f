"""What a sweep came to, logged on its parent run: tables, figures, description, pick."""

from collections.abc import Sequence

from mlflow.entities import Run

from sweep.results import comparison, descriptions, paired
from sweep.results.cells import Cell
from sweep.results.figures.tradeoffs import tradeoff_figure
from sweep.results.pick import Pick
from sweep.tracking import Log


def log_outcome(
    log: Log, cells: Sequence[Cell], chosen: Pick, runs: Sequence[Run], command: str
) -> str:
    """Log the outcome of a sweep of these `cells`, whose `runs` there are, made by `command`.

    Returned is a line on paired.csv, "" where there is none.
    """
    what = descriptions.about(runs[0].data.params) if runs else "nothing yet"
    log.describe(descriptions.of_sweep(cells, chosen, command, what))
    log.metrics(descriptions.parent_metrics(cells, chosen))
    if chosen.cell is not None:
        log.tags({"pick": chosen.cell.run_id})

    log.text("comparison.csv", comparison.to_csv(cells))
    if any(cell.measured for cell in cells):
        log.figure("figures/comparison.png", comparison.comparison_figure(cells))
    tradeoff = tradeoff_figure(cells)
    if tradeoff is not None:
        log.figure("figures/tradeoff.png", tradeoff)
    differences, note = paired.to_csv(cells)
    if differences:
        log.text("paired.csv", differences)
    return note if differences else ""
