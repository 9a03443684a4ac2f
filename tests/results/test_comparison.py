"""The cells of a sweep side by side: rows from runs, CSV, a table of 80 columns, the figures."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from mlflow.entities import Metric, Run, RunData, RunInfo, RunTag

from sweep import terminal
from sweep.evaluation.detection import auroc_interval
from sweep.results import cells, comparison
from sweep.results.cells import (
    MISSING,
    Cell,
    Group,
    distinct_values,
    distinguishing_keys,
    groups,
)
from sweep.results.comparison import print_comparison, print_published, to_csv
from sweep.results.comparison import table as table_module
from sweep.results.figures import sweep, tradeoffs

# the lab's sweep as it was published: fraction, channels, B' valid, clean, ASR, G clean, ASR, det.
LAB = {
    "0.02": (45, 0.9576, 0.9590, 1.0, 0.9574, 1.0, 0.0),
    "0.04": (48, 0.9209, 0.9229, 0.9998, 0.9212, 0.9998, 2 / 12830),
    "0.1": (52, 0.8444, 0.8454, 0.7721, 0.8433, 0.7721, 2924 / 12830),
}
B = {
    "badnet/valid_accuracy": 0.98649,
    "badnet/clean_accuracy": 0.98620,
    "badnet/attack_success_rate": 1.0,
}
NAMES = ["prune/channels", *(name for name, _ in comparison.COLUMNS[:-1])]


def run(job: int, metrics: Mapping[str, float], ended: str = "FINISHED", **tags: str) -> Run:
    """A run as MLflow gives it back."""
    numbers = [Metric(name, value, 0, 0) for name, value in metrics.items()]
    words = [RunTag(name, value) for name, value in {"job": str(job), **tags}.items()]
    info = RunInfo(f"run{job}", "1", "somebody", ended, 0, 1, "active", "file:///nowhere")
    return Run(info, RunData(metrics=numbers, tags=words))


def cells_of(
    overrides: Sequence[Sequence[str]], runs: Sequence[Run], reused: Mapping[int, Run] | None = None
) -> list[Cell]:
    """The cells of a sweep whose own runs these are."""
    return cells.cells_of(overrides, cells.by_number(runs), reused or {})


def lab() -> list[Cell]:
    cells = [[f"prune.frac={frac}"] for frac in LAB]
    measured = [B | dict(zip(NAMES, numbers, strict=True)) for numbers in LAB.values()]
    return cells_of(cells, [run(job, metrics) for job, metrics in enumerate(measured)])


def unwell() -> list[Cell]:
    """One cell that ended well, one skipped, one failed, one that left nothing."""
    cells = [[f"prune/order={order}"] for order in ("random", "bnp", "l1_norm", "mean_activation")]
    return cells_of(
        cells,
        [
            run(2, {}, "FAILED", error="ValueError: it broke"),
            run(1, {}, status="SKIPPED", error="this order needs BN"),
            run(0, B | {"prune/channels": 7, "repaired/valid_accuracy": 0.5}),
        ],
    )


@pytest.fixture
def printed(capsys, monkeypatch):
    """Call with rows: the lines that `show` prints on a terminal of 80 columns."""
    monkeypatch.setattr(terminal.console, "width", 80)

    def lines(call, *arguments) -> list[str]:
        call(*arguments)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines


def test_rows_stand_in_the_order_of_the_cells_with_what_their_runs_left():
    table = unwell()
    assert [row.job for row in table] == [0, 1, 2, 3]
    assert [row.run_id for row in table] == ["run0", "run1", "run2", ""]
    assert [row.status for row in table] == ["FINISHED", "SKIPPED", "FAILED", MISSING]
    assert [row.error for row in table] == [
        "",
        "this order needs BN",
        "ValueError: it broke",
        "the cell left no run",
    ]
    assert table[0].metrics["repaired/valid_accuracy"] == 0.5
    assert not table[3].metrics


def test_overrides_are_read_with_their_plus_signs_and_further_equal_signs():
    (row,) = cells_of([["+data.root=/a=b", "++prune.frac=0.1", "prune/order=random"]], [])
    assert row.overrides == {"data.root": "/a=b", "prune.frac": "0.1", "prune/order": "random"}


def test_a_cell_may_delete_a_key_as_hydra_allows():
    (row,) = cells_of([["~data.seed", "prune.frac=0.1"]], [])
    assert row.overrides["prune.frac"] == "0.1"


@pytest.mark.parametrize(
    ("cells", "apart"),
    [
        ([["a=1", "b=1"], ["a=1", "b=2"]], ["b"]),
        ([["a=1", "b=1"], ["a=2", "b=2"]], ["a", "b"]),
        ([["a=1"], ["a=1", "b=2"]], ["b"]),
        ([["a=1", "b=1"], ["a=1", "b=1"]], ["a", "b"]),
        ([["a=1"]], ["a"]),
        ([[]], []),
    ],
)
def test_the_varying_overrides_tell_the_cells_apart_or_are_all_of_them(cells, apart):
    assert distinguishing_keys(cells_of(cells, [])) == apart


def test_the_values_of_an_override_stand_once_each_in_the_order_of_the_cells():
    table = cells_of([["a=2", "b=x"], ["a=1"], ["a=2", "b=x"]], [])
    assert distinct_values(table, "a") == ["2", "1"]
    assert distinct_values(table, "b") == ["x", ""]


def test_the_csv_holds_every_cell_override_and_metric_but_no_curve():
    cells = [["a=1", "b=x,y"], ["a=2"], ["a=3"]]
    left = [
        run(1, {}, "FAILED", error='it said "no",\nthen ended'),
        run(0, {"b/rate": 0.1, "a/rate": 1 / 3, "curve/rate": 0.5}, threat_model="oracle"),
    ]
    reused = {2: run(7, {"a/rate": 0.5})}
    head, *table = csv.reader(StringIO(to_csv(cells_of(cells, left, reused)), newline=""))
    assert head[:6] == ["job", "run_id", "status", "reused", "implant", "threat_model"]
    assert head[6:] == ["a", "b", "a/rate", "b/rate", "error"]
    assert table == [
        ["0", "run0", "FINISHED", "false", "", "oracle", "1", "x,y", repr(1 / 3), "0.1", ""],
        ["1", "run1", "FAILED", "false", "", "", "2", "", "", "", 'it said "no",\nthen ended'],
        ["2", "run7", "FINISHED", "true", "", "", "3", "", "0.5", "", ""],
    ]


def test_the_csv_of_cells_without_any_metrics_still_names_them():
    assert to_csv(cells_of([["a=1"], ["a=2"]], [])) == (
        "job,run_id,status,reused,implant,threat_model,a,error\n"
        "0,,MISSING,false,,,1,the cell left no run\n"
        "1,,MISSING,false,,,2,the cell left no run\n"
    )


def test_the_labs_table_has_every_number_whole_in_80_columns(printed):
    lines = printed(print_comparison, lab())
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    for frac, (channels, *rates) in LAB.items():
        shown = [terminal.percent(rate) for rate in rates]
        assert [frac, str(channels), *shown, "-"] in words
    assert ["B", "0", "98.65", "98.62", "100.0"] in words


def test_a_table_of_many_settings_fits_80_columns_too(printed):
    cells = [
        [f"prune/order={order}", f"prune.layer={layer}", f"prune.frac={frac}"]
        for order in ("mean_activation", "l1_norm")
        for layer in ("conv_2", "conv_3")
        for frac in (0.02, 0.04)
    ]
    metrics = B | dict(zip(NAMES, LAB["0.1"], strict=True))
    left = [run(job, metrics) for job in range(1, len(cells))]
    assert max(map(len, printed(print_comparison, cells_of(cells, left)))) <= 80


def test_cells_that_did_not_end_well_show_their_status_and_then_a_sentence_each(printed):
    lines = printed(print_comparison, unwell())
    words = [line.split() for line in lines]
    assert max(map(len, lines)) <= 80
    assert ["random", "7", "50.00", *"------"] in words
    for cell in (["bnp", "SKIPPED"], ["l1_norm", "FAILED"], ["mean_activation", MISSING]):
        assert [*cell, *"-------"] in words
    assert "cell 1 SKIPPED: this order needs BN" in lines
    assert "cell 2 FAILED: ValueError: it broke" in lines
    assert "cell 3 MISSING: the cell left no run" in lines


def test_a_cell_alone_is_a_line_for_b_repaired_whatever_its_overrides(printed):
    for cell in ([], ["prune.frac=0.02", "seed=1"]):
        metrics = B | dict(zip(NAMES, LAB["0.02"], strict=True))
        words = [
            line.split() for line in printed(print_comparison, cells_of([cell], [run(0, metrics)]))
        ]
        assert ["B", "0", "98.65", "98.62", "100.0"] in words
        rates = ["95.76", "95.90", "100.0", "95.74", "100.0", "0.00", "-"]
        assert ["B'", "45", *rates] in words


def test_cells_without_any_metrics_are_dashes_without_a_line_for_b(printed):
    words = [line.split() for line in printed(print_comparison, cells_of([["a=1"], ["a=2"]], []))]
    assert ["1", MISSING, *"-------"] in words
    assert not any(line[:1] == ["B"] for line in words)


def test_b_has_no_line_where_it_differs_from_cell_to_cell(printed):
    metrics = [B, B | {"badnet/clean_accuracy": 0.5}]
    cells = [["badnet.path=one.h5"], ["badnet.path=other.h5"]]
    table = cells_of(cells, [run(job, measured) for job, measured in enumerate(metrics)])
    assert not any(line.split()[:1] == ["B"] for line in printed(print_comparison, table))


def test_b_keeps_its_line_though_a_cell_failed_before_it_was_measured(printed):
    cells = [["prune.frac=0.02"], ["prune.frac=0.04"]]
    table = cells_of(cells, [run(0, B), run(1, {"time/data": 1.5}, "FAILED", error="it broke")])
    words = [line.split() for line in printed(print_comparison, table)]
    assert ["B", "0", "98.65", "98.62", "100.0"] in words


@pytest.mark.parametrize("value", ["[finetune]", "[/nets/one.h5,/nets/two.h5]"])
def test_values_in_brackets_are_shown_as_they_are(printed, value):
    table = cells_of([[f"badnet.path={value}"], ["badnet.path=x"]], [])
    # a long value is folded: put its pieces, the first word of each line, together
    assert value in "".join(line.split(" ")[0] for line in printed(print_comparison, table))


@pytest.mark.parametrize(
    "cells", [[[]], [["a=1"]], [["a=1"], ["a=2"]], [["a=1", "b=1"], ["a=2", "b=2"]]]
)
@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_every_line_of_a_table_has_a_word_for_every_heading(monkeypatch, cells, status):
    tables = []
    monkeypatch.setattr(terminal, "print_table", lambda *table: tables.append(table))
    print_comparison(cells_of(cells, [run(job, B, status) for job in range(len(cells))]))
    ((heads, lines, left),) = tables
    assert len(lines) == 1 + len(cells)
    assert {len(line) for line in lines} == {len(heads)}
    assert heads[left] == "pruned"


PUBLISHED = {
    "source": "somebody's report",
    "cells": [
        {"when": {"prune.frac": 0.1}, "metrics": {"prune/channels": 52}},
        {
            "when": {"prune.frac": 0.02},
            "metrics": {"prune/channels": 44, "repaired/valid_accuracy": 0.5},
        },
        {"when": {"prune.frac": 0.02, "seed": 1}, "metrics": {"prune/channels": 1}},
    ],
}


def test_functions_of_equal_names_are_told_apart_and_one_in_place_of_a_choice_is_seen():
    keys = ("prune.order._target_=one.mine", "prune.order._target_=two.mine")
    table = cells_of([[key] for key in keys], [])
    assert [row.order for row in table] == ["one.mine", "two.mine"]
    table = cells_of([["prune/order=clp", keys[0]], ["prune/order=l1_norm", keys[0]]], [])
    assert distinct_values(table, "prune/order") == ["clp:mine", "l1_norm:mine"]
    given = [
        "attack.trigger._target_=my.frame",
        "+repair.a._target_=my.b",
        "+probe.c._target_=my.d",
    ]
    (row,) = cells_of([given], [])
    assert row.overrides == {"attack": "frame", "repair.a": "b", "probe.c": "d"}


def test_published_numbers_stand_under_the_measured_ones_of_their_cell(printed):
    lines = printed(print_published, lab(), PUBLISHED)
    words = [line.split() for line in lines]
    assert max(map(len, lines)) <= 80
    measured = [line for line in words if "here" in line]
    assert [line[:4] for line in measured] == [
        ["0.02", "here", "45", "95.76"],
        ["0.1", "here", "52", "84.44"],
    ]
    first = words.index(measured[0])
    assert words[first + 1] == ["publ.", "44", "50.00", *"------"]
    assert sum("somebody's report" in line for line in lines) == 1


def test_nothing_is_printed_where_nothing_was_published_of_these_cells(printed):
    assert printed(print_published, cells_of([["prune.frac=0.3"]], []), PUBLISHED) == []


def test_a_stop_that_was_never_reached_is_marked(capsys):
    metrics = {"prune/channels": 59.0, "repaired/clean_accuracy": 0.1}
    cells = [
        Cell(0, {"prune.frac": "0.1"}, "a", "FINISHED", metrics, "", stop_reached=False),
        Cell(1, {"prune.frac": "0.2"}, "b", "FINISHED", metrics, ""),
    ]
    comparison.print_comparison(cells)
    printed = capsys.readouterr().out
    assert "59*" in printed
    assert "* The stop's criterion was never met." in printed
    comparison.print_comparison(cells[1:])
    assert "*" not in capsys.readouterr().out


# Networks that the attack did not take hold of


WEAK = B | {"badnet/attack_success_rate": 0.6, "repaired/attack_success_rate": 0.5}
TWIN = {"twin/clean_accuracy": 0.9871, "twin/attack_success_rate": 0.0123}


def attacked(*measured: Mapping[str, float], seeds: bool = False, **tags: str) -> list[Cell]:
    """A cell for each of these, of an attack or of a seed of its own."""
    key = "seed" if seeds else "attack"
    cells = [[f"{key}={n}"] for n in range(len(measured))]
    return cells_of(cells, [run(n, values, **tags) for n, values in enumerate(measured)])


def test_cells_that_the_attack_did_not_take_hold_in_stand_apart_and_are_told_with_why(printed):
    lines = printed(print_comparison, attacked(B, WEAK, B, WEAK))
    assert max(map(len, lines)) <= 80
    place = lines.index("Apart, since the attack did not take hold of B there:")
    before, after = ([line.split()[:1] for line in part] for part in (lines[:place], lines[place:]))
    assert [word for word in ("0", "1", "2", "3") if [word] in before] == ["0", "2"]
    assert [word for word in ("0", "1", "2", "3") if [word] in after] == ["1", "3"]
    assert [line.split() for line in lines].count(["B", "0", "98.65", "98.62", "100.0"]) == 1
    assert ["B", "0", "98.65", "98.62", "60.00"] in [line.split() for line in lines[place:]]
    assert "The attack did not take hold of B in cells 1, 3: ASR 60.00 %, below 85 %." in lines


def test_where_no_cell_counts_there_is_one_table_and_where_all_do_nothing_is_said(printed):
    lines = printed(print_comparison, attacked(WEAK, WEAK))
    assert not any(line.startswith("Apart") for line in lines)
    assert sum(line.startswith("attack") for line in lines) == 1
    assert "The attack did not take hold of B in cells 0-1: ASR 60.00 %, below 85 %." in lines
    assert "take hold" not in " ".join(printed(print_comparison, attacked(B, B)))
    (alone,) = printed(print_comparison, cells_of([[]], [run(0, WEAK)]))[-1:]
    assert alone == "The attack did not take hold of B: ASR 60.00 %, below 85 %."


def test_seeds_of_which_one_did_not_take_are_not_averaged(printed):
    found = [B | {"repaired/clean_accuracy": rate} for rate in (0.5, 0.6)]
    table = attacked(*found, WEAK, seeds=True)
    words = [line.split() for line in printed(print_comparison, table)]
    assert ["2", "-", "-", "55.00", *"-----"] in words
    assert ["1", "-", "-", "-", "50.00", *"----"] in words


def test_what_the_run_says_of_its_implant_stands_before_its_attack_success_and_in_the_csv():
    table = attacked(B | TWIN, implant="too little")
    assert [cell.apart for cell in table] == [True]
    table += attacked(B)
    rows = list(csv.DictReader(StringIO(to_csv(table))))
    assert [row["implant"] for row in rows] == ["too little", "yes"]
    assert rows[0]["twin/clean_accuracy"] == "0.9871"


def test_a_network_without_an_attack_is_not_apart():
    left = run(0, WEAK)
    left.data.params["attack.rate"] = "1e-06"
    assert cells.implant_of(left) == ""
    left.data.params["attack.training.threshold"] = "0.1"  # written, no image being poisoned
    assert cells.implant_of(left) == "ASR 60.00 %, below 85 %"
    del left.data.params["attack.training.threshold"]
    left.data.params["attack.rate"] = "0.1"
    assert cells.implant_of(left) == "ASR 60.00 %, below 85 %"


def test_the_twin_has_a_line_below_b_where_it_is_the_same_in_all(printed):
    lines = printed(print_comparison, attacked(B | TWIN, B | TWIN))
    words = [line.split() for line in lines]
    assert words.index(["twin", "98.71", "1.23"]) == 1 + words.index(
        ["B", "0", "98.65", "98.62", "100.0"]
    )
    assert "twin: B trained without the attack, on the same images." in lines
    for others in ((B, B), (B | TWIN, B), (B | TWIN, B | TWIN | {"twin/clean_accuracy": 0.9})):
        assert "twin" not in " ".join(printed(print_comparison, attacked(*others)))


# Oracles


def ranked(*orders: str, key: str = "prune/order", **more: float) -> list[Cell]:
    """A cell for each order, tac an oracle; told apart by their order, or by another key."""
    cells = [[f"{key}={order if key == 'prune/order' else n}"] for n, order in enumerate(orders)]
    told = ["oracle" if order == "tac" else "defender" for order in orders]
    return cells_of(cells, [run(n, B | more, threat_model=whose) for n, whose in enumerate(told)])


def first_words(lines: list[str]) -> list[str]:
    return [line.split(" ")[0] for line in lines]


def test_an_oracle_is_marked_at_its_order_and_said_to_be_no_defence(printed):
    lines = printed(print_comparison, ranked("random", "tac", "clp"))
    assert first_words(lines)[4:7] == ["random", "tac†", "clp"]
    assert "† oracle: ranked with poisoned images, which no defender has;" in " ".join(lines)


def test_an_oracle_is_marked_too_where_its_order_is_not_told(printed):
    assert first_words(printed(print_comparison, ranked("tac", "clp", key="frac")))[4:6] == [
        "0†",
        "1",
    ]
    assert "B'†" in first_words(printed(print_comparison, ranked("tac")))


def test_there_is_no_mark_and_nothing_said_of_oracles_where_there_is_none(printed):
    assert "†" not in "".join(printed(print_comparison, ranked("random", "clp")))


def test_the_mark_stands_beside_published_numbers_too(printed):
    published = {"source": "x", "cells": [{"when": {"prune/order": "tac"}, "metrics": {}}]}
    lines = printed(print_published, ranked("tac", "clp"), published)
    assert "tac†" in first_words(lines)


def test_of_several_settings_the_order_has_the_mark():
    (cell,) = cells_of([["seed=1", "prune/order=tac"]], [run(0, {}, threat_model="oracle")])
    assert Group([cell]).labels(["seed", "prune/order"]) == ["1", "tac†"]


# Seeds


def seeded(*found: Mapping[str, float], ended: str = "FINISHED", **tags: str) -> list[Cell]:
    """Two orders, each at a seed for every one of `found`; the last cell ended as told."""
    cells = [[f"o={order}", f"seed={seed}"] for order in "ab" for seed in range(len(found))]
    left = [run(job, B | found[job % len(found)]) for job in range(len(cells) - 1)]
    left.append(run(len(cells) - 1, B | found[-1], ended, **tags))
    return cells_of(cells, left)


def test_cells_that_differ_only_in_their_seed_are_one_line_by_their_mean(printed):
    one = {"prune/channels": 12.0, "repaired/clean_accuracy": 0.5}
    other = {"prune/channels": 13.0, "repaired/clean_accuracy": 0.6}
    lines = printed(print_comparison, seeded(one, other))
    words = [line.split() for line in lines]
    assert ["o", "pruned"] in [line[:2] for line in words]
    assert ["a", "12.5", "-", "55.00", *"-----"] in words
    assert ["b", "12.5", "-", "55.00", *"-----"] in words
    assert sum(line[:1] in (["a"], ["b"]) for line in words) == 2
    assert "means over 2 seeds" in " ".join(lines)
    assert "Between the seeds of a line a rate differs by up to 10.0 points." in " ".join(lines)


def test_where_the_numbers_of_seeds_differ_each_line_has_its_own(printed):
    cells = [["o=a", "seed=0"], ["o=a", "seed=1"], ["o=b", "seed=0"]]
    lines = printed(print_comparison, cells_of(cells, [run(job, B) for job in range(3)]))
    words = [line.split() for line in lines]
    assert ["o", "seeds", "pruned"] in [line[:3] for line in words]
    assert {("a", "2"), ("b", "1")} <= {tuple(line[:2]) for line in words}
    assert "means over 1 to 2 seeds" in " ".join(lines)


def test_a_whole_number_of_channels_stays_one_where_all_seeds_agree(printed):
    one = {"prune/channels": 12.0, "repaired/clean_accuracy": 0.1}
    words = [line.split() for line in printed(print_comparison, seeded(one, one, one))]
    assert ["a", "12", "-", "10.00", *"-----"] in words


def test_seeds_alone_are_one_line(printed):
    runs = [run(job, B | {"prune/channels": job}) for job in range(3)]
    words = [
        line.split()
        for line in printed(print_comparison, cells_of([["seed=0"], ["seed=1"], ["seed=2"]], runs))
    ]
    assert ["3", "1", *"-------"] in words


@pytest.mark.parametrize(
    ("ended", "tags", "shown"),
    [
        ("FAILED", {}, "FAILED"),
        ("KILLED", {}, "KILLED"),
        ("FINISHED", {"status": "SKIPPED"}, "SKIPPED"),
    ],
)
def test_a_seed_that_did_not_end_well_shows_in_the_line_of_all(printed, ended, tags, shown):
    found = {"prune/channels": 12.0}
    words = [
        line.split()[:2]
        for line in printed(print_comparison, seeded(found, found, ended=ended, **tags))
    ]
    assert ["a", "12"] in words
    assert ["b", shown] in words


def test_of_two_seeds_that_did_not_end_well_the_failure_is_told():
    cells = [[f"seed={seed}"] for seed in range(3)]
    left = [run(0, {}, status="SKIPPED"), run(1, {}, "FAILED"), run(2, {"prune/channels": 3})]
    assert table_module._numbers(Group(cells_of(cells, left)))[0] == "FAILED"


def test_a_seed_whose_stop_was_never_reached_marks_the_line_of_all(printed):
    found = {"prune/channels": 12.0}
    words = [
        line.split()[:2]
        for line in printed(print_comparison, seeded(found, found, stop_reached="false"))
    ]
    assert ["a", "12"] in words
    assert ["b", "12*"] in words


def test_b_keeps_its_line_where_it_differs_between_seeds_but_not_between_groups(printed):
    one, other = {"badnet/valid_accuracy": 0.5}, {"badnet/valid_accuracy": 0.6}
    words = [line.split() for line in printed(print_comparison, seeded(one, other))]
    assert ["B", "0", "55.00", "98.62", "100.0"] in words


def test_other_settings_and_the_same_cell_twice_are_not_taken_together():
    assert len(groups(cells_of([["data.seed=1"], ["data.seed=2"]], []))) == 2
    assert len(groups(cells_of([["a=1"], ["a=1"]], []))) == 2
    assert len(groups(cells_of([["seed=1"], ["seed=1"]], []))) == 2


# Intervals and errors


def test_the_widest_interval_of_the_rates_shown_is_told_and_not_rounded_down(printed):
    ends = {"repaired/clean_accuracy_low": 0.4879, "repaired/clean_accuracy_high": 0.51}
    ends |= {"goodnet/auroc": 0.5, "goodnet/auroc_low": 0.1, "goodnet/auroc_high": 0.9}
    table = ranked("random", "clp", **{"repaired/clean_accuracy": 0.5}, **ends)
    lines = " ".join(printed(print_comparison, table))
    assert "95 % intervals (Wilson) of a cell reach at most 1.3 points to either side" in lines
    assert "to either side; comparison.csv has each." in lines
    assert "to either side; rates.json has each." in " ".join(printed(print_comparison, table[:1]))
    assert "intervals" not in " ".join(printed(print_comparison, ranked("random", "clp")))


def test_cells_that_ended_alike_are_told_together(printed):
    cells = [[f"a={job}"] for job in range(6)]
    left = [run(job, {}, status="SKIPPED", error="no BN") for job in (1, 2, 3, 5)]
    lines = printed(print_comparison, cells_of(cells, [*left, run(0, {}, "FAILED", error="no BN")]))
    assert lines[-3:] == [
        "cell 0 FAILED: no BN",
        "cells 1-3, 5 SKIPPED: no BN",
        "cell 4 MISSING: the cell left no run",
    ]


# Figures


def shown(figure: Figure) -> Figure:
    """The figure, once it has really been drawn."""
    figure.savefig(BytesIO(), dpi=20)
    return figure


def test_the_figure_has_a_row_a_group_named_and_marked(monkeypatch):
    drawn = []
    monkeypatch.setattr(table_module, "draw_comparison", lambda cells, title: drawn.extend(cells))
    found = {"repaired/clean_accuracy": 0.5}
    comparison.comparison_figure(seeded(found, {"repaired/clean_accuracy": 0.7}))
    comparison.comparison_figure(
        [*ranked("random", "tac", **found), *cells_of([[], [], ["prune/order=clp"]], [])]
    )
    comparison.comparison_figure(ranked("tac", **found))
    a, b, control, tac, alone = drawn
    assert [cell.name for cell in drawn] == [
        "o=a",
        "o=b",
        "order=random",
        "order=tac†",
        "order=tac†",
    ]
    assert a.rates == b.rates == {"repaired/clean_accuracy": [0.5, 0.7]}
    assert [cell.oracle for cell in drawn] == [False, False, False, True, True]
    assert control.control
    assert not any(cell.control for cell in (a, b, tac, alone))


def traded(folder: Path, *cells: tuple[str, str]) -> list[Cell]:
    """Finished cells: what the command line said, and the curve.csv of each."""
    left = []
    for job, (overrides, curve) in enumerate(cells):
        place = folder / str(job)
        place.mkdir()
        (place / "curve.csv").write_text(curve)
        words = dict(word.split("=") for word in overrides.split())
        order, whose = words["prune/order"], "oracle" if "tac" in overrides else "defender"
        metrics = {"prune/channels": 1.0 + job % 2}
        row = (job, words, str(job), "FINISHED", metrics, "", True, whose, order, place.as_uri())
        left.append(Cell(*row))
    return left


def curve(*attack: float, head: str = "clean_accuracy,attack_success_rate") -> str:
    return "\n".join(
        [f"pruned,{head}", *(f"{k},{1 - k / 10},{rate}" for k, rate in enumerate(attack))]
    )


@pytest.fixture
def rankings(monkeypatch, tmp_path):
    """Call with cells: the rankings that the trade-off draws of them."""
    drawn = []
    monkeypatch.setattr(tradeoffs, "draw_tradeoff", lambda rankings, title: drawn.extend(rankings))

    def rankings(*cells: tuple[str, str]) -> list[sweep.OrderCurves]:
        tradeoffs.tradeoff_figure(traded(tmp_path, *cells))
        return drawn

    return rankings


def test_cells_that_differ_in_their_stop_share_a_curve_of_the_trade_off(rankings):
    one, other, bound = curve(1, 0.9, 0.5), curve(1, 0.8, 0.4), curve(1, 0, 0)
    mean, random, tac = rankings(
        ("prune/order=mean prune/stop=knee prune.frac=0.1 seed=0", one),
        ("prune/order=mean prune/stop=drop prune.frac=0.1 seed=0", one),
        ("prune/order=mean prune/stop=knee prune.frac=0.2 seed=0", one),
        ("prune/order=random prune/stop=knee prune.frac=0.1 seed=0", one),
        ("prune/order=random prune/stop=knee prune.frac=0.1 seed=1", other),
        ("prune/order=tac prune/stop=knee prune.frac=0.1 seed=0", bound),
    )
    assert [ranking.name for ranking in (mean, random, tac)] == ["mean", "random", "tac†"]
    assert mean.curves[0].tolist() == [[0, 1, 2], [1, 0.9, 0.8], [1, 0.9, 0.5]]
    assert [len(ranking.curves) for ranking in (mean, random, tac)] == [1, 2, 1]
    assert mean.stops == [(0, 1), (0, 2), (0, 1)]
    assert random.stops == [(0, 2), (1, 1)]
    assert [ranking.control for ranking in (mean, random, tac)] == [False, True, False]
    assert [ranking.oracle for ranking in (mean, random, tac)] == [False, False, True]


def test_settings_that_change_the_curve_are_told_in_its_name(rankings):
    found = rankings(
        ("prune/order=mean prune.layer=conv_2 prune.keep=safe", curve(1, 0.9)),
        ("prune/order=mean prune.layer=conv_2 prune.keep=breaching", curve(1, 0.9)),
        ("prune/order=mean prune.layer=conv_3 prune.keep=safe", curve(1, 0.8)),
        ("prune/order=mean prune.layer=conv_3 prune.keep=breaching", curve(1, 0.8)),
    )
    assert [ranking.name for ranking in found] == ["mean layer=conv_2", "mean layer=conv_3"]


def test_curves_of_other_steps_are_told_apart_and_their_stops_stand_where_they_are(tmp_path):
    every, some = curve(1, 0.9, 0.5, 0.4), curve(1, 0.9, 0.5, 0.4).replace("\n2,0.8,0.5", "")
    overrides = "prune/order=mean prune/stop=knee prune.step="
    table = traded(tmp_path, (f"{overrides}1", every), (f"{overrides}2", some))
    table[1] = replace(table[1], metrics={"prune/channels": 3.0})
    far, _ = shown(tradeoffs.tradeoff_figure(table)).axes
    dots = [line.get_xydata().tolist() for line in far.get_lines() if line.get_gid() == "stops"]
    assert dots == [[[0.9, 0.9]], [[0.7, 0.4]]]
    names = [line.get_gid() for line in far.get_lines()[::2]][:2]
    assert names == ["mean step=1", "mean step=2"]


def test_settings_that_no_two_cells_tell_apart_are_told_too(rankings):
    found = rankings(
        ("prune/order=mean prune.layer=conv_2 prune.keep=safe", curve(1, 0.9, 0.5)),
        ("prune/order=mean prune.layer=conv_3 prune.keep=breaching", curve(1, 0.8, 0.5)),
    )
    names = ["mean layer=conv_2 keep=safe", "mean layer=conv_3 keep=breaching"]
    assert [ranking.name for ranking in found] == names


def test_there_is_no_trade_off_without_poisoned_images_or_finished_cells(tmp_path):
    clean = curve(1, 0.9, head="clean_accuracy,goodnet_accuracy")
    table = traded(tmp_path, ("prune/order=mean", clean))
    assert tradeoffs.tradeoff_figure(table) is None
    assert tradeoffs.tradeoff_figure(unwell()) is None


def test_a_cell_that_left_no_curve_or_failed_is_not_in_the_trade_off(tmp_path):
    told = curve(1, 0.9, 0.8)
    cells = [(f"prune/order={order}", told) for order in "abc"]
    a, b, c = traded(tmp_path, *cells)
    (tmp_path / "0" / "curve.csv").unlink()
    figure = shown(tradeoffs.tradeoff_figure([a, b, replace(c, status="FAILED")]))
    found = [text.get_text() for text in figure.legends[0].get_texts()]
    assert found == ["b", "a stop that was chosen", "B, nothing pruned"]


def test_a_repaired_cell_alone_is_shown_as_it_was_before_too(capsys):
    rates = {"valid_accuracy": 0.95, "clean_accuracy": 0.94, "attack_success_rate": 0.99}
    metrics = {f"pruned/{name}": rate for name, rate in rates.items()}
    metrics |= {f"repaired/{name}": rate - 0.5 for name, rate in rates.items()}
    metrics |= {f"badnet/{name}": 1.0 for name in rates} | {"prune/channels": 3.0}
    row = Cell(0, {}, status="FINISHED", metrics=metrics, repaired=True)
    print_comparison([row])
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "pruned 3 95.00 94.00 99.00 - - - -" in lines
    assert "B' 3 45.00 44.00 49.00 - - - -" in lines
    assert "is the pruned network, repaired" in text


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        (["FINISHED", "KILLED", "MISSING"], "Of 3 cells 1 was cut off and 1 did not run;"),
        (["KILLED", "KILLED", "RUNNING"], "Of 3 cells 2 were cut off and 1 still runs elsewhere;"),
        (["UNSENT"], "Of 1 cell 1 could not be logged;"),
    ],
)
def test_it_is_said_how_many_cells_came_to_no_end(statuses, told, capsys):
    assert comparison.print_failures([Cell(0, {}, status=status) for status in statuses])
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == f"{told} the same command again runs these alone."


def test_nothing_is_said_where_all_ended_well(capsys):
    assert not comparison.print_failures([Cell(0, {}, status="FINISHED")])
    assert capsys.readouterr().out == ""


def test_detectors_have_a_table_of_their_own_and_cells_without_are_not_in_it(printed):
    rates = {
        "repaired/clean_accuracy": 0.9,
        "detector/auroc": 0.9125,
        "detector/detection_rate_at_1": 0.5,
        "detector/false_alarm_rate_at_1": 0.0125,
        "detector/detection_rate_at_5": 0.75,
        "detector/false_alarm_rate_at_5": 0.0625,
        "detector/seconds_per_1000": 1.5,
    }
    images = {"test": 80, "poisoned": 60}
    cells = [
        Cell(0, {"detector": "strip"}, status="FINISHED", metrics=rates, images=images, error=""),
        Cell(1, {"detector": "ted"}, status="FAILED", error="no"),
    ]
    lines = printed(print_comparison, cells)
    (row,) = (line.split() for line in lines if "0.912" in line)
    low, high = auroc_interval(0.9125, 80, 60)
    ends = f"{low:.3f}-{high:.3f}"
    assert row == ["strip", "0.912", ends, "50.00", "1.25", "75.00", "6.25", "1.50"]
    assert sum(line.startswith("ted") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    assert not any("AUROC" in line for line in printed(print_comparison, cells[1:]))


def probed(**rates: float) -> dict[str, float]:
    """The rates of a cell that was probed: those of B, of the twin, and some of B'."""
    twin = {"relearn/twin/5/clean_accuracy": 0.8, "relearn/twin/5/attack_success_rate": 0.01}
    twin |= {"relearn/twin/50/clean_accuracy": 0.7, "relearn/twin/50/attack_success_rate": 0.02}
    doses = {"dose/badnet/0.5/attack_success_rate": 0.6, "dose/badnet/1/attack_success_rate": 0.9}
    named = {name.replace("__", "/"): rate for name, rate in rates.items()}
    return {"repaired/clean_accuracy": 0.9} | twin | doses | named


