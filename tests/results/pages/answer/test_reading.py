"""Cells of whole strategies: which count, what they are called, what is known of networks."""

import random

from answers import CLEAN, MASK, SWEEP, cell, given, judged, rates, tried
from mlflow.entities import Run
from runs import COMMAND, parent

from sweep.results.pages.answer.reading import newest_strategy_runs

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
    more = {"repair": "[unlearn,shrink]", "repair.shrink._target_": "x"}
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
        "answer, repair=[unlearn,shrink]",
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


def test_the_kind_of_clean_images_is_told_where_it_is_not_as_usual():
    changed = {"data.valid_changed": "blurred", "data.valid_per_class": "None"}
    usual = {"data.valid_changed": "None", "data.valid_per_class": "None"}
    assert names(cell(), cell(seed=1, more=usual), cell(seed=2, more=changed)) == [
        "answer",
        "answer",
        "answer, data.valid_changed=blurred",
    ]


def test_a_cell_without_a_strategy_is_no_trial():
    one = cell()
    del one.data.params["strategy"]
    assert tried(one) == []


def test_what_one_cell_measured_of_a_network_holds_for_all_strategies_on_it():
    weak, twin = "clean accuracy too low", {"twin/clean_accuracy": 0.96}
    runs = tried(
        cell(metrics=rates() | twin, implant=weak, at=1), cell("lab", at=2), cell("lab", seed=1)
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


# Budgets


def test_a_budget_is_part_of_the_case_and_not_of_the_network():
    runs = tried(
        cell(more=given(270)),
        cell(more={"data.valid_per_class": "10", "data.valid_at_most": "4000"}),
        cell(more=given(1300)),
        cell(more=given(4000)),
        cell("lab"),
        cell(more={"data.valid_images": "500"}),
        cell(attack="blend", more=given(1300, **{"badnet.architecture": "vgg"})),
    )
    assert [(each.name, each.budget, each.case) for each in runs] == [
        ("answer", "all", "signs"),
        ("lab", "all", "signs"),
        ("answer", "1300", "signs, 1300 images"),
        ("answer", "500", "signs, 500 images"),
        ("answer", "270", "signs, 270 images"),
        ("answer", "10 a class", "signs, 10 images a class"),
        ("answer", "1300", "signs, vgg, 1300 images"),
    ]
    assert len({each.network for each in runs}) == 2
    assert runs[0].task == runs[1].task
    assert runs[0].task != runs[2].task


def test_a_number_that_limits_nothing_is_no_budget():
    def budgets(*given_and_had: tuple[int | None, int | None]) -> list[str]:
        cells = [
            cell(
                seed=seed,
                more={} if asked is None else given(asked),
                **({} if had is None else {"images_valid": str(had)}),
            )
            for seed, (asked, had) in enumerate(given_and_had)
        ]
        by_seed = {each.seed: each.budget for each in tried(*cells)}
        return [by_seed[str(seed)] for seed in range(len(cells))]

    assert budgets((3000, 3000), (1300, 1300)) == ["3000", "1300"]  # of how many nobody knows
    assert budgets((3000, 3000), (4000, 3000)) == ["all", "all"]
    assert budgets((3000, 3000), (None, 3000), (1300, 1300)) == ["all", "all", "1300"]
    assert budgets((3000, 3000), (None, 5900), (4000, 4000)) == ["3000", "all", "all"]
    assert budgets((3000, 1800)) == ["all"]
    assert budgets((None, 3000), (3000, None)) == ["all", "all"]  # a cell that was skipped


def test_equal_cells_are_equal_with_one_budget_alone():
    runs = tried(
        *(cell(more=given(images), at=at) for at, images in enumerate((270, 1300, 1300))),
        cell(more={"data.valid_per_class": "10"}, at=4),
    )
    found = [(each.budget, each.cell.info.start_time) for each in runs]
    assert found == [("1300", 2), ("270", 0), ("10 a class", 4)]


def test_a_verdict_and_probes_are_those_of_the_newest_equal_cell_that_has_them():
    probed = rates() | {"relearn/5/attack_success_rate": 0.5}
    (found,) = tried(
        cell(metrics=judged(1), at=0),
        cell(metrics=judged(0), at=1),
        cell(metrics=probed | {"dose/1/attack_success_rate": 0.5}, at=2),
        cell(metrics=probed, at=3),
        cell(at=4),
    )
    times = [each.info.start_time for each in (found.cell, found.judged, found.probed)]
    assert times == [4, 1, 2]
    assert found.has_signs is False
    other, same = tried(cell(metrics=judged(1), more=given(270)), cell())
    assert (other.has_signs, same.has_signs) == (None, True)  # each budget has its own


def test_the_ledger_of_a_network_is_one_for_all_budgets():
    twin = {"twin/clean_accuracy": 0.99}
    runs = tried(cell(metrics=rates() | twin), cell(more=given(270)))
    assert [each.apart for each in runs] == [True, True]
