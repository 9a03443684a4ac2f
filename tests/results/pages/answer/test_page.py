"""Whole strategies on backdoored networks: which cells count, what reaches the aim, the page."""

import random
import re
from itertools import count, product
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from runs import COMMAND, intervals, kept, parent, run, table

from sweep.results.pages import PAGES, main
from sweep.results.pages.answer.page import TITLE, page
from sweep.results.pages.answer.runs import StrategyRun, newest_strategy_runs
from sweep.tracking import store

SWEEP = "experiment=answer case=signs data.root=/home/me/signs attack=patch,blend"
number = count()


def rates(lost=0.01, left=0.02, alarms=0.015, passed=0.03, flagged=0.01) -> dict[str, float]:
    """The metrics of a cell; `lost` and `left` by B', `flagged` and `passed` by GoodNet."""
    told = {
        "badnet/clean_accuracy": 0.95,
        "badnet/attack_success_rate": 0.99,
        "repaired/clean_accuracy": 0.95 - lost,
        "repaired/attack_success_rate": left,
        "repaired/robust_accuracy": 0.8,
        "goodnet/clean_accuracy": 0.95 - flagged,
        "goodnet/attack_success_rate": passed,
        "goodnet/false_alarm_rate": alarms,
    }
    return intervals(told) | {"prune/channels": 4.0, "time/total": 70.0, "time/badnet": 30.0}


FAILS = rates(left=0.9, passed=0.9)


def cell(
    strategy="answer", attack="patch", seed=0, metrics=None, of="p", more=None, at=0, **tags
) -> Run:
    """A cell of a sweep, as the strategy sets it but for `more`."""
    params = {"case": "signs", "attack": attack, "attack.rate": "0.1", "strategy": strategy}
    params |= {"badnet.seed": str(seed), "seed": "0", "data.valid_images": "None"}
    params |= {"prune.frac": "0.01", "prune.stop.frac": "0.01", "prune.order._target_": "a.b"}
    params |= {"repair": "[unlearn]", "repair.unlearn.by": "universal"} | (more or {})
    ended = tags.pop("ended", "FINISHED")
    words = {"mlflow.parentRunId": of, "threat_model": "defender", **tags}
    told = rates() if metrics is None else metrics
    return run(f"c{next(number)}", told, params, ended, at, **words)


def tried(*cells: Run) -> list[StrategyRun]:
    return newest_strategy_runs([parent(overrides=SWEEP), *cells])


def shown(*cells: Run) -> str:
    return page(tried(*cells))


MASK = {"repair.unlearn.by": "[mask]"}
CLEAN = {"attack.rate": "1e-06"}


# Which cells count


def test_of_equal_cells_the_newest_counts_whatever_became_of_their_sweeps():
    runs = [
        parent("old", SWEEP, at=1),
        parent("killed", SWEEP, at=2, ended="RUNNING"),
        parent("failed", SWEEP + " strategy=lab", at=3, ended="FAILED"),
        parent("another", "experiment=answer_of_mine", at=4),
        parent("strategies", COMMAND, at=5),
        cell(of="old", at=1, metrics=rates(left=0.01)),
        cell(of="old", at=9, metrics=rates(left=0.04)),
        cell(of="killed", at=5, metrics=rates(left=0.03)),
        cell(of="killed", at=10, ended="FAILED"),
        cell(of="killed", at=11, ended="RUNNING", metrics={}),
        cell(of="killed", at=12, metrics={"time/total": 1.0}),
        cell(of="failed", at=3, seed=1),
        *(cell(of=name, at=20, seed=2) for name in ("another", "strategies", "nobody")),
    ]
    told = newest_strategy_runs(runs)
    found = [(trial.seed, trial.cell.info.start_time, trial.sweep.info.run_id) for trial in told]
    assert found == [("0", 9, "old"), ("1", 3, "failed")]
    random.Random(0).shuffle(runs)
    assert newest_strategy_runs(runs) == told


def test_a_skipped_cell_counts_as_one_and_a_later_measured_one_takes_its_place():
    skipped = {"metrics": {}, "status": "SKIPPED", "error": "needs BN"}
    assert [trial.measured for trial in tried(cell(at=1, **skipped))] == [False]
    assert [trial.measured for trial in tried(cell(at=1, **skipped), cell(at=2))] == [True]


