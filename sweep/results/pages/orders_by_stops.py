"""What every order and every stop is worth on each case: the part of `experiment=strategies`."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from mlflow.entities import Run

from sweep.evaluation.run_metrics import DROPS
from sweep.results.cells import CONTROL, ORACLE
from sweep.results.pages import markdown
from sweep.results.pages.markdown import NONE, filled, interval, mean, spread, table, tag
from sweep.results.pages.sweeps import (
    ORDER_PARAM,
    PRUNED_CHANNELS,
    SEED_PARAM,
    STOP_PARAM,
    Case,
    values,
)

AREA, SHARE = "tradeoff/attack_area", "prune/fraction"
CLEAN, ATTACK = "clean_accuracy", "attack_success_rate"
GOODNET = (CLEAN, "detection_rate", "false_alarm_rate")
HEADS = ["order", "pruned", "B' clean", "B' ASR", "G clean", "G det.", "G alarm", "AUROC"]
HEADS += ["det. at 5 %"]

#: What the page says of these tables, to be read with them.
LEGEND = f"""\
- **ASR left at 1 point**: that of the last step of the pruning curve before clean test accuracy
  has for the first time dropped by more than 1 point below B's. **Area**: the mean of that over
  all drops, from none to the largest of the curve, which may differ from order to order; 0 is
  ideal. Both tell of an order, whatever the stop. In brackets: the lowest and the highest seed.
- In brackets behind rates of B, and of B' under a stop: intervals.
- **AUROC**: how often B' doubts B's answer to a poisoned image more than that to a clean one; 0.5
  tells nothing, 1 all. **det. at 5 %**: poisoned images flagged by that doubt, where the threshold
  flags at most 5 % of the clean validation images; of clean test images it may flag more.
- "{CONTROL}" is the control: it knows nothing of the network.
- \\* the stop's criterion was never met, with at least one of the seeds."""

#: What may not be concluded from them.
LIMITS = """\
- Under "Orders and stops" seeds draw the validation images and the random orders. The network B of
  a case is one and the same: what another one would give is not in the brackets."""


def part(cases: Sequence[Case]) -> str:
    """Every order by every stop, case by case, in Markdown."""
    parts = [
        "## Orders and stops",
        "One order and one stop at a time: what each is worth on its own.",
        markdown.commands(case.sweep for case in cases),
        _head(cases),
    ]
    return "\n\n".join([*parts, *(section for case in cases for section in _sections(case))])


def _head(cases: Sequence[Case]) -> str:
    """Where the numbers of each case come from, a column a case."""
    rows = [
        ["date", *(markdown.date(case.sweep) for case in cases)],
        ["commit", *(markdown.commit(case.sweep) for case in cases)],
        [", ".join(markdown.VERSIONS), *(markdown.versions(case.sweep) for case in cases)],
        ["seeds", *(", ".join(case.seeds) for case in cases)],
        ["cells", *(str(len(case.cells)) for case in cases)],
        ["skipped cells", *(str(len(case.skipped)) for case in cases)],
        ["digest of the images", *(tag(case.measured, "data_digest") for case in cases)],
        ["digest of B", *(tag(case.measured, "network_digest") for case in cases)],
    ]
    return table(["", *(case.name for case in cases)], rows, "l" * (len(cases) + 1))


def _sections(case: Case) -> list[str]:
    """B, the orders by what they leave of the attack, then a table a stop."""
    parts = [f"### {case.name}"]
    orders = dict(sorted(_orders(case.measured).items(), key=_rank))
    if orders:
        parts += [_badnet(case), _setting(case)]
    if any(_seeds(cells, AREA) for cells in orders.values()):
        heads = [
            "order",
            "area",
            *(f"at {drop} {'points' if drop > 1 else 'point'}" for drop in DROPS),
        ]
        metrics = [AREA, *(f"tradeoff/{ATTACK}_at_{drop}" for drop in DROPS)]
        rows = [
            [_marked(name, cells, case), *(spread(_seeds(cells, metric)) for metric in metrics)]
            for name, cells in orders.items()
        ]
        parts += ["#### Orders: ASR left, best area first", table(heads, rows)]
    elif orders:
        parts.append("There are no poisoned images: nothing of the attack was measured.")
    parts += markdown.skipped(case.skipped, ORDER_PARAM)
    for stop in values(case.measured, STOP_PARAM):
        parts += _stop(case, stop, orders)
    return parts


