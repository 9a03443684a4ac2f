"""Two cells image by image: what is compared, what is not, the table of a sweep, the command."""

import csv
import subprocess
import sys
from dataclasses import replace
from io import StringIO

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from sweep import terminal
from sweep.evaluation import significance
from sweep.evaluation.significance import holm
from sweep.results import paired
from sweep.results.cells import Cell
from sweep.results.paired import choose_pairs, compare, hits_of, why_incomparable
from sweep.tracking import artifacts

LABEL = np.array([0, 1, 2, 3, 0, 1])
BADNET = np.array([0, 1, 2, 0, 0, 1])  # wrong on the fourth


def answers(test, poisoned=None, label=LABEL, badnet=BADNET) -> dict[str, np.ndarray]:
    """The arrays of an answers.npz, as `Log.answers` writes it."""
    found = {"test_label": label, "test_badnet": badnet, "test_repaired": np.array(test)}
    found |= {name.replace("test", "valid"): array for name, array in found.items()}
    if poisoned is not None:
        found["poisoned_repaired"] = np.array(poisoned)
        found["poisoned_label"] = found["poisoned_badnet"] = np.zeros(len(poisoned), int)
    return {name: array.astype(np.int32) for name, array in found.items()}


# by hand: a is right on images 0, 1, 3; GoodNet of a on 0, 1 (B is wrong on 3)
A = answers([0, 1, 0, 3, 1, 0], [0, 0, 0, 1])
# b is right on 0, 3, 4, 5; GoodNet of b on 0, 4, 5
B = answers([0, 0, 0, 3, 0, 1], [0, 1, 1, 1])
FEWER = answers([0, 0, 0], label=LABEL[:3], badnet=BADNET[:3])


def test_both_rates_of_both_networks_are_compared_image_by_image():
    found = {one.metric: one for one in compare(hits_of(A), hits_of(B))}
    assert list(found) == [
        "repaired/clean_accuracy",
        "goodnet/clean_accuracy",
        "repaired/attack_success_rate",
        "goodnet/attack_success_rate",
    ]
    clean = found["repaired/clean_accuracy"]
    assert (clean.images, clean.a, clean.b, clean.only_a, clean.only_b) == (6, 3 / 6, 4 / 6, 1, 2)
    both = found["goodnet/clean_accuracy"]
    assert (both.a, both.b, both.only_a, both.only_b) == (2 / 6, 3 / 6, 1, 2)
    attack = found["repaired/attack_success_rate"]
    assert (attack.images, attack.a, attack.b, attack.only_a, attack.only_b) == (
        4,
        0.75,
        0.25,
        2,
        0,
    )
    assert attack.p == 0.5
    for one in found.values():
        assert one.p == significance.mcnemar(one.only_a, one.only_b, two_sided=True)


def test_a_goodnet_is_right_only_where_b_is_too():
    right = hits_of(answers(LABEL)).hits
    assert right["repaired/clean_accuracy"].all()
    assert right["goodnet/clean_accuracy"].tolist() == [True, True, True, False, True, True]


def test_equal_answers_are_no_difference():
    assert {(one.only_a, one.only_b, one.p) for one in compare(hits_of(A), hits_of(A))} == {
        (0, 0, 1.0)
    }


def test_without_poisoned_images_clean_accuracy_is_compared():
    clean = hits_of(answers(LABEL))
    assert len(compare(clean, clean)) == 2
    assert len(compare(clean, hits_of(A))) == 2
    assert why_incomparable(clean, hits_of(A), "test") == ""
    assert why_incomparable(clean, hits_of(A), "poisoned") == "no poisoned images"
    assert why_incomparable(clean, clean, "poisoned") == ""


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (answers([0] * 5, label=LABEL[:5], badnet=BADNET[:5]), "6 and 5 clean test images"),
        (answers(LABEL, label=LABEL[::-1]), "clean test images of different labels"),
        (answers(LABEL, badnet=LABEL), "other clean test images, or another network B"),
    ],
)
def test_other_images_or_another_network_are_not_compared(other, reason):
    assert compare(hits_of(A), hits_of(other)) == []
    assert why_incomparable(hits_of(A), hits_of(other), "test") == reason


