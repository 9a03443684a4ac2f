"""What makes two cells the same: content, not places; code and settings, not how they are run."""

import shutil
from pathlib import Path

import h5py
import hydra
import pytest

from sweep import files
from sweep.cli import identity
from sweep.cli.checks import checked_parts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def digest(monkeypatch, tmp_path, folder, small):
    """The digest of one cell on own files, with more overrides."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    small().save(folder / "own.keras")

    def digest(*overrides: str, at: Path = folder) -> str:
        own = ["data=h5", f"data.root={at}", "badnet=file", f"badnet.path={at}/own.keras"]
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = hydra.compose("config", overrides=[*own, *overrides])
            return identity.digest(cfg, checked_parts(cfg))

    return digest


def test_the_same_files_elsewhere_and_other_ways_to_run_are_the_same_cell(digest, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved")
    moved = tmp_path / "moved"
    assert digest() == digest() == digest(at=moved)
    for same in (
        "tracking.models=false", "tracking.experiment=b", "cache.max_gb=0", "rerun=true",
        "fail_fast=true", "dry_run=true", "prune.frac=0.04", "prune/stop=accuracy_drop",
        "register=door",
    ):  # fmt: skip
        assert digest(same) == digest(), same


def test_other_settings_images_or_networks_are_other_cells(digest, folder, small):
    first = digest()
    for other in (
        "prune.frac=0.05",
        "seed=1",
        "prune/order=l1_norm",
        "data.scale=255",
        "data.valid_per_class=2",
        "data.valid_changed=blurred",
        "verdict=true",
        "twin=true",
        "probe=[dose]",
    ):
        assert digest(other) != first, other
    assert digest("probe=[dose]") != digest("probe=[dose]", "probe.dose.doses=[1]")
    small(seed=1).save(folder / "own.keras")
    second = digest()
    with h5py.File(folder / "cl" / "test.h5", "r+") as file:
        file["data"][0, 0, 0, 0] = 1 + file["data"][0, 0, 0, 0] % 2
    assert len({first, second, digest()}) == 3


def test_code_counts_ours_and_theirs(digest, tmp_path, monkeypatch):
    package = files.PACKAGE
    told = identity._code.__wrapped__(package)
    monkeypatch.setattr(identity, "UNCOUNTED_SOURCES", identity.UNCOUNTED_SOURCES - {"results"})
    assert identity._code.__wrapped__(package) != told

    monkeypatch.syspath_prepend(tmp_path)
    theirs = tmp_path / "an_order_of_mine.py"
    found = []
    for text in ("def order(evidence): ...", "def order(evidence): return 1"):
        theirs.write_text(text)
        identity._code_elsewhere.cache_clear()
        found.append(digest("prune.order._target_=an_order_of_mine.order"))
    assert len(set(found)) == 2
    package = tmp_path / "a_package_of_mine"
    package.mkdir()
    (package / "orders.py").write_text("from . import beside\ndef order(evidence): ...")
    for text in ("a = 1", "a = 2"):
        (package / "beside.py").write_text(text)
        identity._code_elsewhere.cache_clear()
        found.append(digest("prune.order._target_=a_package_of_mine.orders.order"))
    assert len(set(found)) == 4
    found = found[:2]
    layers = tmp_path / "layers_of_mine.py"
    for text in ("class Layer: a = 1", "class Layer: a = 2"):
        layers.write_text(text)
        identity._code_elsewhere.cache_clear()
        found.append(digest("badnet.custom_objects=layers_of_mine.Layer"))
        found.append(digest(f"badnet.custom_objects={layers}"))
    assert len(set(found)) == 6
