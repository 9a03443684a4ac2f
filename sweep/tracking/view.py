"""A view of a sweep on MLflow's page: its cells side by side, sorted, and charts of their rates.

MLflow keeps a view that somebody shares as a tag of the experiment, whose value is the page's state
as JSON. None of that is documented: tests/end_to_end/test_mlflow_page.py looks at the page that the
pinned version draws.
"""

import json
import time
from collections.abc import Collection, Sequence
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

TAG = "mlflow.sharedViewState."  # of an experiment, and behind it the sweep's id
LONGEST = 16_000  # characters of its value; MLflow takes 20,000
NEWEST = 50  # views that are kept in an experiment
SWEEPS = "sweeps"  # tag of a cell: the ids of all sweeps that it belongs to
MOST_SWEEPS = 240  # ids in that tag; MLflow cuts it at 8,000 characters
MOST_PARAMS = 12
CHARTED_RUNS = 1000

ASR, CLEAN = "repaired/attack_success_rate", "repaired/clean_accuracy"
DETECTION, FALSE_ALARM = "goodnet/detection_rate", "goodnet/false_alarm_rate"
CHANNELS, FRACTION = "prune/channels", "prune/fraction"
CURVES = ("curve/attack_success_rate", "curve/clean_accuracy")
DETECTOR = tuple(f"detector/{rate}" for rate in ("auroc", "detection_rate", "false_alarm_rate"))
SEARCH = "search"  # tag of a parent whose cells are trials
LOST, SUCCESS = "search/accuracy_lost", "search/success"  # of a search's trials: its objectives
COLUMNS = (SUCCESS, LOST, ASR, CLEAN, DETECTION, FALSE_ALARM, CHANNELS, *DETECTOR)
TABLE, CHARTS = "TABLE", "CHART"

Chart = dict[str, Any]


#: What of the page's state is the same in every view.
PAGE: dict[str, Any] = {
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "runsHiddenMode": "SHOW_ALL",
    "viewMaximized": False,
    "groupBy": None,
    "hideEmptyCharts": True,
    "useGroupedValuesInCharts": True,
    "isAccordionReordered": True,
    "globalLineChartConfig": {
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
    },
}


def page_state(
    sweep: str, params: Sequence[str], metrics: Collection[str], *, oracles: bool = False
) -> dict[str, Any]:
    """The state of the page of runs that shows the cells of `sweep`, a parent run's id.

    params: what was swept, by its names in MLflow; metrics: all that the cells have logged;
    oracles: whether there are some among them, which a column then tells from defenders. Cells are
    sorted by what a search goes by, else by attack success, or by clean accuracy where no image was
    poisoned.
    """
    (first, *_) = [name for name in (SUCCESS, ASR) if name in metrics] or [CLEAN]
    columns = [_column("params", name) for name in params]
    columns += [_column("tags", "threat_model")] if oracles else []
    columns += [_column("metrics", name) for name in COLUMNS if name in metrics]
    sections = _sections(params, metrics)
    charted = {chart.get("metricKey") for charts in sections.values() for chart in charts}
    others = {name.rpartition("/")[0] for name in metrics if name not in charted} - {""}
    return {
        **PAGE,
        "searchFilter": f"tags.{SWEEPS} LIKE '%{sweep}%'",
        "orderByKey": _column("metrics", first),
        "orderByAsc": first != CLEAN,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {column: _width(column) for column in columns},
        "compareRunCharts": [
            {
                "uuid": f"{title}-{number}",
                "metricSectionId": title,
                "runsCountToCompare": CHARTED_RUNS,
                **chart,
                **GIVEN,
            }
            for title, charts in sections.items()
            for number, chart in enumerate(charts)
        ],
        "compareRunSections": [
            *(_section(title, len(charts)) for title, charts in sections.items()),
            *(_section(prefix) for prefix in sorted(others)),
        ],
    }


def shortened_state(
    sweep: str, params: Sequence[str], metrics: Collection[str], *, oracles: bool = False
) -> str:
    """The page's state as JSON of at most `LONGEST` characters.

    Where it would be longer, sections of MLflow's own charts go first, which then stand open, and
    after them swept keys from the last.
    """
    few = [name for name in metrics if name in {*COLUMNS, *CURVES, FRACTION}]
    shown = list(params)[:MOST_PARAMS]
    attempts = [(shown, metrics)]
    attempts += [(shown[:count], few) for count in range(len(shown), -1, -1)]
    values = (json.dumps(page_state(sweep, *attempt, oracles=oracles)) for attempt in attempts)
    return next(value for value in values if len(value) <= LONGEST)


