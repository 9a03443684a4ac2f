"""What a cell tells in the terminal beside its table: the verdict on B, when GoodNet flags."""

from collections.abc import Collection, Mapping

from sweep import terminal
from sweep.detectors.rules import Rule
from sweep.estimation import LONG, Estimate
from sweep.evaluation.outliers import OUTLIER
from sweep.inspection import SIZE_UNITS, Verdict
from sweep.inspection.margins import margin_p_value
from sweep.rechecking import Recheck
from sweep.results.figures import draw_verdict
from sweep.tracking.log import Log

COLUMNS = ["layer", "tail", "channels", "values", "images", "curves", "passes", "minutes", "GB"]


def tell_rule(log: Log, rule: Rule) -> None:
    """Log goodnet.json, and where a cell runs by itself print when GoodNet flags an image."""
    log.text("goodnet.json", rule.to_json())
    if log.sweep is not None:
        return
    if rule.tolerance is None:
        terminal.print_line("GoodNet flags an image where B and B' disagree (goodnet=vote).")
        return
    low, high = rule.tolerance
    terminal.print_line(
        f"GoodNet flags an image where B' gives B's class over {rule.threshold:.4f} less "
        f"probability than B does: {rule.flagged} of the {rule.images} clean images that set it, "
        f"and {100 * low:.2f} to {100 * high:.2f} % of others like them (95 %; goodnet.json)."
    )


def tell_verdict(log: Log, verdict: Verdict, layer: str) -> None:
    """Print and log the verdict, and log its figure; `layer` is where B is cut."""
    print_verdict(verdict)
    log.verdict(verdict, draw_verdict(verdict, layer))


def tell_recheck(log: Log, recheck: Recheck) -> None:
    """Log the recheck of B', and where a cell runs by itself print whether B' can be trusted."""
    log.metrics(recheck.metrics)
    log.tags({"recheck": recheck.sentence})
    if log.sweep is None:
        terminal.print_line(recheck.sentence)


def print_verdict(verdict: Verdict) -> None:
    """Print the verdict; before it, where costs were asked for, all that was found."""
    if verdict.costs:
        _print_details(verdict)
    terminal.print_line(f"{verdict.sentence} (figures/verdict.png)")


def _print_details(verdict: Verdict) -> None:
    """The reversed triggers, the margins, and what pruning costs."""
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
    if verdict.margins is not None:
        terminal.print_line(
            f"Class {verdict.margins.argmax()} can be made to lead the others farthest, by images "
            f"made of noise; were it one like them, p = {margin_p_value(verdict.margins):.2g} "
            f"(MM-BD)."
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


def print_total(estimates: Collection[Estimate]) -> None:
    """Print what curves will take in all, where that is long."""
    seconds = sum(estimated.seconds for estimated in estimates)
    if seconds >= LONG:
        memory = max(estimated.memory for estimated in estimates)
        terminal.print_line(
            f"About {terminal.duration(seconds)} to come for all curves, and memory up to "
            f"{memory / 1e9:.1f} GB; dry_run=true tells it by layer. What trains comes on top."
        )


def print_estimates(estimates: Mapping[int, Estimate], missing: Collection[str]) -> None:
    """Print what curves will take, a row a cut, and why it is not known of others.

    `estimates` have the number of the first cell at their cut, `missing` is what is to be made yet.
    """
    layers = [estimated.layer for estimated in estimates.values()]
    rows = [
        [
            estimated.layer + (f", cell {job}" if layers.count(estimated.layer) > 1 else ""),
            estimated.pace.tail,
            str(estimated.pace.channels),
            str(estimated.pace.values),
            str(estimated.images),
            str(estimated.curves),
            f"{estimated.passes:.1f}",
            f"{estimated.seconds / 60:.1f}",
            f"{estimated.memory / 1e9:.1f}",
        ]
        for job, estimated in estimates.items()
    ]
    if rows:
        terminal.print_table(COLUMNS, rows, left=2)
        seconds = sum(estimated.seconds for estimated in estimates.values())
        terminal.print_line(
            f"About {terminal.duration(seconds)} in one process, estimated from a few batches on "
            f"this machine: the pass of all images to each cut, and a curve for each way of "
            f"ranking. What is kept of earlier runs is not taken off, and what trains (orders, "
            f"repairs, detectors, a verdict) or ranks anew is not in it."
        )
        terminal.print_line(
            "tail: how steps are taken, linear and the like by adding what a channel makes, masked "
            "by all layers behind it anew; values: numbers an image that cross the cut; passes: "
            "plain passes of the network that take as long; GB: memory at its peak."
        )
    for reason in sorted(missing):
        terminal.print_line(f"What it takes cannot be estimated: {reason}.")