RELEARNED = {"relearn__5__clean_accuracy": 0.85, "relearn__5__attack_success_rate": 0.3}
RELEARNED |= {"relearn__50__clean_accuracy": 0.86, "relearn__50__attack_success_rate": 0.4}
DOSED = {"dose__0.5__attack_success_rate": 0.04, "dose__1__attack_success_rate": 0.05}


def table_of(lines: list[str], probe: str) -> list[list[str]]:
    """The rows below the heading of a probe's table, words apart, to the empty line behind it."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{probe}  "))
    return [line.split() for line in lines[start : lines.index("", start)]]


def test_what_probes_found_stands_beside_the_twin_and_b(printed):
    metrics = probed(**RELEARNED, **DOSED)
    lines = printed(print_comparison, [Cell(0, {}, status="FINISHED", metrics=metrics, error="")])
    assert table_of(lines, "relearn") == [
        ["relearn", "5", "5", "50", "50"],
        ["clean", "ASR", "clean", "ASR"],
        ["twin", "80.00", "1.00", "70.00", "2.00"],
        ["B'", "85.00", "30.00", "86.00", "40.00"],
    ]
    assert table_of(lines, "dose")[1:] == [
        ["ASR", "ASR"],
        ["B", "60.00", "90.00"],
        ["B'", "4.00", "5.00"],
    ]
    assert any(line.startswith("relearn: after fine-tuning") for line in lines)
    assert any(line.startswith("dose: with so many times") for line in lines)


def test_of_a_sweep_each_probed_cell_is_a_row_and_what_is_the_same_stands_once(printed):
    cells = [
        Cell(0, {"prune/order": "clp"}, status="FINISHED", metrics=probed(**RELEARNED), error=""),
        Cell(1, {"prune/order": "anp"}, status="FAILED", error="no"),
        Cell(2, {"prune/order": "tac"}, status="FINISHED", threat_model="oracle", error="",
             metrics=probed(**RELEARNED | {"relearn__5__attack_success_rate": 0.2})),
    ]  # fmt: skip
    lines = printed(print_comparison, cells)
    assert max(map(len, lines)) <= 80
    assert table_of(lines, "relearn")[1:] == [
        ["order", "clean", "ASR", "clean", "ASR"],
        ["twin", "80.00", "1.00", "70.00", "2.00"],
        ["clp", "85.00", "30.00", "86.00", "40.00"],
        ["tac†", "85.00", "20.00", "86.00", "40.00"],
    ]
    other = replace(cells[2], metrics={**cells[2].metrics, "relearn/twin/5/clean_accuracy": 0.6})
    names = [row[0] for row in table_of(printed(print_comparison, [*cells[:2], other]), "relearn")]
    assert names[2:] == ["twin", "clp", "twin", "tac†"]


def test_without_a_probe_nothing_is_said_of_any(printed):
    metrics = {"repaired/clean_accuracy": 0.9, "tradeoff/attack_success_rate_at_1": 0.5}
    lines = printed(print_comparison, [Cell(0, {}, status="FINISHED", metrics=metrics, error="")])
    assert not any("relearn" in line or "dose" in line or "twin" in line for line in lines)
