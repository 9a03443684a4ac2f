"""A sweep in a notebook: tables of what its runs hold, figures of them, sentences where not."""

import json
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient

from sweep import BadInput
from sweep.results import load

ROOT = next(path for path in Path(__file__).resolve().parents if (path / "run.py").is_file())
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CURVE = """pruned,channel,layer,valid_accuracy,clean_accuracy,attack_success_rate
0,-1,conv_3,0.95,0.9,1.0
1,4,conv_3,0.94,0.8,0.5
2,1,conv_3,0.5,0.4,0.0
"""
HEAD = "images,file,number,label,true_label,badnet,repaired,score"
ROWS = [("valid", 1), ("test", 7), ("test", 3), ("test", 9), ("poisoned", 5)]
RATES = {
    "badnet/clean_accuracy": 0.9,
    "repaired/clean_accuracy": 0.8,
    "repaired/attack_success_rate": 0.5,
    "goodnet/detection_rate": 0.25,
    "prune/channels": 1.0,
}
IMAGES = {"images_valid": "100", "images_test": "50", "images_attacked": "20"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """A database with a sweep of two cells, one of which failed."""
    root = tmp_path_factory.mktemp("notebook")
    address = f"sqlite:///{root / 'mlflow.db'}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    client = MlflowClient()
    experiment = client.create_experiment("prunesweep", (root / "artifacts").as_uri())
    overrides = "prune.frac=0.02,0.04"
    parent = client.create_run(experiment, tags={"cells": "2", "overrides": overrides})
    ids = []
    for job, frac in enumerate(("0.02", "0.04")):
        tags = {"mlflow.parentRunId": parent.info.run_id, "job": str(job), **IMAGES}
        tags |= {"threat_model": "defender", "layer": "conv_3"}
        run = client.create_run(experiment, tags=tags)
        ids.append(run.info.run_id)
        for name, value in {"prune.frac": frac, "prune.order": "clp"}.items():
            client.log_param(run.info.run_id, name, value)
        if job == 0:
            for name, value in RATES.items():
                client.log_metric(run.info.run_id, name, value)
            client.log_text(run.info.run_id, CURVE, "curve.csv")
            with h5py.File(root / "test.h5", "w") as file:  # image k is of brightness k / 10
                file["data"] = np.arange(10)[:, None, None, None] * np.full((1, 8, 9, 3), 0.1)
            flagged = [f"{kind},{root / 'test.h5'},{row},0,,1,2,0.9" for kind, row in ROWS]
            client.log_text(run.info.run_id, "\n".join([HEAD, *flagged]), "flagged.csv")
        else:
            client.set_tag(run.info.run_id, "error", "it broke")
        client.set_terminated(run.info.run_id, ("FINISHED", "FAILED")[job])
    rows = [f"0,{ids[0]},FINISHED,false,defender,0.02,", f"1,{ids[1]},FAILED,false,,0.04,it broke"]
    head = "job,run_id,status,reused,threat_model,prune.frac,error"
    client.log_text(parent.info.run_id, "\n".join([head, *rows]) + "\n", "comparison.csv")
    client.set_terminated(parent.info.run_id)
    mlflow.set_tracking_uri(before)
    return address


@pytest.fixture
def results(uri):
    before = mlflow.get_tracking_uri()
    yield load(uri=uri)
    mlflow.set_tracking_uri(before)


def test_the_latest_sweep_is_a_table_with_a_row_a_cell(results):
    cells = results.cells
    assert len(results) == len(cells) == 2
    assert cells["prune.frac"].tolist() == [0.02, 0.04]
    assert cells["status"].tolist() == ["FINISHED", "FAILED"]
    assert cells["order"].tolist() == ["clp", "clp"]
    assert cells["layer"].tolist() == ["conv_3", "conv_3"]
    for name, rate in RATES.items():
        assert cells[name][0] == rate
        assert np.isnan(cells[name][1])
    low, high = cells["repaired/clean_accuracy_low"][0], cells["repaired/clean_accuracy_high"][0]
    assert (low, high) == pytest.approx((0.6696, 0.8876), abs=1e-4)  # 40 of 50
    assert "prune/channels_low" not in cells


def test_a_curve_is_a_table_by_channels_pruned(results):
    curve = results.curve(0)
    assert curve.index.tolist() == [0, 1, 2]
    assert curve["attack_success_rate"].tolist() == [1.0, 0.5, 0.0]
    assert curve["channel"].tolist() == [-1, 4, 1]


def test_figures_are_matplotlibs(results):
    figure = results.draw_curve(0)
    assert isinstance(figure, Figure)
    lines = [line.get_ydata() for line in figure.axes[0].get_lines()]
    assert any(np.array_equal(line, [1.0, 0.5, 0.0]) for line in lines)
    assert isinstance(results.draw_comparison(), Figure)


def test_flagged_images_are_drawn_as_they_stand_in_their_files(results):
    assert results.flagged(0)["number"].tolist() == [1, 7, 3, 9, 5]
    figure = results.draw_flagged(0, count=2)
    shown = [image.get_array() for ax in figure.axes for image in ax.get_images()]
    brightness = np.array([5, 7, 3]) / 7  # of the brightest that is shown
    np.testing.assert_allclose([picture.mean() for picture in shown], brightness, atol=1e-3)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["B 1, B' 2"] * 3
    assert [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()] == [
        *("poisoned", "clean, in error")
    ]


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda results: results.curve(1), r"cell 1 has no curve\.csv: it broke"),
        (lambda results: results.draw_flagged(1), r"cell 1 has no flagged\.csv: it broke"),
        (lambda results: results.curve(2), "there is no cell 2; expected 0 to 1"),
        (lambda results: results.draw_curve(-1), "there is no cell -1"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(results, ask, sentence):
    with pytest.raises(BadInput, match=sentence):
        ask(results)


def test_what_nobody_logged_is_told_in_a_sentence(results, uri, tmp_path):
    with pytest.raises(BadInput, match="'nowhere' is no experiment and no run"):
        load("nowhere", uri=uri)
    with pytest.raises(BadInput, match="is not there"):
        load(uri=f"sqlite:///{tmp_path / 'none.db'}")


def test_the_notebook_of_the_docs_runs_as_it_stands(results):
    """Its cells, one after the other, on this sweep."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 3
    assert all(cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    names = {"load": lambda *targets: results}
    for source in code:
        source = source.replace("from sweep.results import load", "")
        exec(source.replace("%matplotlib inline", ""), names)
