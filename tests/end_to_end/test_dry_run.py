"""What `dry_run=true` tells: which cells would run, and what that will take."""

import shutil

import pytest
from crashes import SMALL, Project

HEAD = ["layer", "tail", "channels", "values", "images", "curves", "passes", "minutes", "GB"]
IMAGES = 20 + 20 + 12  # of the folder's files


@pytest.fixture
def given(folder, small, tmp_path) -> tuple[str, ...]:
    """Own images, and own networks of other seeds, as `badnet.path` names them."""
    for seed in (0, 1):
        small(seed).save(tmp_path / f"{seed}.keras")
    return ("data=h5", f"data.root={folder}", "badnet=file", f"badnet.path={tmp_path}/0.keras")


@pytest.fixture
def project(tmp_path) -> Project:
    (tmp_path / "program").mkdir()
    return Project(tmp_path / "program")


def rows(printed: str) -> list[list[str]]:
    """The rows of the table of estimates."""
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    (head,) = [number for number, line in enumerate(lines) if line.split() == HEAD]
    return [line.rsplit(maxsplit=8) for line in lines[head + 1 : lines.index("", head)]]


def test_a_cell_alone_is_estimated_and_leaves_no_run(project, given):
    printed = project.run(*given, "prune.layer=conv_2", "dry_run=true")
    assert printed.startswith("1 cell, all right; a cell by itself always runs\n")
    ((layer, tail, *counts, passes, minutes, memory),) = rows(printed)
    assert (layer, tail) == ("conv_2", "linear")
    assert counts == ["6", "6", str(IMAGES), "1"]  # pooled before the cut: one value a channel
    assert float(passes) > 0
    assert 0 <= float(minutes) < 5
    assert 0.2 < float(memory) < 3
    assert "in one process, estimated from a few batches on this machine" in printed
    assert not (project.folder / "mlflow.db").exists()
    assert "About" not in project.run(*given, "prune.layer=conv_2"), "that is not long"


def test_a_sweep_has_a_row_a_cut_told_apart_by_the_first_cell(project, given, tmp_path):
    networks = f"badnet.path={tmp_path}/0.keras,{tmp_path}/1.keras"
    printed = project.run("-m", *given[:-1], networks, "prune.frac=0.1,0.2", "dry_run=true")
    assert "4 cells: 4 to run, 0 finished before\n" in printed
    assert [row[0] for row in rows(printed)] == ["conv_2, cell 0", "conv_2, cell 2"]


def test_a_network_that_is_still_to_be_trained_cannot_be_estimated(project, prepared):
    sentence = "What it takes cannot be estimated: {} yet.\n"
    told = project.run(*SMALL, "dry_run=true")
    assert told.endswith(sentence.format("the photographs are not rendered"))
    assert not (project.folder / "outputs" / "data").exists()
    shutil.copytree(prepared / "outputs", project.folder / "outputs", dirs_exist_ok=True)
    told = project.run("-m", *SMALL[:-1], "badnet.epochs=2,3", "dry_run=true")
    assert [row[0] for row in rows(told)] == ["conv_3"]
    assert told.endswith(sentence.format("the network is not trained"))
    assert len([*(project.folder / "outputs" / "badnets").glob("*/bd_net.keras")]) == 1
