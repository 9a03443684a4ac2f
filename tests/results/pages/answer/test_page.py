"""Whole strategies on backdoored networks: which cells count, what reaches the aim, the page."""

from pathlib import Path

import mlflow
from answers import CLEAN, FAILS, MASK, SWEEP, cell, rates, shown
from runs import kept, parent, table

from sweep.results.pages import PAGES, main
from sweep.results.pages.answer.page import TITLE, page
from sweep.results.pages.answer.reading import newest_strategy_runs
from sweep.tracking import store


def test_the_head_says_where_the_numbers_come_from():
    runs = [
        parent("late", SWEEP, at=86_400_000, git_dirty="true"),
        parent("early", SWEEP, at=0),
        cell(of="late", seed=10),
        cell(of="early", seed=9),
        cell("clp", of="early", seed=9, metrics={}, status="SKIPPED"),
        cell(of="early", seed=9, more=CLEAN),
    ]
    text = page(newest_strategy_runs(runs))
    line = "python run.py experiment=answer case=signs data.root=DIR attack=patch,blend\n"
    assert text.count(line) == 1
    assert "/home" not in text
    head = table(text, TITLE)
    assert head["date"] == ["1970-01-01; 1970-01-02"]
    assert head["commit"] == ["`0123456789`; `0123456789`, and changes not committed"]
    assert head["Python, Keras, TensorFlow"] == ["3.12.1, 3.99, 2.98"]
    assert head["seeds of B"] == ["9, 10"]
    assert (head["networks B"], head["cells"], head["skipped cells"]) == (["3"], ["4"], ["1"])


def test_a_case_is_told_with_its_spread_over_seeds_and_by_which_it_is_reached():
    text = shown(
        cell(seed=0),
        cell(seed=1, metrics=rates(lost=0.03)),
        cell(attack="blend", seed=0, metrics=rates(alarms=0.5)),
        cell(attack="blend", seed=1, metrics=rates(alarms=0.5)),
        cell(attack="warp", seed=0),
        cell(attack="multi_target", metrics=FAILS, seed=0),
        cell(attack="multi_target", metrics=FAILS, seed=1),
    )
    found = table(text, "The answer, case by case", names=2)
    row = dict(zip(found["images attack"], found["signs patch"], strict=True))
    assert row == {
        "B clean": "95.00",
        "B ASR": "99.00",
        "B' clean": "93.00 (92.00-94.00)",
        "points lost": "2.00 (1.00 to 3.00)",
        "B' ASR": "2.00",
        "G ASR": "3.00",
        "G alarm": "1.50",
        "reached": "2 of 2 (B' 1, G 2)",
    }
    assert found["signs blend"][-1] == "2 of 2 (B' 2)"
    assert found["signs warp"][-1] == "1 of 1, 1 missing"
    assert found["signs multi_target"][-1] == "0 of 2"
    assert table(text, TITLE, 1, names=2)["all answer"][:2] == ["7", "5"]


def test_a_missing_seed_does_not_reach_a_case():
    reached = [cell(attack=attack, seed=seed) for attack in ("patch", "warp") for seed in (0, 1)]
    whole = table(shown(*reached), "Every strategy on signs")["answer"]
    assert whole == ["**1.00 / 2.00**", "**1.00 / 2.00**"]
    text = shown(*reached[:-1])
    assert table(text, TITLE, 1, names=2)["all answer"][:2] == ["3", "3"]
    assert table(text, "Every strategy on signs")["answer"] == ["**1.00 / 2.00**", "1.00 / 2.00"]