def test_p_is_raised_for_the_number_of_tests():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).tolist() == []


# A sweep


@pytest.fixture
def left(tmp_path):
    """Call with overrides and the arrays of answers.npz or None: a finished cell for each."""

    def left(*cells) -> list[Cell]:
        found = []
        for job, (overrides, arrays) in enumerate(cells):
            place = tmp_path / str(job)
            place.mkdir()
            if arrays is not None:
                np.savez_compressed(place / "answers.npz", **arrays)
            words = dict(word.split("=") for word in overrides.split())
            row = Cell(job, words, f"run{job}", "FINISHED", {}, "", artifacts=place.as_uri())
            found.append(row)
        return found

    return left


def test_a_sweeps_table_has_every_pair_on_the_same_images(left):
    rows = left(("o=a", A), ("o=b", FEWER), ("o=c", B), ("o=d", None), ("o=e", B), ("o=f", B))
    text, line = paired.to_csv([*rows[:5], replace(rows[5], status="FAILED")])
    assert line == "paired.csv tells which differences between cells are more than chance."
    table = list(csv.DictReader(StringIO(text)))
    pairs = [(row["job_a"], row["job_b"]) for row in table[::4]]
    assert pairs == [("0", "2"), ("0", "4"), ("2", "4")]
    clean, _, attack, _ = table[:4]
    assert (clean["run_a"], clean["run_b"], clean["a"], clean["b"]) == (
        "run0",
        "run2",
        "o=a",
        "o=c",
    )
    assert attack["metric"] == "repaired/attack_success_rate"
    assert float(attack["difference"]) == -0.5
    counts = [attack[name] for name in ("images", "only_a", "only_b", "p", "p_holm")]
    assert counts == ["4", "2", "0", "0.5", "1.0"]
    assert [row["p"] for row in table[8:]] == ["1.0"] * 4


@pytest.mark.parametrize("second", [None, FEWER], ids=["no answers", "other images"])
def test_there_is_no_table_where_no_two_cells_compare(left, second):
    rows = left(("o=a", A), ("o=b", second))
    for some in (rows, rows[:1], []):
        assert paired.to_csv(some) == ("", "")


def grid(*sizes: int) -> list[Cell]:
    """Cells of a grid whose settings have so many values."""
    places = np.ndindex(*sizes)
    return [Cell(n, {f"k{i}": str(v) for i, v in enumerate(p)}) for n, p in enumerate(places)]


def test_up_to_a_hundred_cells_all_pairs_are_compared():
    rows = grid(100)
    pairs, line = choose_pairs(rows, [hits_of(A)] * 100)
    assert len(pairs) == 4950
    assert line == paired.CHANCE


def test_of_more_cells_those_that_differ_in_one_setting_are_compared():
    rows = grid(12, 3, 4)
    pairs, line = choose_pairs(rows, [hits_of(A)] * len(rows))
    assert len(pairs) == 144 * (11 + 2 + 3) / 2
    assert (0, 1) in pairs
    assert (0, 5) not in pairs  # both k1 and k2 differ
    assert "It has 1152 of 10296 pairs: those which differ in one setting." in line


def test_of_very_many_cells_each_is_compared_with_the_first_on_its_images():
    rows, other = grid(200), hits_of(answers(LABEL, label=LABEL[::-1]))
    told = [hits_of(A)] * 100 + [other, hits_of(A)] * 50
    pairs, line = choose_pairs(rows, told)
    assert len(pairs) == 149 + 49
    assert (0, 99) in pairs
    assert (100, 102) in pairs
    assert (1, 2) not in pairs
    assert "with the first on the same images" in line


