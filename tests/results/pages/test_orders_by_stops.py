"""The page of results: of each case the latest sweep, numbers from runs alone, gaps as dashes."""

import re
from collections.abc import Sequence
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from runs import COMMAND, intervals, kept, parent, run, table

from sweep.results.pages import main
from sweep.results.pages.orders_by_stops import TITLE, page
from sweep.results.pages.sweeps import Case, command, latest_cases
from sweep.tracking import store


def rates(area: float = 0.5, attack: float = 0.25) -> dict[str, float]:
    """All metrics of a cell that the page shows."""
    told = {"prune/channels": 6.0, "prune/fraction": 0.1, "goodnet/auroc": 0.875}
    told |= {"tradeoff/attack_area": area, "goodnet/detection_rate_at_5": 0.615}
    told |= {f"tradeoff/attack_success_rate_at_{n}": area + n / 1000 for n in (1, 2, 4, 10)}
    return told | intervals(
        {
            "badnet/clean_accuracy": 0.95,
            "badnet/attack_success_rate": 0.99,
            "repaired/clean_accuracy": 0.9,
            "repaired/attack_success_rate": attack,
            "goodnet/clean_accuracy": 0.88,
            "goodnet/detection_rate": 0.77,
            "goodnet/false_alarm_rate": 0.066,
        }
    )


def cell(order="l1_norm", stop="knee", seed=0, metrics=None, of="p", more=None, **tags) -> Run:
    cell.made += 1
    params = {"case": "signs", "prune.order": order, "prune.stop": stop, "seed": str(seed)}
    words = {"job": str(cell.made), "mlflow.parentRunId": of, "threat_model": "defender"}
    images = {"images_valid": "1000", "images_test": "4000", "images_attacked": "2000"}
    words |= {"layer": "conv_3", **images, **tags}
    told = rates() if metrics is None else metrics
    return run(f"c{cell.made}", told, params | (more or {}), **words)


cell.made = 0


def shown(cells: Sequence[Run]) -> str:
    return page([Case("signs", parent(), cells)])


ORDERS = "Orders: ASR left, best area first"


# What a sweep left


def test_of_each_case_the_latest_finished_sweep_is_told():
    def sweep(name: str, at: int, overrides: str = COMMAND, ended: str = "FINISHED") -> list[Run]:
        told = parent(name, overrides, at=at, ended=ended)
        return [told, cell(of=name), cell(of=name, more={"case": "faces"})]

    runs = [
        *sweep("old", 1),
        *sweep("latest", 3)[:2],  # signs alone
        *sweep("broken", 4, ended="FAILED"),
        *sweep("another", 5, "prune.frac=0.02,0.04"),
        *sweep("alike", 6, "experiment=strategies_of_mine"),
    ]
    told = latest_cases(runs)
    assert [(case.name, case.sweep.info.run_id) for case in told] == [
        ("faces", "old"),
        ("signs", "latest"),
    ]
    assert [len(case.cells) for case in told] == [1, 1]


def test_a_sweep_without_a_case_is_named_by_its_images_and_network():
    left = cell(more={"data": "h5", "badnet": "file"})
    del left.data.params["case"]
    assert [case.name for case in latest_cases([parent(), left])] == ["data=h5 badnet=file"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("case=a data.root=/home/me/my data seed=0,1", "case=a data.root=DIR seed=0,1"),
        ("data.root=signs badnet.path=net.keras", "data.root=DIR badnet.path=DIR"),
        ("tracking.uri=sqlite:////x/y.db seed=0", "tracking.uri=DIR seed=0"),
        ("++data.root=x prune/stop=knee", "++data.root=DIR prune/stop=knee"),
        ("prune/order=glob(*) ~data.seed", "'prune/order=glob(*)' '~data.seed'"),
        ("", ""),
    ],
)
def test_the_command_is_one_for_a_shell_and_names_nobodys_folders(given, told):
    assert command(parent(overrides=given)) == f"python run.py {told}".strip()


# The page