def test_every_strategy_stands_beside_the_answer_on_each_cases_images():
    faces = {"case": "faces"}
    text = shown(
        cell("lab", "warp", 0, rates(lost=0.04, left=0.5)),
        cell("lab", "warp", 1, rates(lost=0.03, left=0.7)),
        cell("answer", "patch", 0, rates(lost=-0.01)),
        cell("answer", "patch", 1, rates(lost=0.01, left=0.03)),
        cell("lab", "sunglasses", 0, FAILS, more=faces),
    )
    means = table(text, "Every strategy on signs")
    assert means == {
        "strategy": ["patch", "warp"],
        "answer": ["**0.00 / 2.50**", "-"],
        "lab": ["-", "**3.50 / 60.00**"],  # by G
    }
    ranges = table(text, "Every strategy on signs", 1)
    assert ranges["answer"] == ["-1.00 to 1.00 / 2.00-3.00", "-"]
    assert ranges["lab"] == ["-", "3.00 to 4.00 / 50.00-70.00"]
    assert table(text, "Every strategy on faces")["lab"] == ["1.00 / 90.00"]


def test_the_answers_rates_have_the_widest_interval_of_all_seeds():
    text = shown(cell(seed=0), cell(seed=1, metrics=rates(left=0.04)), cell("lab", seed=0))
    found = table(text, "The answer's rates, with 95 % intervals", names=2)
    row = dict(zip(found["images attack"], found["signs patch"], strict=True))
    assert row["B' ASR"] == "3.00 (1.00-5.00)"
    assert row["B' robust"] == "80.00 (79.00-81.00)"
    assert row["G clean"] == "94.00 (93.00-95.00)"
    assert list(found) == ["images attack", "signs patch"]


def test_skipped_cells_are_told_with_why():
    why = {"metrics": {}, "status": "SKIPPED", "error": "this order needs BN."}
    text = shown(cell(), cell("clp", **why), cell("clp", seed=1, **why))
    assert "\n\nSkipped: `clp` (2 cells): this order needs BN.\n\n" in text
    assert "clp" not in table(text, TITLE, 1)


def test_what_was_not_measured_is_a_dash():
    text = shown(cell(metrics={"badnet/clean_accuracy": 0.9, "repaired/clean_accuracy": 0.9}))
    row = table(text, "The answer, case by case", names=2)["signs patch"]
    assert row == ["90.00", "-", "90.00", "0.00", "-", "-", "-", "0 of 1"]
    assert table(text, TITLE, 1, names=2)["all answer"] == ["1", "0", "0.00", "0.00", "-", "-"]
    assert table(text, "Every strategy on signs")["answer"] == ["0.00 / -"]


# The ledger


LEDGER = "Of which networks the attack took hold"
WEAK = rates(lost=0.03, left=0.7) | {"badnet/attack_success_rate": 0.76}
TWIN = {"twin/clean_accuracy": 0.96, "twin/attack_success_rate": 0.012}
TWIN |= {"twin/robust_accuracy": 0.9}


def test_the_ledger_has_every_network_with_its_twin_and_why_it_does_not_count():
    vgg = {"badnet.architecture": "vgg"}
    low = TWIN | {"twin/clean_accuracy": 0.98}
    text = shown(
        cell(metrics=rates() | TWIN, implant="yes"),
        cell(seed=1, metrics=rates() | low, implant="clean accuracy too low"),
        cell(attack="blend", metrics=WEAK),
        cell("lab", "blend", metrics=WEAK),
        cell(attack="warp", more=vgg, metrics=rates()),
        cell(more=CLEAN),
    )
    assert table(text, LEDGER, names=4) == {
        "images attack architecture seed": [
            "B clean", "twin clean", "B ASR", "twin ASR", "twin robust", "implanted",
        ],
        "signs patch deepid 0": ["95.00", "96.00", "99.00", "1.20", "90.00", "yes"],
        "signs patch deepid 1": [
            "95.00", "98.00", "99.00", "1.20", "90.00", "clean accuracy too low",
        ],
        "signs blend deepid 0": ["95.00", *"-", "76.00", *"--", "ASR 76.00 %, below 85 %"],
        "signs warp vgg 0": ["95.00", *"-", "99.00", *"--", "yes"],
    }  # fmt: skip
    assert "2 of 4 networks do; the others are in no mean" in " ".join(text.split())


