"""The page: the proxy beside true attack success, searches in measured grids, searches that ran."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mlflow.entities import Run

from sweep import BadInput
from sweep.results.cells import Cell, cell_of
from sweep.results.figures.run import BLUE, GREY, percent_axis
from sweep.results.pages import markdown
from sweep.results.pages.markdown import DASH, commands, commit, date, spread, table, wrap
from sweep.results.pages.search import ranks, replays
from sweep.results.pages.search.reading import Network, Read, Sweep
from sweep.results.pages.search.replays import SAMPLERS, Replay
from sweep.results.pick import ASR, BOTH, CORRUPTION, EXCESS, RESIDUAL
from sweep.results.searches import pick_of
from sweep.search import require_optuna
from sweep.terminal import percent

FIGURE = "search.png"
TITLE = "Searches"
INTRODUCTION = (
    "Whether what a defender may see ranks defences as true attack success does, whether a search "
    "finds sooner what a grid would, and what searches came to. What they are is told in "
    "[search.md](../search.md)."
)
NAMES = ("proxy", "reversed", "excess", "corruptions")
GOOD = 0.7  # of a correlation, from which the proxy is called worth something on a network
LEGEND = """\
- **Proxy**: of B', the mean of two shares of clean validation images, both found anew. *Reversed*:
  those of other classes that the best reversed trigger turns into its class. *Excess*: those that
  the best corruption of a family turns into a class, above what becomes the median class, in the
  mean over families. Beside them the *corruptions* alone: the largest share that one turns.
- **Correlation**: Spearman's, over the cells of one network; 1: what does less by the proxy does
  less in truth. In brackets: 95 % intervals, by a bootstrap of the cells. Cells that lose more than
  10 points are left out: a wrecked B' heeds no trigger either.
- **Share of the grid's**: of what the grid's front dominates (at most 10 points lost, any success),
  how much the front of the trials so far does; by the proxy, which the search is told, and by true
  attack success on test images, which it is not."""
LIMITS = """\
- Cells of one network are not independent draws: orders and repairs repeat in them."""


#: By the proxy's names its correlation with true attack success, and the interval.
Correlations = Mapping[str, tuple[float, tuple[float, float] | None]]


def page(read: Read) -> str:
    """The text of the page; its figure is `figure`."""
    known = {network.name: _correlations(network) for network in read.networks}
    paragraphs = [_on_top(known), "## Is the proxy worth anything?", _ranks(read.networks, known)]
    replayed = _replayed(read.grids)
    if replayed:
        paragraphs += ["## A search beside a grid", *_grids(replayed)]
    if read.searches:
        paragraphs += ["## Searches that ran", _searches(read.searches)]
    paragraphs += ["## Where it comes from", _origin(read.networks), commands(read.parents)]
    return markdown.page(TITLE, INTRODUCTION, paragraphs, LEGEND, LIMITS)


def figure(read: Read) -> Figure | None:
    """What searches find in each grid, trial by trial; None where there is no grid."""
    replayed = _replayed(read.grids)
    if not replayed:
        return None
    drawn = Figure(figsize=(11, 3.6 * len(replayed)), layout="constrained")
    rows = drawn.subplots(len(replayed), 2, squeeze=False)
    for axes, (grid, found) in zip(rows, replayed, strict=True):
        for ax, curves, by in (
            (axes[0], found.by_proxy, "by the proxy"),
            (axes[1], found.by_attack, "by true attack success"),
        ):
            for (sampler, name), colour in zip(SAMPLERS.items(), (BLUE, GREY), strict=True):
                trials = range(1, curves[sampler].shape[1] + 1)
                ax.plot(trials, curves[sampler].mean(0), color=colour, label=name)
                low, high = curves[sampler].min(0), curves[sampler].max(0)
                ax.fill_between(trials, low, high, color=colour, alpha=0.2, linewidth=0)
            ax.axvline(found.cells / 4, color="black", linestyle=":", label="a quarter of the grid")
            ax.set_title(f"{grid.name}, {by}", fontsize="medium")
            ax.set(xlabel="trials", xlim=(1, found.cells))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            percent_axis(ax, "y", "share of the grid's")
            ax.grid(alpha=0.3)
    rows[0][0].legend()
    return drawn


def _correlations(network: Network) -> Correlations:
    """By the proxy's names its correlation with true attack success, and the interval."""
    metrics = [cell.data.metrics for cell in network.cells]
    true = [of_cell[ASR] for of_cell in metrics]
    proxies = {
        "proxy": [BOTH.of(of_cell) or 0.0 for of_cell in metrics],
        "reversed": [of_cell[RESIDUAL] for of_cell in metrics],
        "excess": [of_cell[EXCESS] for of_cell in metrics],
        "corruptions": [of_cell[CORRUPTION] for of_cell in metrics],
    }
    found = {}
    for name, values in proxies.items():
        rank = ranks.spearman(values, true) if len(true) >= ranks.LEAST else None
        if rank is not None:
            found[name] = (rank, ranks.interval(values, true))
    return found


