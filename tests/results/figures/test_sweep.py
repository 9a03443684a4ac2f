"""Pictures of a sweep: every cell and rate in its place, oracles and the control told apart."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweep.results.figures import sweep
from sweep.results.figures.sweep import CellRates, OrderCurves

CLEAN, ATTACK = "repaired/clean_accuracy", "repaired/attack_success_rate"


def drawn(figure: Figure) -> Figure:
    """The figure, once it has really been drawn."""
    figure.savefig(BytesIO(), dpi=50)
    return figure


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def lines(panel: Axes, gid: str) -> list[Line2D]:
    return [line for line in panel.get_lines() if line.get_gid() == gid]


def labels(panel: Axes) -> list[str]:
    return [label.get_text() for label in panel.get_yticklabels()]


def test_a_row_a_cell_and_a_mark_a_rate_that_is_there():
    cells = [CellRates("clean", {CLEAN: [0.9]}), CellRates("full", {CLEAN: [0.8], ATTACK: [0.1]})]
    figure = drawn(sweep.draw_comparison(cells, "two"))
    (panel,) = figure.axes
    assert panel.get_title() == "two"
    assert labels(panel) == ["clean", "full"]
    assert panel.get_xlabel() == "share of images"
    marks = [(float(m.get_xdata()[0]), int(m.get_ydata()[0])) for m in lines(panel, CLEAN)]
    assert marks == [(0.9, 0), (0.8, 1)]
    (fooled,) = lines(panel, ATTACK)
    assert (fooled.get_xdata()[0], fooled.get_ydata()[0]) == (0.1, 1)
    assert legend(figure) == ["B' clean accuracy", "B' attack success"]


def test_several_seeds_are_their_mean_and_a_line_from_lowest_to_highest():
    figure = drawn(sweep.draw_comparison([CellRates("a", {CLEAN: [0.5, 0.9, 0.7]})], ""))
    (panel,) = figure.axes
    (mark,), (whisker,) = lines(panel, CLEAN), lines(panel, f"{CLEAN} over seeds")
    assert mark.get_xdata()[0] == pytest.approx(0.7)
    assert list(whisker.get_xdata()) == [0.5, 0.9]
    assert list(whisker.get_ydata()) == [0, 0]
    assert "lowest to highest seed" in legend(figure)
    alike = drawn(sweep.draw_comparison([CellRates("a", {CLEAN: [0.5, 0.5]})], ""))
    assert "lowest to highest seed" not in legend(alike)


def test_oracles_are_hollow_and_grey_and_the_control_says_so():
    cells = [CellRates("a", {CLEAN: [0.5]}), CellRates("r", {CLEAN: [0.5]}, control=True)]
    plain = drawn(sweep.draw_comparison(cells, ""))
    assert not any("oracle" in text for text in legend(plain))
    figure = drawn(
        sweep.draw_comparison([*cells, CellRates("t†", {CLEAN: [0.5]}, oracle=True)], "")
    )
    (panel,) = figure.axes
    assert labels(panel) == ["a", "r (control)", "t†"]
    hollow = [mark.get_markerfacecolor() == "none" for mark in lines(panel, CLEAN)]
    assert hollow == [False, False, True]
    colours = [label.get_color() for label in panel.get_yticklabels()]
    assert colours == ["black", "black", sweep.GREY]
    assert "† hollow: oracle, no defence" in legend(figure)


@pytest.mark.parametrize("cells", [1, 40, 96, 300, 500])
def test_however_many_cells_the_figure_stays_readable(cells):
    figure = sweep.draw_comparison([CellRates(str(n), {CLEAN: [0.5]}) for n in range(cells)], "all")
    (panel,) = figure.axes
    assert figure.get_figheight() <= 30
    assert len(labels(panel)) == min(cells, sweep.MOST_ROWS)
    row = min(0.35, 27 / min(cells, 300)) * 72  # points
    assert all(4 <= label.get_fontsize() <= row for label in panel.get_yticklabels())
    assert panel.get_title() == ("all, the first 300 of 500" if cells == 500 else "all")


# What orders trade


def order_curves(name: str, seeds: int = 1, **more: bool) -> OrderCurves:
    rng = np.random.default_rng(len(name))
    curves = [np.vstack([[0, 4, 8, 12, 13], rng.random((2, 5))]) for _ in range(seeds)]
    return OrderCurves(name, curves, [(seed, 4 + 4 * seed) for seed in range(seeds)] * 2, **more)


def test_every_curve_and_every_stop_is_in_both_views():
    found = [
        order_curves("a"),
        order_curves("random", 3, control=True),
        order_curves("tac†", oracle=True),
    ]
    figure = drawn(sweep.draw_tradeoff(found, "a title"))
    assert figure.get_suptitle() == "a title"
    assert legend(figure)[:3] == ["a", "random (control)", "tac† (oracle)"]
    for panel in figure.axes:
        stops = lines(panel, "stops")
        for one in found:
            curves = lines(panel, one.name)
            assert len(curves) == len(one.curves)
            for seed, (line, curve) in enumerate(zip(curves, one.curves, strict=True)):
                np.testing.assert_array_equal(line.get_xydata().T, curve[1:])
                dots = stops.pop(0)
                np.testing.assert_array_equal(dots.get_xydata(), [curve[1:, 1 + seed]])
        assert not stops


def test_the_control_is_grey_and_thin_the_oracle_black_and_broken():
    found = [
        order_curves("a"),
        order_curves("random", 3, control=True),
        order_curves("tac†", oracle=True),
    ]
    panel, _ = sweep.draw_tradeoff(found, "").axes
    (first,), control, (oracle,) = (lines(panel, one.name) for one in found)
    assert {line.get_color() for line in control} == {sweep.GREY}
    assert all(line.get_linewidth() < first.get_linewidth() for line in control)
    assert (oracle.get_color(), first.get_color()) == ("black", sweep.BLUE)
    assert oracle.is_dashed()
    assert not first.is_dashed()


def test_twenty_orders_can_be_told_apart():
    found = [order_curves(f"order {n}") for n in range(20)]
    found += [
        order_curves("x", oracle=True),
        order_curves("y", oracle=True),
        order_curves("random", control=True),
    ]
    looks = sweep._line_styles(found)
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == len(found)


def test_the_near_view_shows_b_and_the_ideal_corner():
    curves = [np.array([[0, 1, 2], [0.9, 0.93, 0.5], [1.0, 0.5, 0.1]])]
    far, near = drawn(sweep.draw_tradeoff([OrderCurves("a", curves)], "")).axes
    left, right = near.get_xlim()
    assert left == pytest.approx(0.8)
    assert 0.93 < right < 0.95
    assert far.get_xlim() == (-0.02, 1.02)
    for panel in (far, near):
        (star,) = (line for line in panel.get_lines() if line.get_marker() == "*")
        assert star.get_xydata().tolist() == [[0.9, 0]]
        (b,) = (line for line in panel.get_lines() if line.get_marker() == "D")
        assert b.get_xydata().tolist() == [[0.9, 1.0]]


def test_a_much_worse_network_does_not_leave_the_near_view():
    curves = [[np.array([[0, 1], [start, 0.1], [1.0, 0.1]])] for start in (0.9, 0.3)]
    figure = sweep.draw_tradeoff([OrderCurves(str(n), curve) for n, curve in enumerate(curves)], "")
    _, near = drawn(figure).axes
    assert near.get_xlim()[0] == pytest.approx(0.8)
    assert near.get_window_extent().width > figure.bbox.width / 4
    (b,) = (line for line in near.get_lines() if line.get_marker() == "D")
    assert b.get_clip_on()
