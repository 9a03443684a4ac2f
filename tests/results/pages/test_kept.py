"""The runs that pages show are kept beside them, and the next page is of these and of new ones."""

import os
from pathlib import Path

import mlflow
import pytest
import runs
from answers import SWEEP, cell, rates
from runs import parent, table

from sweep.results.pages import kept, main
from sweep.results.pages.answer.page import TITLE
from sweep.tracking import store

PRIVATE = {"host": "mine", "pid": "7", "pid_started": "1.5", "mlflow.user": "me"}
PATHS = {"data.root": "/home/me/signs", "badnet.path": "C:\\nets\\b.keras", "seed": "3"}


def told(run) -> tuple:
    info, data = run.info, run.data
    about = info.run_id, info.status, info.start_time, info.end_time
    return about, *(sorted(values.items()) for values in (data.metrics, data.params, data.tags))


@pytest.fixture
def machine(tmp_path):
    """A new store with these cells, as `--uri` and `--experiment` name it."""

    def machine(name: str, *cells) -> list[str]:
        uri = f"sqlite:///{tmp_path / name}.db"
        experiment = store.connect(uri, "there", tmp_path)
        client = mlflow.MlflowClient()
        sweep = runs.kept(client, experiment, parent(overrides=SWEEP))
        for made in cells:
            made.data.tags["mlflow.parentRunId"] = sweep
            runs.kept(client, experiment, made)
        return ["--uri", uri, "--experiment", "there"]

    return machine


def test_runs_come_back_as_they_were(tmp_path):
    numbers = {"a/b": 0.1 + 0.2, "none": float("nan"), "many": 1e300}
    first = runs.run("b", numbers, {"x": 'a,\n"b"', "y": "1"}, at=5, **{"mlflow.parentRunId": "p"})
    second = runs.run("a", {"other": 0.0}, {}, ended="FAILED", at=5, error="such, or so")
    kept.write(tmp_path, [first, second, first])
    back = kept.read(tmp_path)
    assert [repr(told(run)) for run in back] == [repr(told(run)) for run in (second, first)]


def test_nothing_of_a_machine_or_a_person_is_kept(tmp_path):
    overrides = "experiment=answer data.root=/home/me/signs tracking.uri=sqlite:////home/me/m.db"
    kept.write(tmp_path, [runs.run("a", {}, PATHS, overrides=overrides, **PRIVATE)])
    (back,) = kept.read(tmp_path)
    assert back.data.params == {"data.root": "signs", "badnet.path": "b.keras", "seed": "3"}
    assert back.data.tags == {"overrides": "experiment=answer data.root=DIR tracking.uri=DIR"}
    assert "me" not in (tmp_path / kept.FILE).read_text().split(",")
    assert "/home" not in (tmp_path / kept.FILE).read_text()


def test_a_run_that_the_store_has_is_taken_from_there(tmp_path):
    stored = [runs.run("a", {"x": 1.0}, {}), runs.run("b", {}, {})]
    found = kept.merged(stored, [runs.run("c", {}, {}), runs.run("a", {"x": 2.0}, {})])
    assert [run.info.run_id for run in found] == ["a", "b", "c"]
    assert found[0] is stored[0]


def test_a_page_is_of_this_machine_and_of_those_before(tmp_path, machine, capsys):
    folder = tmp_path / "pages"
    assert main([str(folder), *machine("first", cell(at=1), cell("lab", at=2))]) == 0
    better = cell(at=3, metrics=rates(left=0.0))
    there = machine("second", better, cell("clp", at=4))
    assert main([str(folder), *there]) == 0
    rows = table((folder / "answer.md").read_text(), TITLE, 1, names=2)
    assert sorted(rows) == ["all answer", "all clp", "all lab", "clean images strategy"]
    assert rows["all answer"][4] == "0.00"  # of equal cells the newest
    cells = [run for run in kept.read(folder) if "strategy" in run.data.params]
    assert [run.data.params["strategy"] for run in cells] == ["lab", "answer", "clp"]

    assert main([str(folder), "--alone", *there]) == 0
    rows = table((folder / "answer.md").read_text(), TITLE, 1, names=2)
    assert sorted(rows) == ["all answer", "all clp", "clean images strategy"]
    assert len(kept.read(folder)) == 3  # with the sweep


def test_without_a_store_the_pages_come_out_of_what_was_kept(
    tmp_path, machine, monkeypatch, capsys
):
    folder = tmp_path / "pages"
    assert main([str(folder), *machine("first", cell())]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([os.path.relpath(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(elsewhere.iterdir())
    assert main([os.path.relpath(folder), "--alone"]) == 2
    assert "is not there" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["run_id,status\na,FINISHED\n", "\x00", "a,b\n1,2\n"])
def test_a_table_that_is_none_of_runs_is_told_and_left_as_it_is(text, tmp_path, machine, capsys):
    path = tmp_path / "pages" / kept.FILE
    path.parent.mkdir()
    path.write_text(text)
    assert main([str(path.parent), *machine("first", cell())]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{kept.FILE} is no table of runs" in error
    assert path.read_text() == text


def test_the_runs_kept_here_tell_no_place():
    found = kept.read(Path(__file__).resolve().parents[3] / "docs" / "results")
    assert any("job" in run.data.tags for run in found)
    for run in found:
        assert not any("/" in value for value in run.data.params.values())
