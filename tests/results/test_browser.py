"""Links to a sweep in MLflow, and the command that opens them."""

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from sweep import BadInput, terminal
from sweep.results import browser
from sweep.results.cells import Cell
from sweep.tracking import store, view


@pytest.fixture
def experiment(root, request) -> str:
    return store.connect(None, request.node.name[:100], root)


def make_sweep(experiment: str, cells: int = 2) -> tuple[str, list[str]]:
    """A sweep as run.py leaves it, without a view: its id and those of its cells."""
    client = MlflowClient()
    tags = {"cells": str(cells), "mlflow.runName": "sweep prune.frac=0.1,0.2"}
    sweep = client.create_run(experiment, tags=tags).info.run_id
    ids = []
    for number in range(cells):
        tags = {"mlflow.parentRunId": sweep, "job": str(number)}
        ids.append(client.create_run(experiment, tags=tags).info.run_id)
        client.log_param(ids[-1], "prune.frac", str(0.1 * (1 + number)))
    return sweep, ids


@pytest.fixture
def server(experiment, monkeypatch) -> str:
    """The runs of the test, as if a server had them: nothing is started for a link."""
    uri = mlflow.get_tracking_uri()
    monkeypatch.setattr(browser.mlflow, "get_tracking_uri", lambda: "http://elsewhere:80/")
    return uri


def test_the_latest_sweep_is_linked_and_its_view_made_anew(experiment, server, capsys):
    make_sweep(experiment)
    sweep, cells = make_sweep(experiment)
    MlflowClient().create_run(experiment)  # a single run is no sweep
    browser.open_view(None, server, open_browser=False)
    link = f"http://elsewhere:80{view.path(experiment, sweep)}"
    assert capsys.readouterr().out.splitlines() == ["sweep prune.frac=0.1,0.2:", link]
    for cell in cells:
        assert MlflowClient().get_run(cell).data.tags["sweeps"] == sweep
    value = MlflowClient().get_experiment(experiment).tags[view.TAG + sweep]
    assert "params.`prune.frac`" in value


def test_a_cell_leads_to_its_sweep_and_a_browser_is_opened(experiment, server, capsys, monkeypatch):
    sweep, cells = make_sweep(experiment)
    opened = []
    monkeypatch.setattr(browser.webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    browser.open_view(cells[1], server, open_browser=True)
    assert opened == [capsys.readouterr().out.splitlines()[-1]]
    assert opened[0].endswith(sweep)


def test_a_saved_view_stays_as_it_is(experiment, server, capsys):
    sweep, _ = make_sweep(experiment)
    MlflowClient().set_experiment_tag(experiment, view.TAG + sweep, "{}")
    browser.open_view(sweep, server, open_browser=False)
    assert MlflowClient().get_experiment(experiment).tags[view.TAG + sweep] == "{}"


def test_runs_that_an_older_sweep_reused_are_shown_too(experiment, server):
    _, (reused, _) = make_sweep(experiment)
    sweep, _ = make_sweep(experiment)
    MlflowClient().set_tag(sweep, "reused.0", reused)
    browser.open_view(sweep, server, open_browser=False)
    assert MlflowClient().get_run(reused).data.tags["sweeps"] == sweep


@pytest.mark.parametrize("given", ["nosuch", "single", "empty"])
def test_what_is_no_sweep_is_refused_in_a_sentence(experiment, server, capsys, given):
    run_id = given
    if given == "single":
        run_id = MlflowClient().create_run(experiment).info.run_id
    if given == "empty":
        run_id, _ = make_sweep(experiment, cells=0)
    assert browser.main([run_id, "--uri", server, "--no-browser"]) == 2
    error = capsys.readouterr().err
    says = {"nosuch": "cannot be read", "single": "is a single run", "empty": "no cells yet"}
    assert says[given] in error
    assert run_id in error


def test_a_file_that_is_no_database_is_refused_in_a_sentence(tmp_path, capsys):
    uri = mlflow.get_tracking_uri()
    path = tmp_path / "mlflow.db"
    try:
        assert browser.main(["--uri", f"sqlite:///{path}"]) == 2
        path.write_text("nothing of the kind")
        assert browser.main(["--uri", f"sqlite:///{path}"]) == 2
    finally:
        mlflow.set_tracking_uri(uri)
    first, second = capsys.readouterr().err.split("prunesweep: ")[1:]
    assert "is not there" in first
    assert "cannot be read by MLflow" in second
    assert path.read_text() == "nothing of the kind"


def test_a_database_without_sweeps_is_told(database, tmp_path, capsys):
    uri = mlflow.get_tracking_uri()
    path = tmp_path / "mlflow.db"
    path.write_bytes(database.read_bytes())
    try:
        with pytest.raises(BadInput, match="there is no sweep at"):
            browser.open_view(None, f"sqlite:///{path}", open_browser=False)
    finally:
        mlflow.set_tracking_uri(uri)


def test_a_sweep_goes_on_where_no_view_can_be_saved_and_only_says_how_to_look(
    experiment, monkeypatch, capsys
):
    def broken(*args):
        raise mlflow.MlflowException("tags of another kind")

    sweep, _ = make_sweep(experiment)
    monkeypatch.setattr(view, "save", broken)
    path = browser.save_view(MlflowClient().get_run(sweep), [Cell(0, {"a": "1"})], [])
    browser.print_links(path)
    assert path == ""
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Compare the runs in a browser: mlflow ui")


def test_the_link_is_a_line_of_its_own_and_all_else_fits_80_columns(
    experiment, monkeypatch, capsys
):
    monkeypatch.setattr(terminal.console, "_width", 80)
    monkeypatch.setattr(browser.mlflow, "get_tracking_uri", store.default_uri)
    browser.print_links("/#/experiments/1/runs?viewStateShareKey=" + "0" * 100)
    first, says, link, command = capsys.readouterr().out.splitlines()
    assert first.startswith("Compare the runs in a browser: mlflow ui")
    assert link.startswith("http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=0")
    assert command == "Or in one step: python -m sweep.view"
    assert len(says) <= 80
