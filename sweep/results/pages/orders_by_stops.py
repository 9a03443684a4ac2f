"""What every order and every stop is worth on each case: the page of `experiment=strategies`."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from mlflow.entities import Run

from sweep.evaluation.implant import IMPLANTED
from sweep.evaluation.run_metrics import DROPS
from sweep.results.cells import CONTROL, ORACLE, implant_of
from sweep.results.pages import markdown
from sweep.results.pages.markdown import (
    DASH,
    interval,
    mean,
    spread,
    table,
    tag_values,
    wrap,
)
from sweep.results.pages.sweeps import (
    ORDER_PARAM,
    PRUNED_CHANNELS,
    SEED_PARAM,
    STOP_PARAM,
    Case,
    param_values,
)

AREA, PRUNED_FRACTION = "tradeoff/attack_area", "prune/fraction"
HEADS = ["order", "pruned", "B' clean", "B' ASR", "G clean", "G det.", "G alarm", "AUROC"]
HEADS += ["det. at 5 %"]

TITLE = "Orders and stops"
INTRODUCTION = (
    "One order and one stop at a time: what each is worth on its own. What they are is told in "
    "[strategies.md](../strategies.md)."
)

#: What the page says of these tables, to be read with them.
LEGEND = f"""\
- **ASR left at 1 point**: that of the last step of the pruning curve before clean test accuracy
  has for the first time dropped by more than 1 point below B's. **Area**: the mean of that over
  all drops, from none to the largest of the curve, which may differ from order to order; 0 is
  ideal. Both tell of an order, whatever the stop. In brackets: the lowest and the highest seed.
- In brackets behind rates of B, and of B' under a stop: intervals.
- **AUROC**: how often B' believes less of B's answer to a poisoned image than to a clean one; 0.5
  tells nothing, 1 all. **det. at 5 %**: poisoned images flagged by that score, where the threshold
  flags at most 5 % of the clean validation images; of clean test images it may flag more.
- "{CONTROL}" is the control: it knows nothing of the network.
- \\* the stop's criterion was never met, with at least one of the seeds."""

#: What may not be concluded from them.
LIMITS = """\
- Seeds draw the validation images and the random orders. The network B of a case is one and the
  same: what another one would give is not in the brackets."""


def page(cases: Sequence[Case]) -> str:
    """Every order by every stop, case by case, in Markdown."""
    paragraphs = [markdown.commands(case.sweep for case in cases), _head(cases)]
    for case in cases:
        paragraphs += _case(case)
    return markdown.page(TITLE, INTRODUCTION, paragraphs, LEGEND, LIMITS)


def _head(cases: Sequence[Case]) -> str:
    """Where the numbers of each case come from, a column a case."""
    rows = [
        ["date", *(markdown.date(case.sweep) for case in cases)],
        ["commit", *(markdown.commit(case.sweep) for case in cases)],
        [", ".join(markdown.VERSIONS), *(markdown.versions(case.sweep) for case in cases)],
        ["seeds", *(", ".join(case.seeds) for case in cases)],
        ["cells", *(str(len(case.cells)) for case in cases)],
        ["skipped cells", *(str(len(case.skipped)) for case in cases)],
        ["digest of the images", *(tag_values(case.measured, "data_digest") for case in cases)],
        ["digest of B", *(tag_values(case.measured, "network_digest") for case in cases)],
    ]
    return table(["", *(case.name for case in cases)], rows, "l" * (len(cases) + 1))


def _case(case: Case) -> list[str]:
    """B, the orders by what they leave of the attack, then a table a stop."""
    paragraphs = [f"## {case.name}"]
    orders = dict(sorted(_by_order(case.measured).items(), key=_rank))
    if orders:
        paragraphs += [_badnet(case), _setting(case)]
    if any(_by_seed(cells, AREA) for cells in orders.values()):
        paragraphs += ["### Orders: ASR left, best area first", _tradeoffs(case, orders)]
    elif orders:
        paragraphs.append("There are no poisoned images: nothing of the attack was measured.")
    paragraphs += markdown.skipped(case.skipped, ORDER_PARAM)
    for stop in param_values(case.measured, STOP_PARAM):
        paragraphs += _stop(case, stop, orders)
    return paragraphs


def _tradeoffs(case: Case, orders: Mapping[str, Sequence[Run]]) -> str:
    """The attack success that each order leaves, over all drops of accuracy and at some."""
    columns = {"area": AREA}
    for drop in DROPS:
        points = "1 point" if drop == 1 else f"{drop} points"
        columns[f"at {points}"] = f"tradeoff/attack_success_rate_at_{drop}"
    rows = []
    for name, cells in orders.items():
        texts = [spread(_by_seed(cells, metric)) for metric in columns.values()]
        rows.append([_marked_name(name, cells, case), *texts])
    return table(["order", *columns], rows)


