"""The page of results: what sweeps with `experiment=strategies` left in MLflow, written out.

python -m sweep.results docs/results.md

Text made of runs: every number in it is one of theirs.
"""

import argparse
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from mlflow.entities import Run

from sweep import BadInput, files
from sweep.cases import ORDER, PRUNED, SEED, STOP, SWEEP, Case, command, read, values
from sweep.charts import ORACLE
from sweep.evaluation import DROPS
from sweep.rows import CONTROL
from sweep.terminal import percent

AREA, SHARE = "tradeoff/attack_area", "prune/fraction"
CLEAN, ATTACK = "clean_accuracy", "attack_success_rate"
GOODNET = (CLEAN, "detection_rate", "false_alarm_rate")
HEADS = ["order", "pruned", "B' clean", "B' ASR", "G clean", "G det.", "G alarm", "AUROC"]
HEADS += ["det. at 5 %"]
VERSIONS = ("Python", "Keras", "TensorFlow")
NONE = "-"

PAGE = f"""# Results

What every order and every stop is worth on each case, written from MLflow by
`python -m sweep.results docs/results.md`, never by hand. [How to read it](#how-to-read-it), and
what may not be concluded, stands at the end; what the strategies are, in
[strategies.md](strategies.md).

```sh
{{commands}}
```

{{head}}

{{cases}}

## How to read it

All in %, but for channels and AUROC. B is the suspect network, B' the pruned one, G is GoodNet,
which says "backdoored" where B and B' disagree. ASR, attack success rate: the share of the poisoned
test images that get the attack's target. det. and alarm: poisoned and clean test images that G
flags.

Numbers are means over the seeds. A dash: not measured, or not there.

- **ASR left at 1 point**: that of the last step of the pruning curve before clean test accuracy
  has for the first time dropped by more than 1 point below B's. **Area**: the mean of that over
  all drops, from none to the largest of the curve, which may differ from order to order; 0 is
  ideal. Both tell of an order, whatever the stop. In brackets: the lowest and the highest seed.
- **Intervals**, in brackets behind accuracies and ASR of B and B': 95 % Wilson intervals, from the
  lowest lower to the highest upper end over the seeds. They say what so many test images can
  tell of this network, and nothing of another one.
- **AUROC**: how often B' doubts B's answer to a poisoned image more than that to a clean one; 0.5
  tells nothing, 1 all. **det. at 5 %**: poisoned images flagged by that doubt, where the threshold
  flags at most 5 % of the clean validation images; of clean test images it may flag more.
- {ORACLE} an oracle: ranked with poisoned images, which no defender has; no defence.
  "{CONTROL}" is the control: it knows nothing of the network.
- \\* the stop's criterion was never met, with at least one of the seeds.

### What may not be concluded

- A defender has no poisoned images, and so knows no ASR, no detection and no area. To pick the row
  with the lowest ASR is no defence: it takes what is to be found out.
- Seeds draw the validation images and the random orders. The network B of a case is one and the
  same: what another one, or another attack, would give is not in the brackets.
- Rows whose intervals overlap are not thereby equal, and of so many rows some are best by chance.
"""


def page(told: Sequence[Case]) -> str:
    """The whole page, in Markdown."""
    commands = "\n".join(dict.fromkeys(command(case.sweep) for case in told))
    sections = "\n\n".join(part for case in told for part in _sections(case))
    return PAGE.format(commands=commands, head=_head(told), cases=sections)


def _head(told: Sequence[Case]) -> str:
    """Where the numbers of each case come from, a column a case."""
    rows = [
        ["date", *(_date(case.sweep) for case in told)],
        ["commit", *(_commit(case.sweep) for case in told)],
        [", ".join(VERSIONS), *(_versions(case.sweep) for case in told)],
        ["seeds", *(", ".join(case.seeds) for case in told)],
        ["cells", *(str(len(case.cells)) for case in told)],
        ["skipped cells", *(str(len(case.skipped)) for case in told)],
        ["digest of the images", *(_tag(case.measured, "data_digest") for case in told)],
        ["digest of B", *(_tag(case.measured, "network_digest") for case in told)],
    ]
    return _table(["", *(case.name for case in told)], rows, "l" * (len(told) + 1))


