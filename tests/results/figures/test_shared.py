"""What cells of a sweep have alike is drawn once, kept on its run, and found from each cell."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from sweep import tracking
from sweep.results.figures import shared
from sweep.results.figures.shared import log_shared
from sweep.tracking import store

KEY = "0123456789abcdef"


@pytest.fixture
def experiment(root, monkeypatch) -> str:
    monkeypatch.setattr(shared, "_kept", {})
    return store.connect(None, "shared", root)


def files(run_id: str, folder: str = "figures") -> list[str]:
    return [file.path for file in MlflowClient().list_artifacts(run_id, folder)]


def cell(experiment: str, parent: str | None, draw, key: str = KEY):
    with tracking.start_run(experiment, "cell", {}, {}, parent) as log:
        log_shared(log, key, draw)
    return MlflowClient().get_run(log.run_id)


def test_cells_of_a_sweep_keep_it_once_on_its_run_and_name_it(experiment, monkeypatch):
    parent, drawn = MlflowClient().create_run(experiment).info, []

    def draw():
        drawn.append(1)
        return {"attack.png": Figure(), "channels/conv_1.png": Figure()}

    cells = [cell(experiment, parent.run_id, draw) for _ in range(2)]
    monkeypatch.setattr(shared, "_kept", {})  # as in another process
    cells.append(cell(experiment, parent.run_id, draw))
    assert len(drawn) == 1
    for one in cells:
        assert files(one.info.run_id) == []
        (place,) = shared.places(one, {})
        folder = Path(place.removeprefix("file://"))
        assert {path.name for path in folder.rglob("*.png")} == {"attack.png", "conv_1.png"}
        assert folder.name == "0123456789ab"
    cell(experiment, parent.run_id, draw, "another key")
    assert len(drawn) == 2


def test_a_cell_may_share_several(experiment):
    parent = MlflowClient().create_run(experiment).info
    with tracking.start_run(experiment, "", {}, {}, parent.run_id) as log:
        for key in ("one", "two"):
            log_shared(log, key, lambda: {"attack.png": Figure()})
    places = shared.places(log.run(), {parent.run_id: "file:///elsewhere"})
    assert places == ["file:///elsewhere/figures/one", "file:///elsewhere/figures/two"]


def test_a_run_alone_keeps_its_own(experiment):
    alone = cell(experiment, None, lambda: {"attack.png": Figure()})
    assert files(alone.info.run_id) == ["figures/attack.png"]
    assert shared.places(alone, {}) == []


def test_where_there_is_nothing_to_draw_nothing_is_named(experiment):
    parent = MlflowClient().create_run(experiment).info.run_id
    for _ in range(2):
        assert shared.places(cell(experiment, parent, dict), {}) == []
    assert files(parent) == []


def test_where_the_sweep_is_gone_there_is_none(experiment):
    parent = MlflowClient().create_run(experiment).info.run_id
    one = cell(experiment, parent, lambda: {"attack.png": Figure()})
    one.data.tags["figures"] = f"{'0' * 32}/key"
    assert shared.places(one, {}) == []
