"""The view of a sweep in MLflow: what its page shows, and how it is kept in an experiment."""

import json

import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient
from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from sweep.tracking import store, view

SWEEP = "0123456789abcdef0123456789abcdef"
PARAMS = ["prune.order", "prune.frac"]
CLEAN = ["badnet/clean_accuracy", "curve/clean_accuracy", "goodnet/false_alarm_rate"]
CLEAN += ["prune/channels", "prune/fraction", "repaired/clean_accuracy", "time/total"]
ATTACKED = [*CLEAN, "curve/attack_success_rate", "goodnet/detection_rate"]
ATTACKED += ["repaired/attack_success_rate"]


def charts(state: dict) -> dict[str, list[dict]]:
    """The charts of a page by the title of their section."""
    titles = {section["uuid"]: section["name"] for section in state["compareRunSections"]}
    found = {}
    for chart in state["compareRunCharts"]:
        found.setdefault(titles[chart["metricSectionId"]], []).append(chart)
    return found


def test_cells_are_sorted_by_attack_success_and_the_swept_keys_stand_first():
    state = view.page_state(SWEEP, PARAMS, ATTACKED)
    assert state["searchFilter"] == f"tags.sweeps LIKE '%{SWEEP}%'"
    assert (state["orderByKey"], state["orderByAsc"]) == (
        "metrics.`repaired/attack_success_rate`",
        True,
    )
    assert state["selectedColumns"] == state["columnOrder"] == list(state["columnWidths"])
    assert state["selectedColumns"] == [
        "params.`prune.order`",
        "params.`prune.frac`",
        "metrics.`repaired/attack_success_rate`",
        "metrics.`repaired/clean_accuracy`",
        "metrics.`goodnet/detection_rate`",
        "metrics.`goodnet/false_alarm_rate`",
        "metrics.`prune/channels`",
    ]


def test_the_charts_answer_what_a_sweep_asks():
    state = view.page_state(SWEEP, PARAMS, ATTACKED)
    found = charts(state)
    assert [[chart["type"] for chart in group] for group in found.values()] == [
        ["SCATTER", "BAR"],
        ["LINE", "LINE"],
        ["PARALLEL"],
        ["SCATTER"],
    ]
    (parallel,) = found["3 What was swept"]
    assert parallel["selectedParams"] == PARAMS
    ids = [chart["uuid"] for chart in state["compareRunCharts"]]
    assert len(ids) == len(set(ids))


def test_trials_of_a_search_are_sorted_by_what_it_goes_by_and_drawn_first():
    told = ["search/accuracy_lost", "search/success"]
    state = view.page_state(SWEEP, PARAMS, [*ATTACKED, *told])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`search/success`", True)
    assert "metrics.`search/success`" in state["selectedColumns"]
    (first, *others), (parallel,) = charts(state)["0 The search"], charts(state)["3 What was swept"]
    assert (first["xaxis"]["key"], first["yaxis"]["key"], others) == (*told, [])
    assert parallel["selectedMetrics"] == ["search/success"]
    titles = [section["name"] for section in state["compareRunSections"] if section["display"]]
    assert titles == sorted(titles)


def test_what_mlflow_adds_by_itself_is_folded_and_stands_behind():
    sections = view.page_state(SWEEP, PARAMS, ATTACKED)["compareRunSections"]
    shown = [section["name"] for section in sections if section["display"]]
    assert shown == sorted(shown) == [section["name"] for section in sections[: len(shown)]]
    added = {section["name"] for section in sections if not section["display"]}
    assert added == {"badnet", "goodnet", "prune", "repaired", "time"}


def test_without_poisoned_images_cells_are_sorted_by_clean_accuracy_and_no_chart_asks_for_more():
    state = view.page_state(SWEEP, PARAMS, CLEAN)
    assert (state["orderByKey"], state["orderByAsc"]) == (
        "metrics.`repaired/clean_accuracy`",
        False,
    )
    assert list(charts(state)) == [
        "1 What is left of the task",
        "2 The pruning curve",
        "3 What was swept",
    ]
    assert "attack_success" not in json.dumps(state)
    assert "detection" not in json.dumps(state)


def test_of_cells_that_all_failed_there_is_a_table():
    state = view.page_state(SWEEP, PARAMS, ["time/data"])
    assert state["compareRunCharts"] == []
    assert state["selectedColumns"] == [
        "params.`prune.order`",
        "params.`prune.frac`",
    ]


def test_oracles_are_told_from_defenders_by_a_column_before_the_rates():
    state = view.page_state(SWEEP, PARAMS, ATTACKED, oracles=True)
    assert state["columnOrder"][1:4] == [
        "params.`prune.frac`",
        "tags.`threat_model`",
        "metrics.`repaired/attack_success_rate`",
    ]