def _badnet(case: Case) -> str:
    rows = []
    for words, metric, name in (("clean accuracy", CLEAN, "test"), ("ASR", ATTACK, "poisoned")):
        rate = interval(case.measured, f"badnet/{metric}")
        rows.append([words, rate, str(case.images.get(name, NONE))])
    return table(["B", "rate (95 % interval)", "images"], rows)


def _setting(case: Case) -> str:
    """Where B is pruned, on what, and what ASR counts."""
    metrics = [cell.data.metrics for cell in case.measured]
    channels = sorted({round(of[PRUNED_CHANNELS] / of[SHARE]) for of in metrics if of.get(SHARE)})
    where = f"Pruned at {tag(case.measured, 'layer')}"
    where += f" ({' or '.join(map(str, channels))} channels)" if channels else ""
    where += f", on {case.images.get('valid', NONE)} clean validation images a seed."
    counts = tag(case.measured, "asr_counts")
    return filled(where + (f" ASR counts {counts}." if counts != NONE else ""))


def _stop(case: Case, stop: str, orders: Mapping[str, Sequence[Run]]) -> list[str]:
    """The heading of one stop, its settings, and the table of what it gives with each order."""
    cells = [cell for cell in case.measured if cell.data.params[STOP_PARAM] == stop]
    keys = dict.fromkeys(key for cell in cells for key in cell.data.params)
    settings = [
        f"`{key}={','.join(values(cells, key))}`"
        for key in keys
        if key.startswith(f"{STOP_PARAM}.") and not key.endswith("_")
    ]
    rows = []
    for name, all_stops in orders.items():
        ours = [cell for cell in all_stops if cell.data.params[STOP_PARAM] == stop]
        unmet = any(cell.data.tags.get("stop_reached") == "false" for cell in ours)
        pruned = mean(ours, PRUNED_CHANNELS, lambda channels: f"{channels:.3g}")
        row = [
            _marked(name, all_stops, case, ours),
            pruned + (r"\*" if unmet else ""),
            *(interval(ours, f"repaired/{metric}") for metric in (CLEAN, ATTACK)),
            *(mean(ours, f"goodnet/{metric}") for metric in GOODNET),
            mean(ours, "goodnet/auroc", lambda area: f"{area:.3f}"),
            mean(ours, "goodnet/detection_rate_at_5"),
        ]
        rows.append(row)
    notes = [f"Settings: {', '.join(settings)}."] if settings else []
    return [f"#### Stop: {stop}", *notes, table(HEADS, rows)]


def _orders(cells: Sequence[Run]) -> dict[str, list[Run]]:
    """The cells by order, and by whatever tells those of one order, stop and seed apart."""
    alike: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for params in (cell.data.params for cell in cells):
        alike.setdefault((params[ORDER_PARAM], params[STOP_PARAM], params[SEED_PARAM]), []).append(
            params
        )
    pairs = [(one, same[0]) for same in alike.values() for one in same]
    apart = sorted({k for a, b in pairs for k in {*a, *b} if a.get(k) != b.get(k)})
    by_order: dict[str, list[Run]] = {}
    for cell in cells:
        params = cell.data.params
        more = [f"{key}={params.get(key, NONE).rpartition('/')[2]}" for key in apart]
        by_order.setdefault(" ".join([params[ORDER_PARAM], *more]), []).append(cell)
    return by_order


def _rank(order: tuple[str, Sequence[Run]]) -> tuple[float, str]:
    """Best area first; an order without comes last."""
    name, cells = order
    return fmean(_seeds(cells, AREA) or [math.inf]), name


def _marked(name: str, cells: Sequence[Run], case: Case, ours: Sequence[Run] | None = None) -> str:
    """An order's name, with what has to be known of it."""
    seeds = len(values(cells if ours is None else ours, SEED_PARAM))
    if tag(cells, "threat_model") == "oracle":
        name += f" {ORACLE}"
    if cells[0].data.params[ORDER_PARAM] == CONTROL:
        name += " (control)"
    if 0 < seeds < len(case.seeds):
        name += f" ({seeds} of {len(case.seeds)} seeds)"
    return name


def _seeds(cells: Sequence[Run], metric: str) -> list[float]:
    """A metric of the whole curve, once a seed: it is the same whatever the stop."""
    by_seed = {
        cell.data.params[SEED_PARAM]: cell.data.metrics[metric]
        for cell in cells
        if metric in cell.data.metrics
    }
    return list(by_seed.values())