def _date(sweep: Run) -> str:
    return f"{datetime.fromtimestamp(sweep.info.start_time / 1000, UTC):%Y-%m-%d}"


def _versions(sweep: Run) -> str:
    return ", ".join(_tag([sweep], word.lower()) for word in VERSIONS)


def _commit(sweep: Run) -> str:
    tags = sweep.data.tags
    commit = f"`{tags['git_commit'][:10]}`" if "git_commit" in tags else NONE
    return commit + ", and changes not committed" * (tags.get("git_dirty") == "true")


def _sections(case: Case) -> list[str]:
    """B, the orders by what they leave of the attack, then a table a stop."""
    parts = [f"## {case.name}"]
    orders = dict(sorted(_orders(case.measured).items(), key=_rank))
    if orders:
        parts += [_badnet(case), _setting(case)]
    if any(_seeds(cells, AREA) for cells in orders.values()):
        heads = ["order", "area", *(f"at {drop} point{'s' * (drop > 1)}" for drop in DROPS)]
        metrics = [AREA, *(f"tradeoff/{ATTACK}_at_{drop}" for drop in DROPS)]
        rows = [
            [_marked(name, cells, case), *(_spread(_seeds(cells, metric)) for metric in metrics)]
            for name, cells in orders.items()
        ]
        parts += ["### Orders: ASR left, best area first", _table(heads, rows)]
    elif orders:
        parts.append("There are no poisoned images: nothing of the attack was measured.")
    for error in dict.fromkeys(cell.data.tags.get("error", "") for cell in case.skipped):
        cells = [cell for cell in case.skipped if cell.data.tags.get("error", "") == error]
        several = f"{len(cells)} cell{'s' * (len(cells) > 1)}"
        names = ", ".join(f"`{name}`" for name in values(cells, ORDER))
        parts.append(_filled(f"Skipped: {names} ({several}): {error.rstrip('.')}."))
    for stop in values(case.measured, STOP):
        parts += _stop(case, stop, orders)
    return parts


def _badnet(case: Case) -> str:
    rows = []
    for words, metric, name in (("clean accuracy", CLEAN, "test"), ("ASR", ATTACK, "poisoned")):
        rate = _interval(case.measured, f"badnet/{metric}")
        rows.append([words, rate, str(case.images.get(name, NONE))])
    return _table(["B", "rate (95 % interval)", "images"], rows)


def _setting(case: Case) -> str:
    """Where B is pruned, on what, and what ASR counts."""
    told = [cell.data.metrics for cell in case.measured]
    channels = sorted({round(of[PRUNED] / of[SHARE]) for of in told if of.get(SHARE)})
    where = f"Pruned at {_tag(case.measured, 'layer')}"
    where += f" ({' or '.join(map(str, channels))} channels)" if channels else ""
    where += f", on {case.images.get('valid', NONE)} clean validation images a seed."
    counts = _tag(case.measured, "asr_counts")
    return _filled(where + (f" ASR counts {counts}." if counts != NONE else ""))


def _stop(case: Case, stop: str, orders: Mapping[str, Sequence[Run]]) -> list[str]:
    """The heading of one stop, its settings, and the table of what it gives with each order."""
    cells = [cell for cell in case.measured if cell.data.params[STOP] == stop]
    keys = dict.fromkeys(key for cell in cells for key in cell.data.params)
    settings = [
        f"`{key}={','.join(values(cells, key))}`"
        for key in keys
        if key.startswith(f"{STOP}.") and not key.endswith("_")
    ]
    rows = []
    for name, all_stops in orders.items():
        ours = [cell for cell in all_stops if cell.data.params[STOP] == stop]
        unmet = any(cell.data.tags.get("stop_reached") == "false" for cell in ours)
        pruned = _mean(ours, PRUNED, lambda channels: f"{channels:.3g}")
        row = [
            _marked(name, all_stops, case, ours),
            pruned + r"\*" * unmet,
            *(_interval(ours, f"repaired/{metric}") for metric in (CLEAN, ATTACK)),
            *(_mean(ours, f"goodnet/{metric}") for metric in GOODNET),
            _mean(ours, "goodnet/auroc", lambda area: f"{area:.3f}"),
            _mean(ours, "goodnet/detection_rate_at_5"),
        ]
        rows.append(row)
    told = [f"Settings: {', '.join(settings)}."] if settings else []
    return [f"### Stop: {stop}", *told, _table(HEADS, rows)]