def save(parent: Run, runs: Sequence[Run], params: Sequence[str]) -> str:
    """Save the view of a sweep in its experiment, and return the path at which a server shows it.

    runs: its cells, also those that earlier sweeps have finished; params: what was swept. Of older
    views the newest are kept; `python -m sweep.view` makes others anew.
    """
    client, sweep = MlflowClient(), parent.info.run_id
    experiment = parent.info.experiment_id
    for run in runs:
        _add_sweep(client, run, sweep)
    logged = {name for run in runs for name in run.data.params}
    metrics = {name for run in runs for name in run.data.metrics}
    if SEARCH not in parent.data.tags:  # of a grid, some of whose cells were trials before
        metrics -= {LOST, SUCCESS}
    oracles = any(run.data.tags.get("threat_model") == "oracle" for run in runs)
    shown = [name for name in params if name in logged]
    value = shortened_state(sweep, shown, metrics, oracles=oracles)
    saved = f'{{"prunesweep": {time.time():.0f}, {value[1:]}'
    client.set_experiment_tag(experiment, TAG + sweep, saved)
    for tag in _oldest(client.get_experiment(experiment).tags):
        client.delete_experiment_tag(experiment, tag)
    return path(experiment, sweep)


def _add_sweep(client: MlflowClient, run: Run, sweep: str) -> None:
    """Add a sweep to those of a cell, as it is now: other sweeps may have reused it meanwhile."""
    if sweep not in run.data.tags.get(SWEEPS, ""):
        tag = client.get_run(run.info.run_id).data.tags.get(SWEEPS, "")
        sweeps = [*filter(None, tag.split(",")), sweep]
        client.set_tag(run.info.run_id, SWEEPS, ",".join(sweeps[-MOST_SWEEPS:]))


def path(experiment: str, sweep: str, mode: str = TABLE) -> str:
    """The path of a server's page that shows the saved view of a sweep, as a table or charts."""
    shown = "" if mode == TABLE else f"&compareRunsMode={mode}"
    page = f"/#/experiments/{experiment}/runs?workflowType=machine_learning"
    return f"{page}&viewStateShareKey={sweep}{shown}"


def swept_params(runs: Sequence[Run]) -> list[str]:
    """The params that all `runs` have and that are not the same in all.

    A guess, for a sweep of which it is not known what was swept. Of params that follow each other
    the one with the shortest name is taken.
    """
    params = [run.data.params for run in runs]
    shared = set.intersection(*(set(of_run) for of_run in params)) if params else set()
    swept: dict[tuple[str, ...], str] = {}
    for name in sorted(shared, key=lambda name: (len(name), name)):
        values = tuple(of_run[name] for of_run in params)
        if len(set(values)) > 1 and not name.endswith(("_target_", ".folder")):
            swept.setdefault(values, name)
    return sorted(swept.values())


#: What MLflow expects of every chart and section that was not made by itself.
GIVEN = {"deleted": False, "isGenerated": False}


def _sections(params: Sequence[str], metrics: Collection[str]) -> dict[str, list[Chart]]:
    """The charts of each section, by its title, as far as their metrics are there.

    Titles begin with a number, by which MLflow sorts, where it does.
    """
    rates = [rate for rate in (CLEAN, ASR) if rate in metrics]
    told = [SUCCESS] if SUCCESS in metrics else rates  # lines are coloured by the last
    if ASR in metrics:
        title, x, y = "1 What is left of the attack", CLEAN, ASR
    else:
        title, x, y = "1 What is left of the task", FRACTION, CLEAN
    sections = {
        "0 The search": _scatter(LOST, SUCCESS, metrics),
        title: [*_scatter(x, y, metrics), *map(_bars, rates[-1:])],
        "2 The pruning curve": [_line(name) for name in CURVES if name in metrics],
        "3 What was swept": [_parallel(params, told)] if params and told else [],
        "4 GoodNet": _scatter(FALSE_ALARM, DETECTION, metrics),
    }
    return {title: charts for title, charts in sections.items() if charts}


def _scatter(x: str, y: str, metrics: Collection[str]) -> list[Chart]:
    """A chart of y over x; none where one of them is missing."""
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return [{"type": "SCATTER", **axes}] if x in metrics and y in metrics else []


def _bars(metric: str) -> Chart:
    return {"type": "BAR", "metricKey": metric}


def _line(metric: str) -> Chart:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "range": {},
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> Chart:
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
        "showAllRuns": True,
    }


def _section(title: str, charts: int = 0) -> dict[str, Any]:
    """A section that stands open with `charts` charts; with 0 folded, for what MLflow adds."""
    section = {"uuid": title, "name": title, "display": charts > 0, "isReordered": True, **GIVEN}
    return section | ({"columns": charts} if charts else {})


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _width(column: str) -> int:
    """Pixels in which a heading can be read, with the arrow that sorts by it."""
    return max(100, min(50 + 6 * len(column.partition("`")[2]), 300))


def _oldest(tags: dict[str, str]) -> list[str]:
    """The tags of an experiment that are views saved here, but for the newest."""
    saved = {}
    for tag, value in tags.items():
        if tag.startswith(TAG) and value.startswith('{"prunesweep": '):
            saved[tag] = json.loads(value)["prunesweep"]
    return sorted(saved, key=saved.__getitem__, reverse=True)[NEWEST:]