@pytest.mark.parametrize("length", [10, 100, 250])
@pytest.mark.parametrize("count", [0, 3, 12, 100])
def test_the_state_fits_a_tag_however_much_was_swept(count, length):
    params = [f"{number:0{length}}" for number in range(count)]
    metrics = [*ATTACKED, *(f"{number:0{length}}/a" for number in range(count))]
    value = view.shortened_state(SWEEP, params, metrics)
    assert len(value) < MAX_EXPERIMENT_TAG_VAL_LENGTH - 1000
    state = json.loads(value)
    assert "metrics.`repaired/attack_success_rate`" in state["selectedColumns"]
    kept = [column for column in state["selectedColumns"] if column.startswith("params")]
    assert kept == [f"params.`{name}`" for name in params[: len(kept)]]  # the last go first
    assert len(kept) >= min(count, 6)


@pytest.fixture
def experiment(root, request) -> str:
    return store.connect(None, request.node.name[:100], root)


def make_run(experiment: str, metrics=(), params=(), **tags: str) -> Run:
    client = MlflowClient()
    run_id = client.create_run(experiment, tags=tags).info.run_id
    for name in metrics:
        client.log_metric(run_id, name, 0.5)
    for name, value in dict(params).items():
        client.log_param(run_id, name, value)
    return client.get_run(run_id)


def saved_views(experiment: str) -> dict[str, dict]:
    tags = MlflowClient().get_experiment(experiment).tags
    return {
        tag.removeprefix(view.TAG): json.loads(value)
        for tag, value in tags.items()
        if tag.startswith(view.TAG)
    }


def found_by(state: dict, experiment: str) -> list[str]:
    """The ids of the runs that MLflow finds where its page asks as `state` says."""
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    runs = MlflowClient().search_runs(
        [experiment], state["searchFilter"], ViewType.ACTIVE_ONLY, order_by=[order]
    )
    return [run.info.run_id for run in runs]


def test_a_view_finds_the_cells_of_its_sweep_and_those_that_it_reused(experiment):
    earlier, sweep = make_run(experiment), make_run(experiment)
    cells = [
        make_run(experiment, ATTACKED, {"prune.frac": "0.1"}, sweeps=earlier.info.run_id)
        for _ in range(2)
    ]
    own = make_run(experiment, ATTACKED, {"prune.frac": "0.2"})
    make_run(experiment, ATTACKED)  # of neither
    path = view.save(earlier, cells, ["prune.frac"])
    assert path == view.path(experiment, earlier.info.run_id)
    view.save(sweep, [own, cells[0]], ["prune.frac", "never_logged"])
    views = saved_views(experiment)
    assert set(found_by(views[earlier.info.run_id], experiment)) == {
        cell.info.run_id for cell in cells
    }
    assert set(found_by(views[sweep.info.run_id], experiment)) == {
        own.info.run_id,
        cells[0].info.run_id,
    }
    assert "never_logged" not in json.dumps(views)


def test_the_tag_of_a_cell_of_many_sweeps_is_not_cut_and_drops_the_oldest(experiment):
    many = ",".join(f"{number:032}" for number in range(view.MOST_SWEEPS))
    cell, sweep = make_run(experiment, sweeps=many), make_run(experiment)
    view.save(sweep, [cell], [])
    ids = MlflowClient().get_run(cell.info.run_id).data.tags["sweeps"]
    assert len(ids) <= MAX_TAG_VAL_LENGTH
    assert ids.split(",")[0] == f"{1:032}"
    assert ids.split(",")[-1] == sweep.info.run_id


def test_the_newest_views_are_kept_and_those_of_others_are_left_alone(experiment, monkeypatch):
    monkeypatch.setattr(view, "NEWEST", 2)
    theirs = view.TAG + "a" * 64
    MlflowClient().set_experiment_tag(experiment, theirs, '{"selectedColumns": []}')
    sweeps = []
    for second in range(4):
        monkeypatch.setattr(view.time, "time", lambda second=second: 1e9 + second)
        sweeps.append(make_run(experiment))
        view.save(sweeps[-1], [], [])
    kept = {sweep.info.run_id for sweep in sweeps[2:]}
    assert set(saved_views(experiment)) == {*kept, "a" * 64}


def test_what_was_swept_is_guessed_by_the_params_that_differ(experiment):
    settings = [
        {"prune.frac": "0.1", "prune.stop.frac": "0.1", "prune.order": "clp", "seed": "0"},
        {"prune.frac": "0.2", "prune.stop.frac": "0.2", "prune.order": "anp", "seed": "0"},
        {"prune.frac": "0.1", "prune.stop.frac": "0.1", "prune.order": "anp", "seed": "0"},
    ]
    settings[1]["prune.order.steps"] = "5"  # of this order alone
    for values in settings:
        values["prune.order._target_"] = f"sweep.orders.{values['prune.order']}"
    runs = [make_run(experiment, params=values) for values in settings]
    assert view.swept_params(runs) == ["prune.frac", "prune.order"]
    assert view.swept_params([]) == []
