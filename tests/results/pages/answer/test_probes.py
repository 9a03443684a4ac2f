"""What probes found: beside the twin, and at each dose, by budget and strategy."""

import pytest
from answers import cell, given, rates, shown
from runs import table

from sweep.results.pages.answer.page import TITLE

HEADS = [f"{number}: {what}" for number in (5, 50) for what in ("B' ASR", "twin ASR", "ahead")]


def relearned(few: float, many: float, twin: tuple[float, float] | None = (0.01, 0.1)):
    """The metrics of a cell with `probe=[relearn]`: ASR with 5 and with 50 poisoned images."""
    told = {"relearn/5/attack_success_rate": few, "relearn/50/attack_success_rate": many}
    told |= {"relearn/5/clean_accuracy": 0.9, "relearn/50/clean_accuracy": 0.9}
    for number, rate in zip((5, 50), twin or (), strict=False):
        told[f"relearn/twin/{number}/attack_success_rate"] = rate
    return rates() | told


def dosed(weak: float, whole: float, of_b: float = 0.6):
    """The metrics of a cell with `probe=[dose]`: ASR at half the dose, at all of it and more."""
    told = {"0.5": weak, "1": whole, "1.5": 1.0}
    named = {f"dose/{dose}/attack_success_rate": rate for dose, rate in told.items()}
    return rates() | named | {"dose/badnet/0.5/attack_success_rate": of_b}


def test_relearning_is_told_beside_the_twin_and_counted_up_to_ten_points():
    text = shown(
        cell(metrics=relearned(0.11, 0.2)),  # at most 10 points ahead, at the edge
        cell(seed=1, metrics=relearned(0.2, 0.05)),
        cell(seed=2),
        cell(attack="blend", metrics=relearned(0.01, 0.5, twin=None)),
        cell("ft_sam", metrics=relearned(0.91, 0.9)),
        cell(more=given(270), metrics=relearned(0.3, 0.4)),
    )
    found = table(text, "Relearning", names=2)
    heads = found["clean images strategy"]
    assert heads == [
        *("networks", *HEADS[:3], "5: at most 10"),
        *(*HEADS[3:], "50: at most 10"),
    ]
    assert found["all answer"] == [
        *("3", "10.67", "1.00", "14.50 (10.00 to 19.00)", "1 of 2"),
        *("25.00", "10.00", "2.50 (-5.00 to 10.00)", "2 of 2"),
    ]
    assert found["all ft_sam"][:5] == ["1", "91.00", "1.00", "90.00", "0 of 1"]
    assert found["270 answer"][:4] == ["1", "30.00", "1.00", "29.00"]
    by_case = table(text, "Relearning", 1, names=2)
    assert by_case["images attack"] == heads
    assert by_case["signs patch"][:4] == ["2", "15.50", "1.00", "14.50 (10.00 to 19.00)"]
    assert by_case["signs blend"][:5] == ["1", "1.00", "-", "-", "-"]
    assert list(by_case)[-1] == "signs, 270 images patch"


def test_doses_are_told_for_b_and_what_strategies_make_of_it():
    text = shown(
        cell(metrics=dosed(0.1, 0.2)),
        cell(seed=1, metrics=dosed(0.3, 0.2, of_b=0.8)),
        cell("ft_sam", metrics=dosed(0.5, 0.7)),
        cell("lab"),
        cell(more=given(270), metrics=dosed(0.4, 0.4, of_b=0.6)),
    )
    assert table(text, "Dose", names=2) == {
        "clean images strategy": ["networks", "0.5", "1", "1.5"],
        "all B": ["2", "70.00", "-", "-"],
        "all answer": ["2", "20.00", "20.00", "100.0"],
        "all ft_sam": ["1", "50.00", "70.00", "100.0"],
        "270 B": ["1", "60.00", "-", "-"],
        "270 answer": ["1", "40.00", "40.00", "100.0"],
    }


@pytest.mark.parametrize("metrics", [rates(), dosed(0, 0), relearned(0, 0)])
def test_what_was_not_probed_has_no_section(metrics):
    text = shown(cell(metrics=metrics))
    assert ("\n## Dose\n" in text) == ("dose/1/attack_success_rate" in metrics)
    assert ("\n## Relearning\n" in text) == ("relearn/5/attack_success_rate" in metrics)


def test_networks_that_the_attack_did_not_take_hold_of_are_not_probed():
    weak = relearned(0.9, 0.9) | dosed(0.9, 0.9) | {"badnet/attack_success_rate": 0.5}
    text = shown(cell(metrics=weak))
    assert "Relearning" not in text
    assert "## Dose" not in text


def test_time_is_told_without_probes():
    probed = dosed(0, 0) | {"time/probe": 14.6}
    found = table(shown(cell(metrics=probed), cell("lab")), TITLE, 1, names=2)
    assert {name: row[-1] for name, row in found.items()} == {
        "clean images strategy": "time in s",
        "all answer": "25",
        "all lab": "40",
    }