def _orders(cells: Sequence[Run]) -> dict[str, list[Run]]:
    """The cells by order, and by whatever tells those of one order, stop and seed apart."""
    alike: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for params in (cell.data.params for cell in cells):
        alike.setdefault((params[ORDER], params[STOP], params[SEED]), []).append(params)
    pairs = [(one, some[0]) for some in alike.values() for one in some]
    apart = sorted({k for a, b in pairs for k in {*a, *b} if a.get(k) != b.get(k)})
    found: dict[str, list[Run]] = {}
    for cell in cells:
        params = cell.data.params
        more = [f"{key}={params.get(key, NONE).rpartition('/')[2]}" for key in apart]
        found.setdefault(" ".join([params[ORDER], *more]), []).append(cell)
    return found


def _rank(order: tuple[str, Sequence[Run]]) -> tuple[float, str]:
    """Best area first; an order without comes last."""
    name, cells = order
    return fmean(_seeds(cells, AREA) or [math.inf]), name


def _marked(name: str, cells: Sequence[Run], case: Case, ours: Sequence[Run] | None = None) -> str:
    """An order's name, with what has to be known of it."""
    seeds = len(values(cells if ours is None else ours, SEED))
    name += f" {ORACLE}" * (_tag(cells, "threat_model") == "oracle")
    name += " (control)" * (cells[0].data.params[ORDER] == CONTROL)
    return name + f" ({seeds} of {len(case.seeds)} seeds)" * (0 < seeds < len(case.seeds))


def _all(cells: Iterable[Run], metric: str) -> list[float]:
    return [cell.data.metrics[metric] for cell in cells if metric in cell.data.metrics]


def _seeds(cells: Sequence[Run], metric: str) -> list[float]:
    """A metric of the whole curve, once a seed: it is the same whatever the stop."""
    found = {
        cell.data.params[SEED]: cell.data.metrics[metric]
        for cell in cells
        if metric in cell.data.metrics
    }
    return list(found.values())


def _mean(cells: Iterable[Run], metric: str, show: Callable[[float], str] = percent) -> str:
    found = _all(cells, metric)
    return show(fmean(found)) if found else NONE


def _spread(rates: Sequence[float]) -> str:
    """Mean, and lowest to highest where they differ.

    >>> _spread([0.5, 0.25]), _spread([1.0, 1.0]), _spread([])
    ('37.50 (25.00-50.00)', '100.0', '-')
    """
    if not rates:
        return NONE
    low, high = percent(min(rates)), percent(max(rates))
    return percent(fmean(rates)) + f" ({low}-{high})" * (low != high)


def _interval(cells: Sequence[Run], metric: str) -> str:
    """Mean, and the lowest lower to the highest upper end of its intervals."""
    lows, highs = _all(cells, f"{metric}_low"), _all(cells, f"{metric}_high")
    ends = f" ({percent(min(lows))}-{percent(max(highs))})" if lows and highs else ""
    return _mean(cells, metric) + ends


def _tag(runs: Iterable[Run], tag: str) -> str:
    """The values of a tag, each once; digests in short."""
    found = dict.fromkeys(run.data.tags[tag] for run in runs if tag in run.data.tags)
    short = 12 if tag.endswith("_digest") else None
    return ", ".join(value[:short] for value in found) or NONE


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], align: str = "l") -> str:
    """A table in Markdown; columns beyond `align` are numbers, to the right."""
    rules = [{"l": ":---", "r": "---:"}[side] for side in align.ljust(len(heads), "r")]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 well, 2 bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.results",
        description=f"Write a page of results in Markdown: of each case the latest {SWEEP}.",
    )
    parser.add_argument("page", type=Path, nargs="?", help="the file (default: print it)")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    parser.add_argument("--experiment", default="prunesweep", help="MLflow's name for them")
    given = parser.parse_args(arguments)
    try:
        text = page(read(given.uri, given.experiment))
    except BadInput as error:
        print(f"prunesweep: {error}", file=sys.stderr)
        return 2
    if given.page is None:
        print(text, end="")
    else:
        with files.whole(given.page) as unfinished:
            unfinished.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
