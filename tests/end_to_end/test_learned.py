"""A run against an attack that learns its trigger: checked before, trained once, probed after."""

from pathlib import Path

import h5py
import mlflow
import numpy as np
import pytest
from crashes import SMALL, Project

from sweep.attacks import input_aware, learned

ATTACK = ("attack=input_aware", "twin=true", "probe=[relearn,dose]", "tracking.models=false")
CHEAP = ("probe.relearn.poisoned=[2]", "probe.relearn.clean=16", "probe.relearn.epochs=1")


@pytest.fixture
def project(tmp_path) -> Project:
    (tmp_path / "program").mkdir()
    return Project(tmp_path / "program", *SMALL)


def kept(project: Project) -> list[Path]:
    return sorted((project.folder / "outputs" / "badnets").rglob("*.npz"))


def test_a_learned_trigger_is_checked_before_and_learned_once(project):
    told = project.run(*ATTACK, *CHEAP, "attack.learn.sparsity=0", exits=2)
    assert "attack.learn.sparsity is 0; expected a number above 0" in told
    told = project.run(*ATTACK, *CHEAP, "dry_run=true")
    assert "cannot be estimated: the photographs are not rendered yet" in told
    assert not (project.folder / "outputs" / "data").exists()
    assert kept(project) == []

    printed = project.run(*ATTACK, *CHEAP)
    assert "The attack did not take hold of B" in printed
    (path,) = kept(project)
    assert path.name == "trigger.npz"
    assert path.with_name("bd_net.keras").is_file()
    (clean,) = (project.folder / "outputs" / "data").glob("faces-*/cl/test.h5")
    (poisoned,) = (project.folder / "outputs" / "data").glob("poisoned-*/bd/bd_test.h5")
    with h5py.File(clean) as before, h5py.File(poisoned) as after:
        images = np.moveaxis(before["data"][:][after["clean_index"][:]], 1, -1)
        stamped = input_aware(images, learned=learned.read(path))
        np.testing.assert_array_equal(np.moveaxis(after["data"][:], 1, -1), stamped)

    written = path.stat().st_mtime_ns
    project.run(*ATTACK, *CHEAP)
    assert path.stat().st_mtime_ns == written
    mlflow.set_tracking_uri(f"sqlite:///{project.folder / 'mlflow.db'}")
    again, first = project.runs()
    rates = {name for name in first.data.metrics if "time/" not in name}
    assert {"twin/clean_accuracy", "relearn/twin/2/attack_success_rate"} <= rates
    assert first.data.metrics["dose/badnet/1/attack_success_rate"] == pytest.approx(
        first.data.metrics["badnet/attack_success_rate"]
    )
    assert {name: again.data.metrics[name] for name in rates} == {
        name: first.data.metrics[name] for name in rates
    }
