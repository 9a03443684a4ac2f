"""What the cells of a sweep will take: what they share counts once, what is kept is not told."""

import re
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

from sweep import estimation
from sweep.cli import checks, parts
from sweep.results import printed

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 20 + 20 + 12  # of the folder's files


@pytest.fixture
def cells(monkeypatch, tmp_path, folder, small):
    """The configs of cells on own files, each by its overrides."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    for seed in (0, 1):
        small(seed).save(folder / f"{seed}.keras")
    own = ["data=h5", f"data.root={folder}", "badnet=file", f"badnet.path={folder}/0.keras"]

    def cells(*overrides: str) -> dict[int, DictConfig]:
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return {
                job: hydra.compose("config", overrides=[*own, *each.split()])
                for job, each in enumerate(overrides)
            }

    return cells


def test_cells_share_the_pass_to_a_cut_and_those_that_rank_alike_a_curve(cells, folder):
    found, missing = parts.estimates(
        cells(
            "prune.layer=conv_1",
            "prune.layer=conv_1 prune.frac=0.2 repair=[shrink]",
            "prune.layer=conv_1 prune/order=l1_norm",
            "prune.layer=conv_1 prune/order=bnp",  # does not apply without a BatchNormalization
            "prune.layer=conv_2 seed=1",
            "prune.layer=conv_2 seed=2",
            "prune.layer=conv_2 prune.step=2",
            f"prune.layer=conv_2 badnet.path={folder}/1.keras",
        )
    )
    assert not missing
    told = {job: (e.layer, e.curves, e.pace.steps, e.passed, e.images) for job, e in found.items()}
    assert told == {
        0: ("conv_1", 2, 5, IMAGES, IMAGES),
        4: ("conv_2", 2, 7, IMAGES, IMAGES),
        6: ("conv_2", 1, 4, IMAGES, IMAGES),
        7: ("conv_2", 1, 7, IMAGES, IMAGES),
    }


def test_where_no_order_applies_there_is_nothing_to_tell(cells):
    assert parts.estimates(cells("prune/order=bnp", "prune.semantics=gamma")) == ({}, set())


def announced(configs: dict[int, DictConfig], capsys) -> str:
    checks.announce(configs)
    return " ".join(capsys.readouterr().out.split())


def test_a_sweep_is_announced_where_it_is_long_and_not_passed_before(cells, monkeypatch, capsys):
    grid = cells("prune.layer=conv_1", "prune.layer=conv_2")
    assert announced(grid, capsys) == "", "it is short"
    monkeypatch.setattr(printed, "LONG", 0.0)
    assert announced({0: grid[0]}, capsys) == "", "the one cell says it itself"
    assert announced(cells("inspect=true", "inspect=true seed=1"), capsys) == ""
    both = announced(grid, capsys)
    assert re.match(r"About \d+ s to come for all curves, and memory up to \d", both)
    assert both.endswith("dry_run=true tells it by layer. What trains comes on top.")
    for each in parts.Parts.from_config(grid[0]).at_cut(grid[0]).values():
        list(each._boundary_batches())
    asked = []

    def watched(sets, *more, **how):
        asked.append(sets[0].cut.layer)
        return estimation.estimate(sets, *more, **how)

    monkeypatch.setattr(parts, "estimate", watched)
    announced(grid, capsys)
    assert asked == ["conv_2"]