def test_the_head_says_where_the_numbers_come_from():
    told = [
        Case("a", parent(at=0), [cell(seed=10), cell(seed=9), cell(metrics={}, status="SKIPPED")]),
        Case("b", parent(git_dirty="true", at=86_400_000), [cell(network_digest="f" * 64)]),
        Case("c", run("bare"), [cell()]),
    ]
    text = page(told)
    assert text.count("python run.py experiment=strategies case=signs\n") == 1
    head = table(text, TITLE)
    assert head["date"] == ["1970-01-01", "1970-01-02", "1970-01-01"]
    commit = "`0123456789`"
    assert head["commit"] == [commit, f"{commit}, and changes not committed", "-"]
    versions = ["3.12.1, 3.99, 2.98"] * 2
    assert head["Python, Keras, TensorFlow"] == [*versions, "-, -, -"]
    assert head["seeds"] == ["0, 9, 10", "0", "0"]
    assert head["cells"] == ["3", "1", "1"]
    assert head["skipped cells"] == ["1", "0", "0"]
    assert head["digest of B"] == ["-", "f" * 12, "-"]


def test_b_is_told_with_its_intervals_images_layer_and_channels():
    text = shown([cell(asr_counts="all images")])
    assert table(text, "signs")["clean accuracy"] == ["95.00 (94.00-96.00)", "4000"]
    assert table(text, "signs")["ASR"] == ["99.00 (98.00-100.0)", "2000"]
    said = "conv_3 (60 channels), on 1000 clean validation images a seed. ASR counts all images."
    assert said in text


def test_a_network_that_the_attack_did_not_take_hold_of_is_said_to_be_one():
    weak = rates() | {"badnet/attack_success_rate": 0.6}
    said = "The attack did not take hold of B: ASR 60.00 %, below 85 %."
    assert said in " ".join(shown([cell(metrics=weak)]).split())
    assert "take hold" not in shown([cell()])


def test_orders_stand_best_area_first_each_by_its_seeds_once():
    cells = [
        *[cell("random", stop, 0, rates(0.6)) for stop in ("knee", "outlier", "agreement")],
        cell("random", "knee", 1, rates(0.4)),
        cell("tac", seed=0, metrics=rates(0.1), threat_model="oracle"),
        cell("tac", seed=1, metrics=rates(0.1), threat_model="oracle"),
        cell("clp", seed=1, metrics=rates(0.3)),
    ]
    orders = table(shown(cells), ORDERS)
    assert list(orders) == ["order", "tac †", "clp (1 of 2 seeds)", "random (control)"]
    assert orders["order"] == ["area", "at 1 point", *(f"at {n} points" for n in (2, 4, 10))]
    assert orders["random (control)"][:2] == ["50.00 (40.00-60.00)", "50.10 (40.10-60.10)"]
    assert orders["tac †"] == ["10.00", "10.10", "10.20", "10.40", "11.00"]


def test_a_stop_has_a_row_an_order_with_means_and_the_widest_interval():
    cells = [
        cell(seed=0, metrics=rates(attack=0.2), stop_reached="false"),
        cell(seed=1, metrics=rates(attack=0.4) | {"prune/channels": 9.0}, stop_reached="true"),
        cell("clp", metrics=rates(area=0.6)),
        cell("clp", "outlier", metrics=rates(area=0.6), more={"prune.stop.u": "3"}),
    ]
    text = shown(cells)
    assert re.findall(r"^### Stop: (\w+)$", text, re.M) == ["knee", "outlier"]
    knee = table(text, "Stop: knee")
    assert list(knee)[1:] == ["l1_norm", "clp (1 of 2 seeds)"]
    row = dict(zip(knee["order"], knee["l1_norm"], strict=True))
    assert row == {
        "pruned": r"7.5\*",
        "B' clean": "90.00 (89.00-91.00)",
        "B' ASR": "30.00 (19.00-41.00)",
        "G clean": "88.00",
        "G det.": "77.00",
        "G alarm": "6.60",
        "AUROC": "0.875",
        "det. at 5 %": "61.50",
    }
    assert "*" not in knee["clp (1 of 2 seeds)"][0]
    assert table(text, "Stop: outlier")["l1_norm"] == ["-"] * 8
    assert "### Stop: outlier\n\nSettings: `prune.stop.u=3`.\n" in text


