"""The page of results: what `experiment=answer` and `experiment=strategies` left in MLflow.

python -m sweep.results docs/results.md

Text made of runs: every number in it is one of theirs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sweep import BadInput, files, terminal
from sweep.results.cells import ORACLE
from sweep.results.pages import orders_by_stops, strategy_runs, sweeps, whole_strategies
from sweep.results.pages.strategy_runs import StrategyRun
from sweep.results.pages.sweeps import Case

PAGE = f"""# Results

Written from MLflow by `python -m sweep.results docs/results.md`, never by hand. [How to read
it](#how-to-read-it), and what may not be concluded, stands at the end; what orders and stops are,
in [strategies.md](strategies.md), and what strategies are made of them, in
[conf/strategy](../conf/strategy).

{{sections}}

## How to read it

All in %, but for points, counts, channels and AUROC. B is the suspect network, B' what a strategy
makes of it, G is GoodNet, which says "backdoored" where B and B' disagree. ASR, attack success
rate: the share of the poisoned test images that get the attack's target. det. and alarm: poisoned
and clean test images that G flags.

Numbers are means over the seeds. A dash: not measured, or not there.

{{legend}}
- **Intervals**: 95 % Wilson intervals, from the lowest lower to the highest upper end over the
  seeds. They say what so many test images can tell of these networks, and nothing of another one.
- {ORACLE} an oracle: ranked with poisoned images, which no defender has; no defence.

### What may not be concluded

- A defender has no poisoned images, and so knows no ASR, no detection and no area. To pick the row
  with the lowest ASR is no defence: it takes what is to be found out.
{{limits}}
- Rows whose intervals overlap are not thereby equal, and of so many rows some are best by chance.
"""


def page(runs: Sequence[StrategyRun], cases: Sequence[Case]) -> str:
    """The whole page, in Markdown: whole strategies first, then orders and stops; one may lack."""
    sections, legends, limits = [], [], []
    if runs:
        sections.append(whole_strategies.section(runs))
        legends.append(whole_strategies.LEGEND)
        limits.append(whole_strategies.LIMITS)
    if cases:
        sections.append(orders_by_stops.section(cases))
        legends.append(orders_by_stops.LEGEND)
        limits.append(orders_by_stops.LIMITS)
    return PAGE.format(
        sections="\n\n".join(sections), legend="\n".join(legends), limits="\n".join(limits)
    )


def read(uri: str | None, experiment: str) -> tuple[list[StrategyRun], list[Case]]:
    """The strategy runs and cases of the experiment at MLflow's `uri`.

    Raises BadInput where there is none of it, or where it cannot be read.
    """
    runs, cases = strategy_runs.read(uri, experiment), sweeps.read(uri, experiment)
    if not runs and not cases:
        raise BadInput(
            f"MLflow's experiment {experiment!r} holds no finished cell of {strategy_runs.SWEEP} "
            f"and no finished sweep with {sweeps.SWEEP}; run: python run.py {strategy_runs.SWEEP} "
            f"case=faces, or: python run.py {sweeps.SWEEP} case=faces"
        )
    return runs, cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.results",
        description=f"Write a page of results in Markdown: all cells of {strategy_runs.SWEEP}, and "
        f"of each case the latest {sweeps.SWEEP}.",
    )
    parser.add_argument("page", type=Path, nargs="?", help="the file (default: print it)")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    parser.add_argument("--experiment", default="prunesweep", help="MLflow's name for them")
    options = parser.parse_args(arguments)
    try:
        text = page(*read(options.uri, options.experiment))
    except BadInput as error:
        terminal.print_error(str(error))
        return 2
    if options.page is None:
        print(text, end="")
    else:
        with files.atomic_write(options.page) as unfinished:
            unfinished.write_text(text)
    return 0
