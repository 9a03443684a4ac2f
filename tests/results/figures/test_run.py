"""Pictures of one cell show every rate and every channel, each in its place."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sweep.evaluation import PruningCurve, ValidCurve
from sweep.evaluation.curve import steps_of
from sweep.results.figures import run


def drawn(figure: Figure) -> Figure:
    """The figure, once it has really been drawn."""
    figure.savefig(BytesIO(), dpi=20)
    return figure


def legend(holder: Axes | Figure) -> set[str]:
    (found,) = [holder.get_legend()] if isinstance(holder, Axes) else holder.legends
    return {text.get_text() for text in found.get_texts()}


def rates(channels: int, poisoned: bool = True, step: float = 1) -> PruningCurve:
    names = ["valid_accuracy", "clean_accuracy", "goodnet_accuracy", "goodnet_false_alarm_rate"]
    if poisoned:
        names += ["attack_success_rate", "goodnet_attack_success_rate", "goodnet_detection_rate"]
    rng = np.random.default_rng(0)
    images, steps = {name: 200 for name in names}, steps_of(channels, step)
    counts = {name: rng.integers(0, 201, len(steps)) for name in names}
    valid = ValidCurve.of(np.zeros((len(steps), 1), int), np.zeros(1, int), None, steps)
    told = {name: count / 200 for name, count in counts.items()}
    return PruningCurve(np.arange(channels), valid, told, images)


def of(curve: PruningCurve) -> tuple[np.ndarray, dict, dict]:
    return curve.steps, curve.rates, curve.images


@pytest.mark.parametrize("channels", [1, 60, 300])
def test_a_curve_shows_every_rate_of_b_repaired_and_of_goodnet(channels):
    shown = rates(channels)
    figure = drawn(run.draw_curve(*of(shown), 1, "conv_3, random"))
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
    for rate in shown.rates.values():
        assert any(np.array_equal(rate, line) for line in lines)


def test_a_curve_of_fewer_steps_stands_at_the_channels_that_are_pruned_there():
    shown = rates(60, step=25)
    drawn_cell = run.draw_cell(
        shown, 25, {"conv_3": np.ones(60)}, lambda c: ("conv_3", c), "random"
    )
    figure = drawn(drawn_cell["figures/curve.png"])
    assert figure.get_suptitle() == "conv_3, 60 channels, 25 at a time, order random"
    for axes in figure.axes:
        *curves, stop = axes.get_lines()
        assert {tuple(line.get_xdata()) for line in curves} == {(0, 25, 50, 60)}
        assert set(stop.get_xdata()) == {25}
        assert axes.get_xlim() == (0, 60)
        for band in axes.collections:
            assert set(band.get_paths()[0].vertices[:, 0]) == {0, 25, 50, 60}
    every = run.draw_cell(rates(60), 25, {"conv_3": np.ones(60)}, lambda c: ("conv_3", c), "random")
    assert every["figures/curve.png"].get_suptitle() == "conv_3, 60 channels, order random"


def test_a_curve_without_poisoned_images_shows_the_clean_rates():
    left, right = drawn(run.draw_curve(*of(rates(5, poisoned=False)), 2, "")).axes
    assert legend(left) == {"clean validation accuracy", "clean test accuracy", "stop: 2 pruned"}
    assert legend(right) == {"clean test accuracy", "clean images flagged", "stop: 2 pruned"}


@pytest.mark.parametrize(("channels", "step"), [(1, 0), (1, 1), (60, 45), (300, 7), (300, 299)])
def test_the_maps_stand_in_pruning_order_and_the_pruned_ones_are_framed(channels, step):
    rng = np.random.default_rng(0)
    means, order = rng.random((3, 5, channels)), rng.permutation(channels)
    figure = drawn(run.draw_activations(means, order, step, "conv_3"))
    panel, bar = figure.axes
    shown = order[: run.MOST_MAPS]
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
    (panel,) = drawn(run.draw_activations(means, order, 1, "fc_1")).axes
    assert panel.get_xlabel() == "place in pruning order"
    assert panel.get_ylabel() == "mean activation"
    heights = means.mean(axis=0) if shape else means
    np.testing.assert_allclose([bar.get_height() for bar in panel.patches], heights[order])
    red = [bar.get_facecolor() == to_rgba(run.RED) for bar in panel.patches]
    assert red == [True] + [False] * (channels - 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("white", [1.0, 255.0])
def test_an_attack_is_shown_as_clean_poisoned_and_what_moved(channels, white):
    rng = np.random.default_rng(0)
    clean = rng.uniform(0, 0.5, (4, 9, 7, channels)) * white
    clean[0, 0, 0] = white
    poisoned = clean.copy()
    poisoned[:, 5, 3] += 0.25 * white
    shown = run.draw_attack((clean, poisoned, [(5, 0), (6, 0), (7, 1), (8, 2)]))
    figure = drawn(shown["attack.png"])
    assert len(figure.axes) == 12
    titles = [panel.get_title() for panel in figure.axes[:4]]
    assert titles == ["class 5 as 0", "class 6 as 0", "class 7 as 1", "class 8 as 2"]
    assert [panel.get_ylabel() for panel in figure.axes[::4]] == [
        "clean",
        "poisoned",
        "change x 4.0",
    ]
    pictures = [np.asarray(panel.images[0].get_array()) for panel in figure.axes]
    for number in range(4):
        expected = clean[number].squeeze() / white
        np.testing.assert_allclose(pictures[number].squeeze(), expected)
        moved = np.zeros((9, 7))
        moved[5, 3] = 1
        np.testing.assert_allclose(pictures[8 + number], moved, atol=1e-6)


def test_an_attack_that_moves_nothing_can_be_shown():
    images = np.zeros((1, 8, 8, 3))
    shown = run.draw_attack((images, images, [(1, 0)]))
    assert len(drawn(shown["attack.png"]).axes) == 3


def test_where_no_image_is_poisoned_there_is_no_figure_of_an_attack():
    assert run.draw_attack(None) == {}


@pytest.mark.parametrize("shape", [(), (3, 5)], ids=["dense", "maps"])
def test_channels_stand_by_number_and_none_is_pruned(shape):
    means = np.random.default_rng(0).random((*shape, 7))
    (name, figure), *others = run.draw_channels({"conv_1": means}).items()
    assert (name, others) == ("channels.png", [])
    panel = drawn(figure).axes[0]
    assert "conv_1, 7 channels" in panel.get_title()
    assert "pruned" not in panel.get_title()
    if shape:
        assert [text.get_text() for text in panel.texts] == [str(number) for number in range(7)]
        assert len(panel.patches) == 0
    else:
        assert [bar.get_height() for bar in panel.patches] == means.tolist()
        assert panel.get_xlabel() == "channel"


def test_of_several_layers_each_has_a_figure_of_its_channels():
    shown = run.draw_channels({"conv_1": np.ones((2, 2, 3)), "conv_2": np.ones((2, 2, 4))})
    assert set(shown) == {"channels/conv_1.png", "channels/conv_2.png"}