# The command


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A database of five runs: a, b, on fewer images, without poisoned ones, without answers."""
    folder = tmp_path_factory.mktemp("runs")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client, ids = MlflowClient(), {}
    experiment = client.create_experiment("paired", (folder / "mlruns").as_uri())
    cells = {"a": A, "b": B, "fewer": FEWER, "clean": answers(LABEL), "nothing": None}
    for name, arrays in cells.items():
        whose = {"threat_model": "oracle" if name == "b" else "defender"}
        ids[name] = client.create_run(experiment, tags=whose, run_name=f"cell {name}").info.run_id
        if arrays is not None:
            path = folder / "answers.npz"
            np.savez_compressed(path, **arrays)
            client.log_artifact(ids[name], str(path))
    yield ids, folder
    mlflow.set_tracking_uri(before)


@pytest.fixture
def command(runs, capsys, monkeypatch):
    """Call with names of runs: exit code, lines printed, and what went to standard error."""
    ids, folder = runs
    monkeypatch.setattr(terminal.console, "width", 80)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PROJECT_ROOT", str(folder))

    def command(*names: str) -> tuple[int, list[str], str]:
        code = paired.main([ids.get(name, name) for name in names])
        said = capsys.readouterr()
        return code, [line.rstrip() for line in said.out.splitlines()], said.err

    return command


def test_the_command_compares_two_runs_in_80_columns(command, runs):
    code, lines, error = command("a", "b")
    assert (code, error) == (0, "")
    assert max(map(len, lines)) <= 80
    assert f"a: cell a ({runs[0]['a']})" in lines
    assert f"b: cell b† ({runs[0]['b']})" in lines
    words = [line.split() for line in lines]
    assert ["B'", "clean", "accuracy", "6", "50.00", "66.67", "+16.67", "1", "2", "1"] in words
    assert ["G", "clean", "accuracy", "6", "33.33", "50.00", "+16.67", "1", "2", "1"] in words
    assert ["B'", "attack", "success", "4", "75.00", "25.00", "-50.00", "2", "0", "0.5"] in words
    assert "Not compared" not in " ".join(lines)


def test_what_only_one_run_has_is_said_and_the_rest_compared(command):
    code, lines, _ = command("a", "clean")
    assert code == 0
    assert "Not compared: no poisoned images." in lines
    assert not any("attack success" in line for line in lines[3:8])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("a", "unheard_of"), "run unheard_of cannot be read from sqlite:///"),
        (("a", "nothing"), "has no answers.npz; expected a cell that came to its end"),
        (("a", "fewer"), "cannot be compared image by image: 6 and 3 clean test images"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_sentence(command, names, says):
    code, lines, error = command(*names)
    assert code == 2
    assert lines == []
    assert says in error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error


def test_a_database_that_is_not_there_is_told_and_not_made(command, tmp_path):
    code, _, error = command("a", "b", "--uri", f"sqlite:///{tmp_path}/x.db")
    assert code == 2
    assert error.startswith(f"prunesweep: {tmp_path}/x.db is not there; expected the database")
    assert not list(tmp_path.iterdir())


def test_the_command_starts_without_keras():
    code = "import sys, sweep.paired; print(*{'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


# Artifacts


def test_files_are_read_in_order_and_those_missing_are_none(tmp_path):
    places = [tmp_path / name for name in "abc"]
    for place in places:
        place.mkdir()
    (places[0] / "x.csv").write_text("one")
    (places[2] / "x.csv").write_text("three")
    found = artifacts.read_all([place.as_uri() for place in places], "x.csv")
    assert found == [b"one", None, b"three"]
    assert artifacts.read_all([], "x.csv") == []


def test_a_long_password_is_not_told_where_a_reason_is_cut(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    told = paired.main(["a", "b", "--uri", f"http://me:{'SECRET' * 50}@127.0.0.1:1"])
    mlflow.set_tracking_uri(before)
    assert told == 2
    error = capsys.readouterr().err
    assert error.startswith("prunesweep: run a cannot be read from http://me:***@127.0.0.1:1 (")
    assert "SECRET" not in error