def test_skipped_orders_are_listed_with_why():
    why = {"metrics": {}, "status": "SKIPPED", "error": "this order needs BN"}
    text = shown([cell(), *[cell(order, **why) for order in ("bnp", "clp", "clp")]])
    assert "\nSkipped: `bnp`, `clp` (3 cells): this order needs BN.\n" in text
    assert list(table(text, ORDERS)) == ["order", "l1_norm"]
    assert "Skipped: `bnp` (1 cell): this order needs BN." in shown([cell("bnp", **why)])


def test_without_poisoned_images_the_clean_rates_are_told_and_the_rest_are_dashes():
    attack = ("tradeoff", "attack", "detection", "auroc")
    clean = {name: rate for name, rate in rates().items() if not any(x in name for x in attack)}
    unpoisoned = cell(metrics=clean)
    del unpoisoned.data.tags["images_attacked"]
    text = shown([unpoisoned])
    assert ORDERS not in text
    assert "no poisoned images" in text
    assert table(text, "signs")["ASR"] == ["-", "-"]
    row = table(text, "Stop: knee")["l1_norm"]
    assert row == ["6", "90.00 (89.00-91.00)", "-", "88.00", "-", "6.60", "-", "-"]


def test_cells_of_one_order_stop_and_seed_are_not_averaged_but_told_apart():
    settings = (0.1, "conv_2", "/me/old.h5"), (0.2, "conv_3", "/me/new.h5")
    cells = [
        cell(metrics=rates(area), more={"prune.layer": layer, "badnet.path": path})
        for area, layer, path in settings
    ]
    told = [
        "l1_norm badnet.path=old.h5 prune.layer=conv_2",
        "l1_norm badnet.path=new.h5 prune.layer=conv_3",
    ]
    text = shown(cells)
    assert list(table(text, ORDERS))[1:] == list(table(text, "Stop: knee"))[1:] == told


def test_every_number_outside_the_legend_is_one_of_the_runs():
    bare = {"prune/channels": 0.0, "prune/fraction": 0.0}
    of_bare = cell(metrics=bare)
    of_bare.data.tags.clear()
    text = page([Case("signs", run("bare"), [of_bare])])
    rows = table(text, "Stop: knee")
    assert rows["l1_norm"] == ["0", *"-------"]
    below = text.split("## signs")[1].split("## How to read it")[0]
    told = re.sub(r"conv_3|l1_norm|95 % interval|B' |5 %", "", below)
    assert re.findall(r"\d+", told) == ["0"]


# MLflow


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """MLflow with two finished sweeps of one case, and one that runs."""
    root: Path = tmp_path_factory.mktemp("results")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    experiment = store.connect(uri, "there", root)
    client = mlflow.MlflowClient()
    sweeps = (0.1, "FINISHED"), (0.2, "FINISHED"), (0.3, "RUNNING")
    for at, (area, status) in enumerate(sweeps, 1):
        sweep = kept(client, experiment, parent(at=at, ended=status))
        kept(client, experiment, cell("clp", metrics=rates(area), of=sweep, images_test="7"))
    return uri


def test_the_command_prints_the_page_of_what_mlflow_holds(database, capsys):
    assert main(["--uri", database, "--experiment", "there"]) == 0
    text = capsys.readouterr().out
    assert table(text, ORDERS)["clp"][0] == "20.00"
    assert table(text, "signs")["clean accuracy"][-1] == "7"
    assert text.endswith(".\n")


def test_without_a_sweep_the_command_to_run_is_told_in_one_sentence(database, tmp_path, capsys):
    for arguments, says in (
        (
            ["--uri", database, "--experiment", "none"],
            "case=faces, or: python run.py experiment=strategies case=faces",
        ),
        (["--uri", f"sqlite:///{tmp_path / 'no.db'}"], "no.db is not there; expected"),
        (["--uri", "nonsense://x"], "nonsense://x cannot be read by MLflow"),
    ):
        assert main(arguments) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("prunesweep: ")
        assert told.err.count("\n") == 1
        assert says in told.err
    assert not (tmp_path / "no.db").exists()