def _on_top(correlations: Mapping[str, Correlations]) -> str:
    """Whether the proxy is worth anything, in a sentence."""
    known = {name: found for name, found in correlations.items() if "proxy" in found}
    if not known:
        return wrap(
            "Whether the proxy is worth anything is not known: no network has five rechecked cells "
            "whose attack success differs."
        )
    values = [found["proxy"][0] for found in known.values()]
    good = sum(value >= GOOD for value in values)
    low = [name for name, found in known.items() if found["proxy"][0] < GOOD]
    sentence = (
        f"On {good} of {len(values)} networks the proxy ranks defences as true attack success "
        f"does, by a correlation of {GOOD} or more; the mean is {fmean(values):.2f}."
    )
    return wrap(f"{sentence} It is low on: {', '.join(low)}." if low else sentence)


def _ranks(networks: Sequence[Network], correlations: Mapping[str, Correlations]) -> str:
    rows = []
    for network in networks:
        found = correlations[network.name]
        asr = [cell.data.metrics[ASR] for cell in network.cells]
        words = [_correlation(*found[name]) if name in found else DASH for name in NAMES]
        rows.append([network.name, str(len(network.cells)), spread(asr), *words])
    heads = ["network", "cells", "true ASR", *NAMES]
    return table(heads, rows)


def _correlation(rank: float, ends: tuple[float, float] | None) -> str:
    return f"{rank:.2f}" if ends is None else f"{rank:.2f} ({ends[0]:.2f} to {ends[1]:.2f})"


def _replayed(grids: Sequence[Sweep]) -> list[tuple[Sweep, Replay]]:
    """The replays in these grids; none where the extra `search` is not installed."""
    try:
        require_optuna()
    except BadInput:
        return []
    found = [(grid, replays.replay(grid)) for grid in grids]
    return [(grid, one) for grid, one in found if one is not None]


def _grids(replayed: Sequence[tuple[Sweep, Replay]]) -> list[str]:
    rows = []
    for grid, found in replayed:
        for sampler, name in SAMPLERS.items():
            row = [grid.name, str(found.cells), name]
            for curves in (found.by_proxy, found.by_attack):
                counts = replays.needed(curves[sampler])
                quarter = curves[sampler][:, max(0, found.cells // 4 - 1)]
                row += [
                    f"{fmean(counts):.1f} ({min(counts)}-{max(counts)})",
                    spread(quarter.tolist()),
                ]
            rows.append(row)
    heads = ["grid", "cells", "sampler", "trials, proxy", "at a quarter", "trials, ASR"]
    heads += ["at a quarter"]
    text = (
        f"Each grid was run once; {replays.SEEDS} searches and as many random ones were replayed "
        f"on its cells. Trials until {100 * replays.ENOUGH:g} % of what the whole grid's front "
        f"dominates is reached, and the share that is reached with a quarter of its cells; in "
        f"brackets lowest and highest of the seeds. Readings of one curve count as one cell."
    )
    return [wrap(text), table(heads, rows, "lrl"), f"![Share of the grid's by trials]({FIGURE})"]


def _searches(searches: Sequence[Sweep]) -> str:
    rows = []
    for search in searches:
        cells = {run.info.run_id: cell_of(at, {}, run) for at, run in enumerate(search.cells)}
        chosen = pick_of(search.parent, list(cells.values())).cell
        answer = next(
            (cells[run.info.run_id] for run in search.cells if _strategy(run) == "answer"), None
        )
        for name, cell in (("its pick", chosen), ("answer", answer)):
            rates = DASH if cell is None else percent(BOTH.of(cell.metrics))
            row = [search.name, str(len(cells)), name, rates]
            rows.append([*row, *(_rate(cell, rate) for rate in (ASR, "repaired/clean_accuracy"))])
    heads = ["network", "trials", "", "proxy", "true ASR", "B' clean"]
    return table(heads, rows, "lrl")


def _strategy(run: Run) -> str:
    return str(run.data.params.get("strategy", "none"))


def _rate(cell: Cell | None, rate: str) -> str:
    return DASH if cell is None else percent(cell.metrics.get(rate))


def _origin(networks: Sequence[Network]) -> str:
    newest = max((cell for network in networks for cell in network.cells), key=_began)
    return wrap(f"The newest cell is of {date(newest)}, at commit {commit(newest)}.")


def _began(run: Run) -> int:
    return int(run.info.start_time)
