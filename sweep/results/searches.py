"""What a search came to: its trials, their front, what its settings matter, its history, its pick.

A search is a sweep whose parent has the tag `search`, and beside what every sweep logs there is
`search.json`, which the report reads.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from sweep import terminal
from sweep.evaluation.tradeoffs import dominated_share, front
from sweep.results import comparison
from sweep.results.cells import ORACLE, Cell
from sweep.results.pick import ASR, BOTH, Pick, drop, pick
from sweep.search import Found, Space, importances
from sweep.search.space import word
from sweep.tracking import Log, view
from sweep.tracking.view import LOST, SUCCESS

TAG, MOST_LOST_TAG = view.SEARCH, "search.most_lost"  # of a parent: sampler, and constraint
SEARCH = "search.json"
ORACLE_OBJECTIVE = "oracle"
ORACLE_SUCCESS = "search/true_success"  # what a trial of an oracle search is told
LEAST, DOMINATED = "search/least_success", "search/dominated_share"
MOST_LOST = 0.1  # of accuracy, up to which the front is measured
NO_PICK = "No pick: the search looked at true attack success, which no defender knows."
LEGEND = (
    "In %. points lost: of clean validation accuracy; B' clean and ASR: on test images, seen by "
    "nobody who chose."
)
PROXY = (
    "proxy: clean validation images that the best reversed trigger turns into its class, and that "
    "corruptions turn into one class above others, both found anew on B', the mean of both."
)


@dataclass(frozen=True)
class Outcome:
    """What trials came to: the cell of each in turn, its values of the space, its command."""

    cells: Sequence[Cell]
    values: Sequence[Mapping[str, str | float]]
    commands: Sequence[str]
    objective: str
    most_lost: float

    @property
    def oracle(self) -> bool:
        """Whether the search looked at true attack success."""
        return self.objective == ORACLE_OBJECTIVE

    @property
    def found(self) -> dict[int, Found]:
        """What each trial that has finished came to, by its number."""
        each = {cell.job: found(cell, self.objective) for cell in self.cells}
        return {job: one for job, one in each.items() if one is not None}

    @property
    def front(self) -> list[int]:
        """The numbers of the trials on the Pareto front, least accuracy lost first."""
        known = self.found
        jobs = list(known)
        places = front(
            [one.lost for one in known.values()], [one.success for one in known.values()]
        )
        return [jobs[place] for place in places]

    @property
    def pick(self) -> Pick:
        """The trial that a defender would take."""
        return Pick(None, NO_PICK) if self.oracle else pick(self.cells, BOTH, self.most_lost)

    def label(self, job: int) -> str:
        """What a trial is: the strategy that was given, or its values, but for those all have."""
        strategy = self.cells[job].overrides.get("strategy")
        if strategy:
            return f"strategy={strategy}"
        words = [
            f"{name}={word(value)}"
            for name, value in self.values[job].items()
            if len({values.get(name) for values in self.values}) > 1
        ]
        return " ".join(words)

    @property
    def importances(self) -> dict[str, float]:
        """How much of the variance of what attacks still do each setting explains, most first."""
        known = self.found
        of_trials = [self.values[job] for job in known]
        return importances(of_trials, [one.success for one in known.values()])

    @property
    def history(self) -> list[float | None]:
        """The least success at which no more than `most_lost` was lost, after each trial."""
        known, least, history = self.found, None, []
        for cell in self.cells:
            one = known.get(cell.job)
            if one is not None and one.lost <= self.most_lost + 1e-9:
                least = one.success if least is None else min(least, one.success)
            history.append(least)
        return history


def found(cell: Cell, objective: str) -> Found | None:
    """What a cell came to by the objective of its search; None where it has not finished."""
    by_attack = cell.metrics.get(ASR)
    success = by_attack if objective == ORACLE_OBJECTIVE else BOTH.of(cell.metrics)
    return Found(drop(cell), success) if cell.finished and success is not None else None


def pick_of(sweep: Run | None, cells: Sequence[Cell]) -> Pick:
    """The pick of these cells of a sweep (its parent run): in a search by the search's own rule."""
    tags = {} if sweep is None else sweep.data.tags
    if TAG not in tags:
        return pick(cells)
    if tags.get("threat_model") == ORACLE_OBJECTIVE:
        return Pick(None, NO_PICK)
    return pick(cells, BOTH, float(tags[MOST_LOST_TAG]))


def without_search(overrides: Sequence[str]) -> list[str]:
    """The words of a cell's command line, of those of a search.

    >>> without_search(["experiment=search", "search.trials=9", "~search.space.layer", "seed=1"])
    ['seed=1']
    """
    return [
        word
        for word in overrides
        if word != "experiment=search" and not word.lstrip("+~").startswith(("search.", "search="))
    ]