def _badnet(case: Case) -> str:
    clean = interval(case.measured, "badnet/clean_accuracy")
    success = interval(case.measured, "badnet/attack_success_rate")
    rows = [
        ["clean accuracy", clean, str(case.images.get("test", DASH))],
        ["ASR", success, str(case.images.get("poisoned", DASH))],
    ]
    return table(["B", "rate (95 % interval)", "images"], rows)


def _setting(case: Case) -> str:
    """Where B is pruned, on what, and what ASR counts."""
    channels = set()
    for cell in case.measured:
        fraction = cell.data.metrics.get(PRUNED_FRACTION)
        if fraction:
            channels.add(round(cell.data.metrics[PRUNED_CHANNELS] / fraction))
    text = f"Pruned at {tag_values(case.measured, 'layer')}"
    if channels:
        text += f" ({' or '.join(map(str, sorted(channels)))} channels)"
    text += f", on {case.images.get('valid', DASH)} clean validation images a seed."
    counts = tag_values(case.measured, "asr_counts")
    if counts != DASH:
        text += f" ASR counts {counts}."
    implant = implant_of(case.measured[-1])
    if implant not in ("", IMPLANTED):
        text += f" The attack did not take hold of B: {implant}."
    return wrap(text)


def _stop(case: Case, stop: str, orders: Mapping[str, Sequence[Run]]) -> list[str]:
    """The heading of one stop, its settings, and the table of what it gives with each order."""
    cells = [cell for cell in case.measured if cell.data.params[STOP_PARAM] == stop]
    keys = dict.fromkeys(key for cell in cells for key in cell.data.params)
    settings = [
        f"`{key}={','.join(param_values(cells, key))}`"
        for key in keys
        if key.startswith(f"{STOP_PARAM}.") and not key.endswith("_")
    ]
    rows = []
    for name, all_stops in orders.items():
        same = [cell for cell in all_stops if cell.data.params[STOP_PARAM] == stop]
        unmet = any(cell.data.tags.get("stop_reached") == "false" for cell in same)
        row = [
            _marked_name(name, all_stops, case, same),
            mean(same, PRUNED_CHANNELS, "{:.3g}".format) + (r"\*" if unmet else ""),
            interval(same, "repaired/clean_accuracy"),
            interval(same, "repaired/attack_success_rate"),
            mean(same, "goodnet/clean_accuracy"),
            mean(same, "goodnet/detection_rate"),
            mean(same, "goodnet/false_alarm_rate"),
            mean(same, "goodnet/auroc", "{:.3f}".format),
            mean(same, "goodnet/detection_rate_at_5"),
        ]
        rows.append(row)
    notes = [f"Settings: {', '.join(settings)}."] if settings else []
    return [f"### Stop: {stop}", *notes, table(HEADS, rows)]


def _by_order(cells: Sequence[Run]) -> dict[str, list[Run]]:
    """The cells by order, and by whatever tells those of one order, stop and seed apart."""
    differing = _differing_params(cells)
    by_order: dict[str, list[Run]] = {}
    for cell in cells:
        params = cell.data.params
        settings = [f"{key}={params.get(key, DASH).rpartition('/')[2]}" for key in differing]
        by_order.setdefault(" ".join([params[ORDER_PARAM], *settings]), []).append(cell)
    return by_order


def _differing_params(cells: Sequence[Run]) -> list[str]:
    """The parameters in which cells of the same order, stop and seed differ."""
    firsts: dict[tuple[str, ...], Mapping[str, str]] = {}
    differing = set()
    for params in (cell.data.params for cell in cells):
        group = params[ORDER_PARAM], params[STOP_PARAM], params[SEED_PARAM]
        first = firsts.setdefault(group, params)
        differing |= {key for key in {*params, *first} if params.get(key) != first.get(key)}
    return sorted(differing)


def _rank(order: tuple[str, Sequence[Run]]) -> tuple[float, str]:
    """Best area first; an order without comes last."""
    name, cells = order
    return fmean(_by_seed(cells, AREA) or [math.inf]), name


def _marked_name(
    name: str, cells: Sequence[Run], case: Case, shown: Sequence[Run] | None = None
) -> str:
    """An order's name, with what has to be known of it; `shown` are those of its cells in a row."""
    seeds = len(param_values(cells if shown is None else shown, SEED_PARAM))
    if tag_values(cells, "threat_model") == "oracle":
        name += f" {ORACLE}"
    if cells[0].data.params[ORDER_PARAM] == CONTROL:
        name += " (control)"
    if 0 < seeds < len(case.seeds):
        name += f" ({seeds} of {len(case.seeds)} seeds)"
    return name


def _by_seed(cells: Sequence[Run], metric: str) -> list[float]:
    """A metric of the whole curve, once a seed: it is the same whatever the stop."""
    by_seed = {
        cell.data.params[SEED_PARAM]: cell.data.metrics[metric]
        for cell in cells
        if metric in cell.data.metrics
    }
    return list(by_seed.values())
