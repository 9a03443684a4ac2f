"""The smallest triggers are shown with their numbers, and every class has a bar."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sweep.evaluation.outliers import log_anomaly
from sweep.results.figures import verdict
from sweep.results.figures.run import BLUE, RED


def drawn(
    classes: int, colours: int = 3, kind: str = "mask", sizes: np.ndarray | None = None
) -> Figure:
    """The figure of random triggers, class 1 far the smallest, once it has been drawn."""
    rng = np.random.default_rng(0)
    if sizes is None:
        sizes = rng.uniform(9, 11, classes)
        sizes[1] = 1
    masks = rng.random((classes, 6, 5, 1)) * (kind == "mask")
    paints = 255 * masks * rng.random((classes, 6, 5, colours))
    if kind == "additive":
        paints = 20 * rng.normal(size=paints.shape)
    image = 255 * rng.random((6, 5, colours))
    figure = verdict.draw_reversed_triggers(
        image, np.arange(classes), sizes, log_anomaly(sizes), masks, paints, (0, 255), "conv_3"
    )
    figure.savefig(BytesIO(), dpi=20)
    return figure


@pytest.mark.parametrize(("classes", "colours"), [(3, 1), (43, 3), (300, 3)])
@pytest.mark.parametrize("kind", ["mask", "additive"])
def test_the_smallest_triggers_come_first_and_all_classes_have_a_bar(classes, colours, kind):
    figure = drawn(classes, colours, kind)
    *panels, strip = figure.axes
    assert panels[0].get_title().startswith("class 1\nsize 1\n")
    shown = min(classes, verdict.SHOWN)
    assert [len(panel.images) for panel in panels] == 3 * ([1] * shown + [0] * (8 - shown))
    assert len(strip.patches) == classes
    names = [panels[row * verdict.SHOWN].get_ylabel() for row in range(3)]
    assert names[0] == "stamped"
    assert (names[1] == "trigger") == (kind == "mask")


def test_outliers_alone_are_red():
    *panels, strip = drawn(43).axes
    red = [to_hex(bar.get_facecolor()) == RED for bar in strip.patches]
    assert red == [cls == 1 for cls in range(43)]
    assert to_hex(strip.patches[0].get_facecolor()) == BLUE
    assert panels[0].title.get_color() == RED
    assert panels[1].title.get_color() == "black"


def test_classes_without_a_trigger_have_no_bar():
    strip = drawn(6, sizes=np.array([4.0, 5, 6, 7, np.inf, np.inf])).axes[-1]
    assert [bar.get_height() for bar in strip.patches][4:] == [0, 0]