def test_trials_stand_by_case_attack_and_seed_attacks_in_a_fixed_order():
    attacks = ["multi_target", "own", "warp", "patch", "pruning_aware", "blend", "sunglasses"]
    told = tried(
        *(cell(attack=attack) for attack in attacks),
        cell(more={"case": "faces"}, attack="warp", seed=10),
        cell(more={"case": "faces"}, attack="warp", seed=9),
    )
    assert [(trial.case, trial.seed) for trial in told[:3]] == [
        *(("faces", seed) for seed in ("9", "10")),
        ("signs", "0"),
    ]
    first = ["sunglasses", "patch", "blend", "warp", "multi_target", "pruning_aware"]
    assert [trial.attack for trial in told[2:]] == [*first, "own"]


def test_attacks_of_several_rates_are_told_apart_and_networks_without_one_are_none_of_these():
    told = tried(cell(), cell(more={"attack.rate": "0.2"}), cell(attack="blend"), cell(more=CLEAN))
    assert sorted((trial.attack, trial.attacked) for trial in told) == [
        ("blend", True),
        ("patch", False),
        ("patch, attack.rate=0.1", True),
        ("patch, attack.rate=0.2", True),
    ]


# What was tried beside a strategy


def names(*cells: Run) -> list[str]:
    """The names of cells, in the order given (which is that of their seeds)."""
    return [trial.name for trial in tried(*cells)]


def test_a_backdoor_for_which_no_image_is_poisoned_is_an_attack():
    written = CLEAN | {"attack.training.threshold": "0.1"}
    told = tried(cell(attack="dfba", more=written), cell(attack="blend", more=CLEAN))
    assert {each.attack: each.attacked for each in told} == {"dfba": True, "blend": False}


def test_what_most_cells_have_is_the_strategy_and_others_are_named_by_what_differs():
    more = {"repair": "[unlearn,shrink]", "repair.shrink._target_": "x", "data.valid_images": "9"}
    assert names(
        cell(seed=0),
        cell(seed=1),
        cell(seed=2, more=MASK),
        cell(seed=3, more=more),
        cell(seed=4, more={"prune.frac": "0.1", "prune.stop.frac": "0.1"}),
        cell(seed=5, more={"prune.stop.frac": "0.1", "seed": "1"}),
        cell("lab", seed=6, more={"prune.frac": "0.04", "repair": "[]"}),
    ) == [
        "answer",
        "answer",
        "answer, repair.unlearn.by=[mask]",
        "answer, repair=[unlearn,shrink], data.valid_images=9",
        "answer, prune.frac=0.1",
        "answer, seed=1, prune.stop.frac=0.1",
        "lab",
    ]


def test_of_as_many_cells_the_newer_are_the_strategy_and_cells_made_again_count_once():
    told = names(cell(seed=0, at=1), cell(seed=1, at=2, more=MASK))
    assert told == ["answer, repair.unlearn.by=universal", "answer"]
    again = [cell(seed=0, at=at) for at in range(5, 9)]
    told = names(*again, *(cell(seed=seed, more=MASK) for seed in (1, 2)))
    assert told == ["answer, repair.unlearn.by=universal", "answer", "answer"]


def test_variants_stand_beside_each_other_also_on_one_network():
    told = names(cell(), cell(more=MASK), cell(seed=1))
    assert sorted(told) == ["answer", "answer", "answer, repair.unlearn.by=[mask]"]


def test_a_setting_that_follows_from_a_choice_is_told_only_where_others_have_it_otherwise():
    def finetuned(seed: int, epochs: int) -> Run:
        told = cell(seed=seed, more={"repair": "[finetune]", "repair.finetune.epochs": f"{epochs}"})
        del told.data.params["repair.unlearn.by"]
        return told

    usual = [cell(seed=seed) for seed in range(3)]
    assert names(*usual, finetuned(3, 30))[3:] == ["answer, repair=[finetune]"]
    assert names(*usual, finetuned(3, 30), finetuned(4, 60))[3:] == [
        "answer, repair=[finetune], repair.finetune.epochs=30",
        "answer, repair=[finetune], repair.finetune.epochs=60",
    ]
    assert names(*usual, cell(seed=3, more={"repair.unlearn.new": "1"})) == ["answer"] * 4


