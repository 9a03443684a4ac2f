"""How far strategies reach the aim, with each budget; variants beside them."""

from itertools import product

import pytest
from answers import FAILS, MASK, cell, given, rates, shown, tried
from runs import table

from sweep.results.pages.answer.page import TITLE

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
    found = table(text, TITLE, 1, names=2)
    assert list(found.items()) == [
        (
            "clean images strategy",
            ["implants", "reached", "in %", "points lost", "B' ASR", "time in s"],
        ),
        ("all answer", ["4", "3", "75.00", "0.75 (-1.00 to 2.00)", "4.50 (2.00-6.00)", "40"]),
        ("all oracle †", ["2", "2", "100.0", "1.00", "2.00", "40"]),
        ("all clp", ["1", "0", "0.00", "1.00", "50.00", "40"]),
        ("all lab", ["4", "0", "0.00", "1.00", "90.00", "40"]),
    ]
    said = (
        "`answer` reaches it with all images in 3 of 4 implants (75.00 %): by B' in 2, by G in 3."
    )
    assert said in text.replace("\n", " ")
    aim = "ASR of at most 5 % at a clean test accuracy at most 2 points below B's: for B', or for G"
    assert aim in text.replace("\n", " ")


def test_variants_stand_above_the_strategy_on_the_same_networks():
    text = shown(
        *(cell(attack=attack, seed=seed) for attack in ("patch", "warp") for seed in (0, 1)),
        cell(seed=0, metrics=FAILS, more=MASK),
        cell("answer", "blend", 0, FAILS, more={"prune.frac": "0.1"}),
        *(cell("lab", seed=seed, metrics=FAILS) for seed in (0, 1)),
        cell("lab", seed=0, more={"prune.frac": "0.1"}),
    )
    found = table(text, "What was tried beside it", names=2)
    assert list(found)[1:] == [
        "all answer, prune.frac=0.1",
        "all answer, repair.unlearn.by=[mask]",
        "all answer, on the same",
        "all lab, prune.frac=0.1",
        "all lab, on the same",
    ]
    assert found["all answer, repair.unlearn.by=[mask]"][:2] == ["1", "0"]
    assert found["all answer, on the same"][:2] == ["1", "1"]
    assert found["all lab, prune.frac=0.1"][:2] == ["1", "1"]
    assert found["all lab, on the same"][:2] == ["1", "0"]
    assert list(table(text, TITLE, 1, names=2))[1:] == ["all answer", "all lab"]
    assert table(text, "Every strategy on signs")["strategy"] == ["patch", "warp"]


def test_networks_on_which_strategies_do_not_compare_are_named():
    same = cell(network_digest="a"), cell("lab", network_digest="a")
    assert "Not the same B" not in shown(*same)
    text = shown(*same, cell("clp", network_digest="b"), cell(seed=1, network_digest="c"))
    assert "Not the same B for all strategies: signs patch seed 0.\n" in text


def test_time_is_told_without_the_training_of_b_and_of_its_twin():
    text = shown(cell(metrics=rates() | {"time/twin": 25.0}))
    assert table(text, TITLE, 1, names=2)["all answer"][-1] == "15"


def test_the_aim_is_told_by_budget_the_larger_first_beside_ft_sam_on_the_same():
    per_class = {"data.valid_per_class": "10"}
    text = shown(
        *(cell("ft_sam", seed=seed, metrics=FAILS, more=given(270)) for seed in (0, 1)),
        cell("ft_sam", metrics=rates(lost=0.02, left=0.3), more=given(1300)),
        cell(more=given(270), metrics=rates(lost=0.01)),  # ahead: as accurate, less success
        cell(more=given(270), seed=1, metrics=rates(lost=0.011)),  # less accurate
        cell(more=given(270), seed=2, metrics=rates(lost=0.05, passed=0.9)),  # alone
        cell(more=given(1300), metrics=rates(lost=0.02, left=0.3)),  # no less success
        cell(more=per_class),
    )
    found = table(text, TITLE, 1, names=2)
    assert list(found)[1:] == [
        "1300 answer",
        "1300 ft_sam",
        "270 answer",
        "270 ft_sam",
        "10 a class answer",
    ]
    ahead = found["clean images strategy"].index("ahead of ft_sam")
    assert [row[ahead] for row in list(found.values())[1:]] == ["0 of 1", "-", "1 of 2", "-", "-"]
    assert found["270 answer"][:3] == ["3", "2", "66.67"]
    said = " ".join(text.split())
    assert (
        "- with 270 images in 2 of 3 implants (66.67 %): by B' in 2, by G in 2; in the mean over "
        "those (2) that `ft_sam` was tried on too, ASR 2.00 against 90.00 %, points lost 1.05 "
        "against 1.00. - with 10 images a class in 1 of 1 implants (100.0 %): by B' in 1, by G in "
        "1."
    ) in said
    assert "`answer` reaches it - with 1300 images in 1 of 1 implants" in said


def test_networks_and_their_ledger_are_counted_once_for_all_budgets():
    text = shown(
        cell(images_valid="3000"),
        cell(more=given(270), images_valid="270"),
        cell(more={"data.valid_per_class": "10"}, images_valid="430"),
    )
    head = table(text, TITLE)
    assert head["clean images"] == ["all (3000), 270, 10 a class (430)"]
    assert (head["networks B"], head["cells"]) == (["1"], ["3"])
    assert "1 of 1 networks do;" in " ".join(text.split())
    found = table(text, "The answer, case by case", names=2)
    assert list(found)[1:] == [
        "signs patch",
        "signs, 270 images patch",
        "signs, 10 images a class patch",
    ]
    assert table(text, "Every strategy on signs, 270 images")["answer"] == ["**1.00 / 2.00**"]


def test_the_seeds_that_a_case_lacks_are_those_of_its_budget():
    cells = [cell(seed=seed) for seed in (0, 1)]
    text = shown(*cells, cell(more=given(270)), cell("lab", seed=1, more=given(270)))
    found = table(text, "The answer, case by case", names=2)
    assert found["signs, 270 images patch"][-1] == "1 of 1"
    assert table(text, "Every strategy on signs, 270 images")["lab"] == ["1.00 / 2.00"]


def test_variants_stand_above_the_strategy_with_the_same_budget_once_for_several():
    def share(value: str, images: int, **more):
        return cell(more=given(images, **{"repair.unlearn.share": value}), **more)

    text = shown(
        *(share("0.6", images, seed=seed) for images in (1300, 270) for seed in (0, 1, 2)),
        share("0.6", 270, seed=3, metrics=FAILS),
        *(share(value, 270, metrics=rates(left=0.04)) for value in ("0.3", "1.2")),
        share("0.3", 1300, metrics=FAILS),
        cell(more=given(270, **{"repair.unlearn.share": "0.6", "data.valid_changed": "blurred"})),
    )
    rows = text.split("# What was tried beside it\n")[1].split("\n\n")[1].splitlines()
    assert [row.split(" | ")[:4] for row in rows[2:]] == [
        ["| 1300", "answer, repair.unlearn.share=0.3", "1", "0"],
        ["| 1300", "answer, on the same", "1", "1"],
        ["| 270", "answer, data.valid_changed=blurred", "1", "1"],
        ["| 270", "answer, repair.unlearn.share=0.3", "1", "1"],
        ["| 270", "answer, repair.unlearn.share=1.2", "1", "1"],
        ["| 270", "answer, on the same", "1", "1"],
    ]
    assert table(text, TITLE, 1, names=2)["270 answer"][:2] == ["4", "3"]
