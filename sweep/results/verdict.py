"""The verdict on a network, as a person reads it in the terminal."""

from sweep import terminal
from sweep.evaluation.outliers import OUTLIER
from sweep.inspection import SIZE_UNITS, Verdict


def print_verdict(verdict: Verdict) -> None:
    """Print the verdict; before it, where costs were asked for, all that was found."""
    if verdict.costs:
        _print_details(verdict)
    figure = "" if verdict.costs else " (figures/verdict.png)"
    terminal.print_line(verdict.sentence + figure)


def _print_details(verdict: Verdict) -> None:
    """The reversed triggers, and what pruning costs."""
    terminal.print_line(
        f"B on {verdict.images} clean validation images: {terminal.percent(verdict.accuracy)} % "
        f"right."
    )
    terminal.print_table(
        ["trigger", "class", "size", "anew", "index"], list(verdict.rows()), left=1
    )
    terminal.print_line(
        f"The smallest change that turns images into a class; those with the highest index. Size "
        f"of a mask: {SIZE_UNITS['mask']}; additive: {SIZE_UNITS['additive']}; "
        f"anew: in a network that learned these images anew. Above {OUTLIER:g} a class stands out "
        f"from the others, here and beside that."
    )
    rows = [
        [
            cost.order,
            "-" if cost.pruned is None else str(cost.pruned),
            terminal.percent(cost.accuracy),
            "-" if cost.accuracy is None else f"{100 * (verdict.accuracy - cost.accuracy):.2f}",
            terminal.percent(cost.differs),
        ]
        for cost in verdict.costs
    ]
    terminal.print_table(["order", "pruned", "B' valid", "cost", "differs"], rows, left=1)
    terminal.print_line(
        "What each order would prune at this stop, in %: accuracy of B' on clean validation "
        "images, points below B, images on which B and B' differ. -: does not apply here."
    )
    terminal.print_line("")
