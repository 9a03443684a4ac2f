"""The cells of a sweep side by side: rows from runs, CSV, a table of 80 columns, the figures."""

import csv
from collections.abc import Mapping
from io import BytesIO, StringIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from mlflow.entities import Metric, Run, RunData, RunInfo, RunTag

from sweep import comparison, figures, terminal
from sweep.comparison import MISSING, Row, rows, show, show_published, to_csv, values, varying

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
    info = RunInfo(f"run{job}", "1", "somebody", ended, 0, 1, "active")
    return Run(info, RunData(metrics=numbers, tags=words))


def lab() -> list[Row]:
    cells = [[f"prune.frac={frac}"] for frac in LAB]
    measured = [B | dict(zip(NAMES, numbers, strict=True)) for numbers in LAB.values()]
    return rows(cells, [run(job, metrics) for job, metrics in enumerate(measured)])


def unwell() -> list[Row]:
    """One cell that ended well, one skipped, one failed, one that left nothing."""
    cells = [[f"prune/order={order}"] for order in ("random", "bnp", "l1_norm", "mean_activation")]
    return rows(
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
    (row,) = rows([["+data.root=/a=b", "++prune.frac=0.1", "prune/order=random"]], [])
    assert row.overrides == {"data.root": "/a=b", "prune.frac": "0.1", "prune/order": "random"}


def test_a_cell_may_delete_a_key_as_hydra_allows():
    (row,) = rows([["~data.seed", "prune.frac=0.1"]], [])
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
    assert varying(rows(cells, [])) == apart


def test_the_values_of_an_override_stand_once_each_in_the_order_of_the_cells():
    table = rows([["a=2", "b=x"], ["a=1"], ["a=2", "b=x"]], [])
    assert values(table, "a") == ["2", "1"]
    assert values(table, "b") == ["x", ""]


def test_the_csv_holds_every_cell_override_and_metric_but_no_curve():
    cells = [["a=1", "b=x,y"], ["a=2"]]
    left = [
        run(1, {}, "FAILED", error='it said "no",\nthen ended'),
        run(0, {"b/rate": 0.1, "a/rate": 1 / 3, "curve/rate": 0.5}),
    ]
    table = list(csv.reader(StringIO(to_csv(rows(cells, left)), newline="")))
    assert table == [
        ["job", "run_id", "status", "a", "b", "a/rate", "b/rate", "error"],
        ["0", "run0", "FINISHED", "1", "x,y", repr(1 / 3), "0.1", ""],
        ["1", "run1", "FAILED", "2", "", "", "", 'it said "no",\nthen ended'],
    ]


def test_the_csv_of_cells_without_any_metrics_still_names_them():
    assert to_csv(rows([["a=1"], ["a=2"]], [])) == (
        "job,run_id,status,a,error\n"
        "0,,MISSING,1,the cell left no run\n"
        "1,,MISSING,2,the cell left no run\n"
    )


def test_the_labs_table_has_every_number_whole_in_80_columns(printed):
    lines = printed(show, lab())
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
    assert max(map(len, printed(show, rows(cells, left)))) <= 80


def test_cells_that_did_not_end_well_show_their_status_and_then_a_sentence_each(printed):
    lines = printed(show, unwell())
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
        words = [line.split() for line in printed(show, rows([cell], [run(0, metrics)]))]
        assert ["B", "0", "98.65", "98.62", "100.0"] in words
        rates = ["95.76", "95.90", "100.0", "95.74", "100.0", "0.00", "-"]
        assert ["B'", "45", *rates] in words


def test_cells_without_any_metrics_are_dashes_without_a_line_for_b(printed):
    words = [line.split() for line in printed(show, rows([["a=1"], ["a=2"]], []))]
    assert ["1", MISSING, *"-------"] in words
    assert not any(line[:1] == ["B"] for line in words)


def test_b_has_no_line_where_it_differs_from_cell_to_cell(printed):
    metrics = [B, B | {"badnet/clean_accuracy": 0.5}]
    cells = [["badnet.path=one.h5"], ["badnet.path=other.h5"]]
    table = rows(cells, [run(job, measured) for job, measured in enumerate(metrics)])
    assert not any(line.split()[:1] == ["B"] for line in printed(show, table))


def test_b_keeps_its_line_though_a_cell_failed_before_it_was_measured(printed):
    cells = [["prune.frac=0.02"], ["prune.frac=0.04"]]
    table = rows(cells, [run(0, B), run(1, {"time/data": 1.5}, "FAILED", error="it broke")])
    words = [line.split() for line in printed(show, table)]
    assert ["B", "0", "98.65", "98.62", "100.0"] in words


@pytest.mark.parametrize("value", ["[finetune]", "[/nets/one.h5,/nets/two.h5]"])
def test_values_in_brackets_are_shown_as_they_are(printed, value):
    table = rows([[f"badnet.path={value}"], ["badnet.path=x"]], [])
    # a long value is folded: put its pieces, the first word of each line, together
    assert value in "".join(line.split(" ")[0] for line in printed(show, table))


@pytest.mark.parametrize(
    "cells", [[[]], [["a=1"]], [["a=1"], ["a=2"]], [["a=1", "b=1"], ["a=2", "b=2"]]]
)
@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_every_line_of_a_table_has_a_word_for_every_heading(monkeypatch, cells, status):
    tables = []
    monkeypatch.setattr(terminal, "table", lambda *table: tables.append(table))
    show(rows(cells, [run(job, B, status) for job in range(len(cells))]))
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


def test_published_numbers_stand_under_the_measured_ones_of_their_cell(printed):
    lines = printed(show_published, lab(), PUBLISHED)
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
    assert printed(show_published, rows([["prune.frac=0.3"]], []), PUBLISHED) == []


# Figures


def drawn(figure: Figure) -> Figure:
    """The figure, once it has really been drawn."""
    figure.savefig(BytesIO(), dpi=20)
    return figure


def legend(holder: Axes | Figure) -> set[str]:
    (found,) = [holder.get_legend()] if isinstance(holder, Axes) else holder.legends
    return {text.get_text() for text in found.get_texts()}


def rates(channels: int, poisoned: bool = True) -> dict[str, np.ndarray]:
    names = ["valid_accuracy", "clean_accuracy", "goodnet_accuracy", "goodnet_false_alarm_rate"]
    if poisoned:
        names += ["attack_success_rate", "goodnet_attack_success_rate", "goodnet_detection_rate"]
    rng = np.random.default_rng(0)
    return {name: rng.random(channels + 1) for name in names}


@pytest.mark.parametrize("channels", [1, 60, 300])
def test_a_curve_shows_every_rate_of_b_repaired_and_of_goodnet(channels):
    shown = rates(channels)
    figure = drawn(figures.curve(shown, 1, "conv_3, random"))
    assert figure.get_suptitle() == "conv_3, random"
    left, right = figure.axes
    assert left.get_ylabel() == "share of images"
    assert left.get_xlabel() == right.get_xlabel() == "channels pruned"
    assert legend(left) == {
        "clean validation accuracy",
        "clean test accuracy",
        "attack success rate",
        "stop: 1 pruned",
    }
    assert legend(right) == {
        "clean test accuracy",
        "attack success rate",
        "poisoned images flagged",
        "clean images flagged",
        "stop: 1 pruned",
    }
    lines = [line.get_ydata() for axes in (left, right) for line in axes.get_lines()]
    for rate in shown.values():
        assert any(np.array_equal(rate, line) for line in lines)


def test_a_curve_without_poisoned_images_shows_the_clean_rates():
    left, right = drawn(figures.curve(rates(5, poisoned=False), 2, "")).axes
    assert legend(left) == {"clean validation accuracy", "clean test accuracy", "stop: 2 pruned"}
    assert legend(right) == {"clean test accuracy", "clean images flagged", "stop: 2 pruned"}


@pytest.mark.parametrize(("channels", "step"), [(1, 0), (1, 1), (60, 45), (300, 7), (300, 299)])
def test_the_maps_stand_in_pruning_order_and_the_pruned_ones_are_framed(channels, step):
    rng = np.random.default_rng(0)
    means, order = rng.random((3, 5, channels)), rng.permutation(channels)
    figure = drawn(figures.activations(means, order, step, "conv_3"))
    panel, bar = figure.axes
    shown = order[: figures.MOST_MAPS]
    assert [text.get_text() for text in panel.texts] == [str(channel) for channel in shown]
    assert len(panel.patches) == min(step, len(shown))
    assert ("the first 144 of 300" in panel.get_title()) == (channels == 300)
    assert bar.get_ylabel() == "mean activation"
    mosaic = np.ma.filled(panel.images[0].get_array(), np.nan)
    assert np.count_nonzero(~np.isnan(mosaic)) == 3 * 5 * len(shown)
    tops = np.flatnonzero(~np.isnan(mosaic[:, 0])).reshape(-1, 3)
    lefts = np.flatnonzero(~np.isnan(mosaic[tops[0, 0]])).reshape(-1, 5)
    for place, channel in enumerate(shown):
        row, column = divmod(place, len(lefts))
        tile = mosaic[np.ix_(tops[row], lefts[column])]
        np.testing.assert_array_equal(tile, means[..., channel])


@pytest.mark.parametrize("channels", [1, 300])
@pytest.mark.parametrize("shape", [(), (4,)], ids=["dense", "sequence"])
def test_channels_without_maps_are_bars_in_pruning_order(channels, shape):
    rng = np.random.default_rng(0)
    means, order = rng.random((*shape, channels)), rng.permutation(channels)
    (panel,) = drawn(figures.activations(means, order, 1, "fc_1")).axes
    assert panel.get_xlabel() == "place in pruning order"
    assert panel.get_ylabel() == "mean activation"
    heights = means.mean(axis=0) if shape else means
    np.testing.assert_allclose([bar.get_height() for bar in panel.patches], heights[order])
    red = [bar.get_facecolor() == to_rgba(figures.RED) for bar in panel.patches]
    assert red == [True] + [False] * (channels - 1)


def test_the_comparison_has_a_row_a_cell_with_numbers_and_a_mark_a_rate():
    table = lab()
    figure = drawn(comparison.figure([*table, *rows([[], [], [], ["prune.frac=0.5"]], [])[3:]]))
    (panel,) = figure.axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["frac=0.02", "frac=0.04", "frac=0.1"]
    assert panel.get_xlabel() == "share of images"
    marks = {line.get_label(): line for line in panel.get_lines()}
    assert legend(figure) == set(marks)
    assert set(marks) == {
        "B' clean accuracy",
        "G clean accuracy",
        "B' attack success",
        "G attack success",
        "G poisoned flagged",
    }
    fooled = marks["B' attack success"]
    np.testing.assert_array_equal(fooled.get_xdata(), [numbers[3] for numbers in LAB.values()])
    np.testing.assert_array_equal(fooled.get_ydata(), [0, 1, 2])


def test_the_comparison_leaves_out_what_a_cell_has_not_measured():
    clean, full = {"repaired/clean_accuracy": 0.9}, dict(zip(NAMES, LAB["0.1"], strict=True))
    (panel,) = drawn(figures.comparison(["clean", "full"], [clean, full], "two")).axes
    marks = {line.get_label(): line for line in panel.get_lines()}
    np.testing.assert_array_equal(marks["B' clean accuracy"].get_ydata(), [0, 1])
    np.testing.assert_array_equal(marks["B' attack success"].get_ydata(), [1])
    assert panel.get_title() == "two"


def test_a_stop_that_was_never_reached_is_marked(capsys):
    metrics = {"prune/channels": 59.0, "repaired/clean_accuracy": 0.1}
    cells = [
        Row(0, {"prune.frac": "0.1"}, "a", "FINISHED", metrics, "", stop_reached=False),
        Row(1, {"prune.frac": "0.2"}, "b", "FINISHED", metrics, ""),
    ]
    comparison.show(cells)
    printed = capsys.readouterr().out
    assert "59*" in printed
    assert "* The stop was never reached" in printed
    comparison.show(cells[1:])
    assert "*" not in capsys.readouterr().out