def log_progress(parent: Run, results: Outcome) -> None:
    """Log what was found: on each trial where that is not known yet, and on the parent up to now.

    The parent's step is the number of trials.
    """
    client = MlflowClient()
    for job, one in results.found.items():
        cell = results.cells[job]
        told = ORACLE_SUCCESS if results.oracle else SUCCESS
        if told not in cell.metrics:
            metrics = [Metric(LOST, one.lost, 0, 0), Metric(told, one.success, 0, 0)]
            client.log_batch(cell.run_id, metrics=metrics)
    known = list(results.found.values())
    step, least = len(results.cells), results.history[-1] if results.cells else None
    values = {LEAST: least}
    if known:
        lost, success = [one.lost for one in known], [one.success for one in known]
        values[DOMINATED] = dominated_share(lost, success, MOST_LOST)
    client.log_batch(
        parent.info.run_id,
        metrics=[Metric(name, v, 0, step) for name, v in values.items() if v is not None],
    )


def log_outcome(log: Log, results: Outcome) -> None:
    """Log what a search came to on its parent."""
    from sweep.results.figures.search import draw_search

    log.text("trials.csv", to_csv(results))
    log.text(SEARCH, json.dumps(to_dict(results)))
    if results.found:
        log.figure("figures/search.png", draw_search(results))


def to_csv(results: Outcome) -> str:
    """A line for each trial: what it was, what it came to, whether it is on the front."""
    names = list(dict.fromkeys(name for values in results.values for name in values))
    known, on_front = results.found, results.front
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["trial", "status", "run_id", "accuracy_lost", "success", "front", "pick", "command"]
    writer.writerow([*head, *names])
    chosen = results.pick.cell
    for cell in results.cells:
        one = known.get(cell.job)
        writer.writerow(
            [
                cell.job,
                cell.status,
                cell.run_id,
                "" if one is None else one.lost,
                "" if one is None else one.success,
                int(cell.job in on_front),
                int(chosen is not None and chosen.job == cell.job),
                results.commands[cell.job],
                *(results.values[cell.job].get(name, "") for name in names),
            ]
        )
    return text.getvalue()


def to_dict(results: Outcome) -> dict[str, Any]:
    """All that the report shows of a search."""
    known, chosen = results.found, results.pick.cell
    return {
        "oracle": results.oracle,
        "most_lost": results.most_lost,
        "trials": [
            {"job": job, "lost": one.lost, "success": one.success} for job, one in known.items()
        ],
        "front": results.front,
        "pick": None if chosen is None else chosen.job,
        "history": results.history,
        "importances": results.importances,
    }


def print_space(space: Space, fixed: Sequence[str], first: Sequence[Sequence[str]]) -> None:
    """Print what is searched, what the command line has fixed, and what comes first."""
    rows = []
    for setting in space.settings:
        values = ", ".join(setting.choices) or f"{setting.low:g} to {setting.high:g}"
        when = [f"{name} {' or '.join(map(str, of))}" for name, of in (setting.when or {}).items()]
        when += ["repaired"] if setting.of_stop else []
        rows.append([setting.key, values, ", ".join(when)])
    terminal.print_table(["setting", "values", "only where"], rows, 3)
    if fixed:
        terminal.print_line(f"given, and not searched: {' '.join(fixed)}")
    for words in first:
        terminal.print_line(f"first: {' '.join(words)}")


def print_outcome(results: Outcome, tried: Mapping[str, int]) -> None:
    """Print what a search came to: its front and the strategies that came first, its pick.

    `tried`: how often what else was suggested.
    """
    known, chosen = results.found, results.pick
    picked = -1 if chosen.cell is None else chosen.cell.job
    success = f"true\nASR{ORACLE}" if results.oracle else "\nproxy"
    heads = ["trial", "", "points\nlost", success, "B'\nclean", "B'\nASR"]
    given = [cell.job for cell in results.cells if not _is_suggested(cell) and cell.job in known]
    rows = [["B", "", "", "", *_rates(results.cells[job], "badnet")] for job in results.front[:1]]
    for job in [*results.front, *(job for job in given if job not in results.front)]:
        mark = "pick" if job == picked else "front" if job in results.front else "given"
        told = [f"{100 * known[job].lost:.2f}", terminal.percent(known[job].success)]
        words = f"{mark}: {results.label(job)}"
        rows.append([str(job), words, *told, *_rates(results.cells[job], "repaired")])
    if rows:
        terminal.print_table(heads, rows, 2)
        terminal.print_line(LEGEND if results.oracle else f"{LEGEND} {PROXY}")
    comparison.print_errors(results.cells)
    counts = f"{len(results.cells)} trials, {len(known)} of them finished"
    more = [f"{count} {what}" for what, count in tried.items() if count]
    terminal.print_line(f"{'; '.join([counts, *more])}; trials.csv has each.")
    shares = [f"{name} {100 * share:.0f} %" for name, share in results.importances.items() if share]
    if shares:
        terminal.print_line(
            f"Of the variance between trials settings explain: {', '.join(shares)}."
        )
    terminal.print_line(chosen.sentence)
    if chosen.cell is not None:
        terminal.print_line("To run it again:")
        terminal.print_line(results.commands[picked], wrap=False)


def _is_suggested(cell: Cell) -> bool:
    return "strategy" not in cell.overrides


def _rates(cell: Cell, network: str) -> list[str]:
    names = (f"{network}/clean_accuracy", f"{network}/attack_success_rate")
    return [terminal.percent(cell.metrics.get(name)) for name in names]
