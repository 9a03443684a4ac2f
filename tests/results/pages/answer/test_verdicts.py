"""What is said of networks from clean images alone, and what those without a backdoor lose."""

import math
import re

from answers import CLEAN, FAILS, MASK, cell, given, judged, rates, shown
from runs import table

from sweep.results.pages.answer.page import TITLE


def test_verdicts_are_counted_with_a_backdoor_and_without():
    text = shown(
        cell(seed=0, metrics=judged(1)),
        cell(seed=1, metrics=judged(2)),
        cell(attack="warp", seed=0, metrics=judged(0)),
        cell(attack="warp", seed=1, metrics=judged(0)),
        cell(attack="blend", seed=0),  # nothing could be said
        cell("lab", attack="blend", seed=1, metrics=judged(0), at=1),
        cell(attack="warp", seed=2, metrics=rates() | {"inspect/suspects": 1.0}),  # an old one
        cell("answer", attack="blend", seed=1, metrics=judged(1), at=3),  # the newest counts
        cell("answer", attack="blend", seed=1, more=MASK, metrics=judged(0), at=2),
        cell(seed=0, more=CLEAN, metrics=judged(1)),
        cell(seed=1, more=CLEAN, metrics=judged(0)),
    )
    heading = "Is there a backdoor?"
    said = "in 3 of 5 networks with a backdoor, and in 1 of 2 without one."
    assert f"Signs of one are found with all images {said}" in " ".join(text.split())
    assert table(text, heading, names=2) == {
        "images attack": ["signs found", "classes that stand out", "probability", "AUROC"],
        "signs patch": ["2 of 2", "1.5 (1-2)", "0.90", "0.750"],
        "signs blend": ["1 of 1", "1", "0.90", "0.750"],
        "signs warp": ["0 of 2", "0", "0.20", "0.250"],
        "all no attack": ["1 of 2", "0.5 (0-1)", "0.55 (0.20-0.90)", "-"],
    }
    told = " ".join(text.split(heading)[1].split())
    assert "They are told apart with all images with an AUROC of 0.550 (" in told
    loss = -(3 * math.log(0.9) + 2 * math.log(0.2) + math.log(0.1) + math.log(0.8)) / 7
    assert f"a cross-entropy of {loss:.2f} nats." in told


def test_networks_without_a_backdoor_stand_apart():
    harmless = judged(0, lost=0.02, left=0.001) | {"badnet/attack_success_rate": 0.002}
    text = shown(
        cell(metrics=FAILS),
        cell(metrics=harmless, more=CLEAN, seed=0),
        cell(metrics=harmless | {"inspect/suspects": 2.0}, more=CLEAN, seed=1),
        cell("lab", metrics=rates(lost=0.02) | {"badnet/attack_success_rate": 0.002}, more=CLEAN),
    )
    found = table(text, "Networks without a backdoor", names=2)
    told = ["95.00", "0.20", "93.00", "2.00", "1.50"]
    assert found["images strategy"][-1] == "false signs"
    assert found["signs answer"] == ["2", *told, "1 of 2"]
    assert found["signs lab"] == ["1", *told, "-"]
    assert list(table(text, TITLE, 1, names=2))[1:] == ["all answer"]
    alone = shown(cell(more=CLEAN, metrics=judged(0)))
    assert re.findall("^#+ (.*)$", alone, re.M)[:3] == [
        TITLE,
        "Is there a backdoor?",
        "Networks without a backdoor",
    ]
    assert "found with all images in 0 of 1 without one." in alone


def test_signs_are_counted_in_networks_that_count():
    weak = judged(1) | {"badnet/attack_success_rate": 0.5}
    text = shown(cell(metrics=judged(1)), cell(seed=1, metrics=weak), cell(more=CLEAN))
    assert "Signs of one are found with all images in 1 of 1 networks with a backdoor." in text


def test_verdicts_and_what_is_lost_are_told_by_budget():
    text = shown(
        *(cell(more=given(images), metrics=judged(1)) for images in (270, 1300)),
        cell(more=given(270), seed=1, metrics=judged(0)),
        cell(more=given(270) | CLEAN, metrics=judged(1, lost=0.03)),
        cell(more=given(270) | CLEAN, seed=1, metrics=judged(0, lost=0.01)),
        cell(more=given(1300) | CLEAN, metrics=judged(0, lost=-0.01)),
    )
    said = text.split("# Is there a backdoor?\n\n")[1].split("\n\nAUROC")[0]
    assert said.splitlines() == [
        "Signs of one are found",
        "",
        "- with 1300 images in 1 of 1 networks with a backdoor, and in 0 of 1 without one.",
        "- with 270 images in 1 of 2 networks with a backdoor, and in 1 of 2 without one.",
    ]
    found = table(text, "Networks without a backdoor", names=2)
    rows = {name: (row[0], row[4], row[-1]) for name, row in found.items()}
    assert rows == {
        "images strategy": ("networks", "points lost", "false signs"),
        "signs, 1300 images answer": ("1", "-1.00", "0 of 1"),
        "signs, 270 images answer": ("2", "2.00 (1.00 to 3.00)", "1 of 2"),
    }


def test_a_verdict_from_images_of_another_kind_does_not_take_the_place_of_one():
    blurred = {"data.valid_changed": "blurred"}
    usual = [cell(metrics=judged(1), at=1), cell(seed=1, at=1)]
    changed = [cell(seed=seed, metrics=judged(0), more=blurred, at=2) for seed in (0, 1)]
    text = shown(*usual, *changed, cell(seed=2))
    assert "found with all images in 1 of 2 networks with a backdoor." in text