def test_networks_that_do_not_count_are_in_no_mean_and_stand_apart_each_by_itself():
    text = shown(
        cell(),
        cell(seed=1),
        cell(seed=2, metrics=WEAK),
        cell("lab", seed=0, metrics=FAILS),
        cell("lab", seed=2, metrics=WEAK | {"repaired/attack_success_rate": 0.6}),
        cell("lab", "warp", seed=2, metrics=WEAK),
        cell(attack="blend", seed=2),
    )
    found = table(text, TITLE, 1, names=2)
    assert found["all answer"][:2] == ["3", "3"]
    assert found["all answer"][4] == "2.00"
    assert found["all lab"][4] == "90.00"
    assert table(text, "Every strategy on signs")["answer"] == ["**1.00 / 2.00**", "1.00 / 2.00"]
    case = table(text, "The answer, case by case", names=2)
    assert (case["signs patch"][1], case["signs patch"][-1]) == ("99.00", "2 of 2")
    assert case["signs blend"][-1] == "1 of 1, 2 missing"
    assert "signs warp" not in case
    assert table(text, "Networks that do not count as implanted", names=3) == {
        "images attack seed": ["answer", "lab"],
        "signs patch 2": ["3.00 / 70.00", "3.00 / 60.00"],
        "signs warp 2": ["-", "3.00 / 70.00"],
    }
    assert "do not count" not in shown(cell())


# The page


def test_a_page_is_of_its_experiment_alone():
    text = shown(cell())
    assert text.startswith(f"# {TITLE}\n")
    assert "experiment=strategies" not in text
    assert "AUROC**" not in text


def test_the_command_reads_cells_of_a_sweep_that_was_killed(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    experiment = store.connect(uri, "there", tmp_path)
    client = mlflow.MlflowClient()
    killed = kept(client, experiment, parent(overrides=SWEEP, ended="RUNNING"))
    kept(client, experiment, cell(of=killed, at=1))
    kept(client, experiment, cell(of=killed, at=2, metrics=FAILS))
    kept(client, experiment, cell(of=killed, at=3, ended="RUNNING"))
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    (folder / "strategies.md").write_text("of another machine")
    assert main([str(folder), "--uri", uri, "--experiment", "there"]) == 0
    written, *not_written, last = capsys.readouterr().out.splitlines()
    assert written == f"Written: {folder / 'answer.md'}"
    assert last.startswith(f"Kept: {folder / 'runs.csv'}: ")
    assert [line.partition(": no finished cell")[0] for line in not_written] == [
        f"Not written: {folder / name}" for name in ("detectors.md", "search.md", "strategies.md")
    ]
    assert (folder / "strategies.md").read_text() == "of another machine"
    text = (folder / "answer.md").read_text()
    assert table(text, TITLE, 1, names=2)["all answer"][:2] == ["1", "0"]
    assert text.endswith(".\n")
    old = [str(tmp_path / "docs" / "results.md"), "--uri", uri, "--experiment", "there"]
    assert main(old) == 2
    assert "results.md is a file; give a folder" in capsys.readouterr().err


def test_every_page_is_of_a_named_experiment_and_listed():
    root = Path(__file__).resolve().parents[4]
    index = (root / "docs" / "results" / "README.md").read_text()
    for name in PAGES:
        assert (root / "conf" / "experiment" / f"{name}.yaml").is_file()
        assert (root / "docs" / "results" / f"{name}.md").is_file()
        assert f"({name}.md)" in index


def test_a_seed_that_only_a_variant_or_another_strategy_has_is_not_missing():
    ours = [cell(seed=seed) for seed in (0, 1)]
    for other in (cell(seed=3, more=MASK), cell("lab", seed=3)):
        found = table(shown(*ours, other), "The answer, case by case", names=2)
        assert found["signs patch"][-1] == "2 of 2"
