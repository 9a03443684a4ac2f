"""A run against an attack that learns its trigger: checked before, trained once, probed after."""

from pathlib import Path

import h5py
import mlflow
import numpy as np
import pytest
from crashes import SMALL, Project

from sweep.attacks import grond, input_aware, learned

ATTACK = ("attack=input_aware", "twin=true", "probe=[relearn,dose]", "tracking.models=false")
CHEAP = ("probe.relearn.poisoned=[2]", "probe.relearn.clean=16", "probe.relearn.epochs=1")


@pytest.fixture
def project(tmp_path) -> Project:
    (tmp_path / "program").mkdir()
    return Project(tmp_path / "program", *SMALL)


def kept(project: Project) -> list[Path]:
    return sorted((project.folder / "outputs" / "badnets").rglob("*.npz"))


def pairs(project: Project) -> tuple[np.ndarray, np.ndarray]:
    """Clean test images, and those that were made from them."""
    (clean,) = (project.folder / "outputs" / "data").glob("faces-*/cl/test.h5")
    (poisoned,) = (project.folder / "outputs" / "data").glob("poisoned-*/bd/bd_test.h5")
    with h5py.File(clean) as before, h5py.File(poisoned) as after:
        images = before["data"][:][after["clean_index"][:]]
        return np.moveaxis(images, 1, -1), np.moveaxis(after["data"][:], 1, -1)


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
    images, poisoned = pairs(project)
    np.testing.assert_array_equal(poisoned, input_aware(images, learned=learned.read(path)))

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


def test_a_trigger_is_found_on_the_clean_twin_and_both_networks_are_kept(project):
    attack = ("attack=grond", "attack.learn.bound=0.05", "attack.learn.steps=10")
    more = ("twin=true", "probe=[dose]", "tracking.models=false")
    told = project.run(*attack, "attack.clean_label=false", exits=2)
    assert "attack.clean_label is false; this attack poisons images of the target's class" in told
    told = project.run(*attack, "attack.target=8", exits=2)
    assert "attack.target is 8; expected a class, 0 to 7" in told
    assert kept(project) == []

    project.run(*attack, *more)
    (path,) = kept(project)
    networks = {each.parent: each.stat().st_mtime_ns for each in path.parents[1].rglob("*.keras")}
    assert len(networks) == 2, "B and its twin"
    assert path.parent in networks
    images, poisoned = pairs(project)
    np.testing.assert_array_equal(poisoned, grond(images, learned=learned.read(path)))
    change = np.abs(poisoned.astype(int) - images).max()
    assert 0.05 * 255 - 1 < change <= 0.05 * 255 + 1

    project.run(*attack, *more)
    assert networks == {
        each.parent: each.stat().st_mtime_ns for each in path.parents[1].rglob("*.keras")
    }
    mlflow.set_tracking_uri(f"sqlite:///{project.folder / 'mlflow.db'}")
    again, first = (run.data.metrics for run in project.runs())
    assert first["dose/badnet/1/attack_success_rate"] == pytest.approx(
        first["badnet/attack_success_rate"]
    )
    assert {"twin/attack_success_rate", "dose/0.5/attack_success_rate"} <= first.keys()
    assert again["badnet/attack_success_rate"] == first["badnet/attack_success_rate"]
