"""Which runs a report is about, and the commands that make them again."""

import fake_sweep
import pytest
from report_entries import entry
from runs import parent, run

from sweep import BadInput
from sweep.report.data import report
from sweep.results.cells import MISSING
from sweep.results.sources import _settings_of, find, shell, sweep_command


def test_a_sweep_has_every_cell_in_its_order_those_without_a_run_too(sweeps):
    entries = find([sweeps[60]], sweeps.uri)
    assert [one.cell.job for one in entries] == list(range(60))
    assert entries[7].cell.status == "FAILED"
    assert entries[59].cell.status == MISSING
    assert entries[59].settings["prune.order"] == "dcp"
    assert entries[24].cell.status == "SKIPPED"


def test_what_a_missing_cell_shares_with_the_others_is_known(sweeps):
    made = report(find([sweeps[60]], sweeps.uri), [None] * 60)
    (panel,) = made.panels
    assert panel.name == "faces, sunglasses"


def test_the_command_of_a_cell_gives_what_the_sweep_was_given(sweeps):
    entries = find([sweeps[60]], sweeps.uri)
    assert entries[1].command == (
        "python run.py prune/order=mean_activation prune/stop=knee seed=1 data.root=DIR"
    )
    assert sweep_command(entries[1].sweep) == (
        "python run.py -m prune/order=mean_activation,random,clp,l1_norm,bnp,tac,anp,rnp,cls,dcp "
        "prune/stop=knee,accuracy_drop seed=0,1,2 data.root=DIR"
    )


def test_commands_hold_neither_folders_nor_passwords():
    given = {"badnet.path": "bd_net.h5", "data.root": "C:\\me", "x": "postgresql://me:pw@host/db"}
    assert shell("python run.py", given) == ("python run.py badnet.path=DIR data.root=DIR x=DIR")
    assert "pw" not in sweep_command(parent(overrides="tracking.uri=http://me:pw@host"))


def test_of_a_sweep_that_has_not_ended_its_cells_are_there_and_the_others_missing(sweeps):
    from mlflow import MlflowClient

    client = MlflowClient(sweeps.uri)
    experiment = client.get_experiment_by_name("prunesweep") or sweeps[3]
    experiment = client.get_experiment_by_name("prunesweep").experiment_id
    tags = {"cells": "3", "overrides": "prune.frac=0.1,0.2,0.3"}
    begun = client.create_run(experiment, tags=tags).info.run_id
    about = {"job": "1", "sweep": begun, "mlflow.parentRunId": begun}
    cell = client.create_run(experiment, tags=about).info.run_id
    client.log_param(cell, "prune.frac", "0.2")
    client.log_metric(cell, "repaired/clean_accuracy", 0.9)
    entries = find([begun], sweeps.uri)
    assert [one.cell.status for one in entries] == [MISSING, "RUNNING", MISSING]
    assert entries[1].command == "python run.py prune.frac=0.2"
    client.delete_run(begun)
    client.delete_run(cell)


def test_single_runs_and_whole_experiments(sweeps):
    entries = find([sweeps[3]], sweeps.uri)
    ids = [one.cell.run_id for one in entries[:2]]
    some = find(ids, sweeps.uri)
    assert [one.cell.run_id for one in some] == ids
    assert some[1].command == "python run.py prune.frac=0.04 data.root=DIR"
    assert [group.label for group in report(some, [None] * 2).groups] == [
        "mean_activation frac=0.02",
        "mean_activation frac=0.04",
    ]
    fake_sweep.make(sweeps.folder, {"seed": ["0", "1"]}, experiment="another")
    all_of_it = find(["another"], sweeps.uri)
    assert len(all_of_it) == 2


def test_the_latest_sweep_of_prunesweep_is_the_default(sweeps):
    sweeps[3]
    newest = fake_sweep.make(sweeps.folder, {"seed": ["0"]}, at=2_000_000_000_000)
    entries = find([], sweeps.uri)
    assert {one.sweep.info.run_id for one in entries} == {newest}


@pytest.mark.parametrize("target", ["nothing", "0" * 32, "../../etc/passwd", "<b>", "it's"])
def test_what_is_not_there_is_told(sweeps, target):
    sweeps[3]
    with pytest.raises(BadInput, match="is no experiment and no run at"):
        find([target], sweeps.uri)


def test_runs_and_experiments_of_another_project_are_told(sweeps):
    from mlflow import MlflowClient

    sweeps[3]
    client = MlflowClient(sweeps.uri)
    with pytest.raises(BadInput, match="holds no cell of this program"):
        find(["Default"], sweeps.uri)
    theirs = client.create_run(client.create_experiment("theirs")).info.run_id
    with pytest.raises(BadInput, match="is not one of this program; expected a sweep or a cell"):
        find([theirs], sweeps.uri)
    with pytest.raises(BadInput, match="holds no cell of this program"):
        find(["theirs"], sweeps.uri)


def test_an_empty_sweep_is_told(sweeps):
    from mlflow import MlflowClient

    sweeps[3]
    client = MlflowClient(sweeps.uri)
    experiment = client.get_experiment_by_name("prunesweep").experiment_id
    empty = client.create_run(experiment, tags={"cells": "0"}).info.run_id
    with pytest.raises(BadInput, match="holds no cell"):
        find([empty], sweeps.uri)
    client.delete_run(empty)


def test_a_cell_by_itself_has_no_command_of_a_sweep():
    assert entry(0, 0.5).command == ""
    assert entry(0, 0.5, prune__frac="0.1").command == "python run.py prune.frac=0.1"
    assert entry(0, sweep=run("p", overrides="prune.frac=0.1,0.2"), prune__frac="0.2").command == (
        "python run.py prune.frac=0.2"
    )


def test_settings_are_the_columns_before_the_first_metric():
    made = run("a", {"badnet/clean_accuracy": 0.9, "repaired/clean_accuracy": 0.8})
    head = ["job", "run_id", "status", "reused", "threat_model", "prune/order", "seed"]
    rates = ["badnet/clean_accuracy", "badnet/clean_accuracy_low", "repaired/clean_accuracy"]
    row = dict.fromkeys([*head, *rates, "error"], "")
    assert _settings_of([row], [made]) == ["prune/order", "seed"]
    assert _settings_of([dict.fromkeys([*head, "error"], "")], []) == ["prune/order", "seed"]