# The aim


@pytest.mark.parametrize(
    ("metrics", "by"),
    [
        (rates(lost=0.02, left=0.05), (True, True)),
        (rates(lost=0.95 - 0.93, left=0.1 / 2), (True, True)),
        (rates(lost=-0.01), (True, True)),
        (rates(lost=0.0201), (False, True)),
        (rates(left=0.0501), (False, True)),
        (rates(alarms=0.02, passed=0.05, flagged=0.02), (True, True)),
        (rates(alarms=0.0201), (True, False)),
        (rates(passed=0.0501), (True, False)),
        (rates(flagged=0.0201), (True, False)),
        (FAILS, (False, False)),
        ({"badnet/clean_accuracy": 0.9, "repaired/clean_accuracy": 0.9}, (False, False)),
    ],
)
def test_the_aim_is_reached_at_its_edge_and_not_beyond(metrics, by):
    (trial,) = tried(cell(metrics=metrics))
    assert (trial.reached_by_repaired(), trial.reached_by_goodnet()) == by
    assert trial.reached() == any(by)


def test_rounding_does_not_decide():
    for right, images in product(range(900, 1000), (1000, 1111)):
        before, after = right / images, (right - images // 50) / images
        edge = {"badnet/clean_accuracy": before, "repaired/clean_accuracy": after}
        (trial,) = tried(cell(metrics=FAILS | edge | {"repaired/attack_success_rate": 0.05}))
        assert trial.reached_by_repaired()


# The part of the page


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


def test_strategies_are_compared_by_what_they_reach_the_answer_first():
    text = shown(
        *(cell("lab", attack, seed, FAILS) for attack in ("patch", "warp") for seed in (0, 1)),
        cell("oracle", seed=0, threat_model="oracle"),
        cell("oracle", seed=1, threat_model="oracle"),
        cell("answer", seed=0, metrics=rates(lost=-0.01) | {"time/total": 100.0}),
        cell("answer", seed=1, metrics=rates(lost=0.02, left=0.04)),
        cell("answer", "warp", 0, rates(left=0.06)),
        cell("answer", "warp", 1, rates(left=0.06, passed=0.9)),
        cell("clp", seed=0, metrics=rates(left=0.5, passed=0.5)),
    )
    found = table(text, TITLE, 1)
    assert found == {
        "strategy": ["cases", "networks", "points lost", "B' ASR", "time in s"],
        "answer": ["1 of 2", "3 of 4", "0.75 (-1.00 to 2.00)", "4.50 (2.00-6.00)", "40"],
        "oracle †": ["1 of 1", "2 of 2", "1.00", "2.00", "40"],
        "clp": ["0 of 1", "0 of 1", "1.00", "50.00", "40"],
        "lab": ["0 of 2", "0 of 4", "1.00", "90.00", "40"],
    }
    assert list(found) == ["strategy", "answer", "oracle †", "clp", "lab"]
    said = (
        "`answer` reaches it in 1 of 2 cases with all seeds, in 3 of 4 networks: by B' in 1 and "
        "2, by G in 1 and 3."
    )
    assert said in text.replace("\n", " ")
    aim = "ASR of at most 5 % at a clean test accuracy at most 2 points below B's: for B', or for G"
    assert aim in text.replace("\n", " ")


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
    assert table(text, TITLE, 1)["answer"][:2] == ["2 of 4", "5 of 7"]


def test_a_missing_seed_does_not_reach_a_case():
    reached = [cell(attack=attack, seed=seed) for attack in ("patch", "warp") for seed in (0, 1)]
    assert table(shown(*reached), TITLE, 1)["answer"][:2] == ["2 of 2", "4 of 4"]
    text = shown(*reached[:-1])
    assert table(text, TITLE, 1)["answer"][:2] == ["1 of 2", "3 of 3"]
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


def judged(suspects: int, **more) -> dict[str, float]:
    """All metrics of a cell, and how many classes stand out."""
    return rates(**more) | {"inspect/suspects": float(suspects), "inspect/reference_accuracy": 0.9}


def test_verdicts_are_counted_with_a_backdoor_and_without():
    text = shown(
        cell(seed=0, metrics=judged(1)),
        cell(seed=1, metrics=judged(2)),
        cell(attack="warp", seed=0, metrics=judged(0)),
        cell(attack="warp", seed=1, metrics=judged(0)),
        cell(attack="blend", seed=0),  # nothing could be said
        cell("lab", attack="blend", seed=1, metrics=judged(0), at=1),
        cell(attack="warp", seed=2, metrics=rates() | {"inspect/suspects": 1.0}),  # not compared
        cell("answer", attack="blend", seed=1, metrics=judged(1), at=3),  # the newest counts
        cell("answer", attack="blend", seed=1, more=MASK, metrics=judged(0), at=2),
        cell(seed=0, more=CLEAN, metrics=judged(1)),
        cell(seed=1, more=CLEAN, metrics=judged(0)),
    )
    heading = "Is there a backdoor?"
    said = "Signs of one are found in 3 of 5 networks with a backdoor, and in 1 of 2 without one."
    assert f"{heading}\n\n{said}\n" in text
    assert table(text, heading, names=2) == {
        "images attack": ["signs found", "classes that stand out"],
        "signs patch": ["2 of 2", "1.5 (1-2)"],
        "signs blend": ["1 of 1", "1"],
        "signs warp": ["0 of 2", "0"],
    }


def test_networks_without_a_backdoor_stand_apart():
    harmless = judged(0, lost=0.02, left=0.001) | {"badnet/attack_success_rate": 0.002}
    text = shown(
        cell(metrics=FAILS),
        cell(metrics=harmless, more=CLEAN, seed=0),
        cell(metrics=harmless, more=CLEAN, seed=1),
        cell("lab", metrics=harmless, more=CLEAN),
    )
    found = table(text, "Networks without a backdoor", names=2)
    told = ["95.00", "0.20", "93.00", "2.00", "1.50"]
    assert found["signs answer"] == ["2", *told]
    assert found["signs lab"] == ["1", *told]
    assert table(text, TITLE, 1)["answer"][:2] == ["0 of 1", "0 of 1"]
    assert "lab" not in table(text, TITLE, 1)
    alone = shown(cell(more=CLEAN, metrics=judged(0)))
    assert re.findall("^#+ (.*)$", alone, re.M)[:3] == [
        TITLE,
        "Is there a backdoor?",
        "Networks without a backdoor",
    ]
    assert "found in 0 of 1 without one." in alone


def test_variants_stand_above_the_strategy_on_the_same_networks():
    text = shown(
        *(cell(attack=attack, seed=seed) for attack in ("patch", "warp") for seed in (0, 1)),
        cell(seed=0, metrics=FAILS, more=MASK),
        cell("answer", "blend", 0, FAILS, more={"prune.frac": "0.1"}),
        *(cell("lab", seed=seed, metrics=FAILS) for seed in (0, 1)),
        cell("lab", seed=0, more={"prune.frac": "0.1"}),
    )
    found = table(text, "What was tried beside it")
    assert list(found)[1:] == [
        "answer, prune.frac=0.1",
        "answer, repair.unlearn.by=[mask]",
        "answer, on the same",
        "lab, prune.frac=0.1",
        "lab, on the same",
    ]
    assert found["answer, repair.unlearn.by=[mask]"][:2] == ["0 of 1", "0 of 1"]
    assert found["answer, on the same"][:2] == ["1 of 1", "1 of 1"]
    assert found["lab, prune.frac=0.1"][:2] == ["1 of 1", "1 of 1"]
    assert found["lab, on the same"][:2] == ["0 of 1", "0 of 1"]
    assert list(table(text, TITLE, 1)) == ["strategy", "answer", "lab"]
    assert table(text, "Every strategy on signs")["strategy"] == ["patch", "warp"]


def test_skipped_cells_are_told_with_why():
    why = {"metrics": {}, "status": "SKIPPED", "error": "this order needs BN."}
    text = shown(cell(), cell("clp", **why), cell("clp", seed=1, **why))
    assert "\n\nSkipped: `clp` (2 cells): this order needs BN.\n\n" in text
    assert "clp" not in table(text, TITLE, 1)


def test_networks_on_which_strategies_do_not_compare_are_named():
    same = cell(network_digest="a"), cell("lab", network_digest="a")
    assert "Not the same B" not in shown(*same)
    text = shown(*same, cell("clp", network_digest="b"), cell(seed=1, network_digest="c"))
    assert "Not the same B for all strategies: signs patch seed 0.\n" in text


def test_what_was_not_measured_is_a_dash():
    text = shown(cell(metrics={"badnet/clean_accuracy": 0.9, "repaired/clean_accuracy": 0.9}))
    row = table(text, "The answer, case by case", names=2)["signs patch"]
    assert row == ["90.00", "-", "90.00", "0.00", "-", "-", "-", "0 of 1"]
    assert table(text, TITLE, 1)["answer"][2:] == ["0.00", "-", "-"]
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
    found = table(text, TITLE, 1)
    assert found["answer"][:2] == ["1 of 2", "3 of 3"]  # blend lacks two seeds, patch none
    assert found["answer"][3] == "2.00"
    assert found["lab"][3] == "90.00"
    case = table(text, "The answer, case by case", names=2)
    assert (case["signs patch"][1], case["signs patch"][-1]) == ("99.00", "2 of 2")
    assert case["signs blend"][-1] == "1 of 1, 2 missing"
    assert "signs warp" not in case
    assert table(text, "Networks that do not count as implanted") == {
        "strategy": ["signs patch seed 2", "signs warp seed 2"],
        "answer": ["3.00 / 70.00", "-"],
        "lab": ["3.00 / 60.00", "3.00 / 70.00"],
    }
    assert "do not count" not in shown(cell())


def test_what_one_cell_measured_of_a_network_holds_for_all_strategies_on_it():
    weak = "clean accuracy too low"
    runs = tried(
        cell(metrics=rates() | TWIN, implant=weak, at=1), cell("lab", at=2), cell("lab", seed=1)
    )
    told = {(trial.strategy, trial.seed): trial.implant for trial in runs}
    assert told == {("answer", "0"): weak, ("lab", "0"): weak, ("lab", "1"): "yes"}
    assert [trial.apart for trial in runs].count(True) == 2


def test_networks_of_another_architecture_are_other_networks():
    vgg = {"badnet.architecture": "vgg"}
    deepid = {"badnet.architecture": "deepid"}
    runs = tried(cell(), cell(more=vgg), cell(seed=1, more=deepid))
    assert [(trial.case, trial.architecture) for trial in runs] == [
        *[("signs", "deepid")] * 2,
        ("signs, vgg", "vgg"),
    ]
    theirs = cell(more={"badnet": "file", "badnet.architecture": "None"})
    assert [(trial.case, trial.architecture) for trial in tried(theirs)] == [("signs", "")]


def test_signs_are_counted_in_networks_that_count():
    weak = judged(1) | {"badnet/attack_success_rate": 0.5}
    text = shown(cell(metrics=judged(1)), cell(seed=1, metrics=weak), cell(more=CLEAN))
    assert "Signs of one are found in 1 of 1 networks with a backdoor." in text


def test_time_is_told_without_the_training_of_b_and_of_its_twin():
    text = shown(cell(metrics=rates() | {"time/twin": 25.0}))
    assert table(text, TITLE, 1)["answer"][-1] == "15"


def test_what_a_defender_has_is_told_where_it_is_not_as_usual():
    changed = {"data.valid_changed": "blurred", "data.valid_per_class": "None"}
    usual = {"data.valid_changed": "None", "data.valid_per_class": "None"}
    assert names(cell(), cell(seed=1, more=usual), cell(seed=2, more=changed)) == [
        "answer",
        "answer",
        "answer, data.valid_changed=blurred",
    ]


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
    written, *not_written = capsys.readouterr().out.splitlines()
    assert written == f"Written: {folder / 'answer.md'}"
    assert [line.partition(": no finished cell")[0] for line in not_written] == [
        f"Not written: {folder / name}" for name in ("detectors.md", "strategies.md")
    ]
    assert (folder / "strategies.md").read_text() == "of another machine"
    text = (folder / "answer.md").read_text()
    assert table(text, TITLE, 1)["answer"][:2] == ["0 of 1", "0 of 1"]
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
        assert table(shown(*ours, other), TITLE, 1)["answer"][0] == "1 of 1"


def test_a_cell_without_a_strategy_is_no_trial():
    one = cell()
    del one.data.params["strategy"]
    assert tried(one) == []
