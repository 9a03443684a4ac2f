"""The clean twin beside a cell: what is logged of it, and what is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from sweep import BadInput, attacks, implants
from sweep.attacks import Attack
from sweep.badnets import FromFile, Trained
from sweep.cache import Cache
from sweep.data import h5
from sweep.networks import deepid, forward

ATTACK = Attack(partial(attacks.sunglasses), target=1, rate=0.2)


class Told:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.stages: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.stages.append(name)
        yield

    def tags(self, values: dict[str, str]) -> None:
        self.said |= values


@pytest.fixture
def source(tmp_path, write):
    """Twelve images of three classes, 31 x 31."""
    rng = np.random.default_rng(0)
    for name in ("train", "valid", "test"):
        data = rng.integers(0, 256, (12, 3, 31, 31)).astype("u1")
        write(tmp_path / "own" / "cl" / f"{name}.h5", data=data, label=np.arange(12) % 3)
    return h5(str(tmp_path / "own"), scale=255, folder=str(tmp_path / "made"))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """What a cell is made of, whose training gives an untrained network and costs nothing."""
    suspect = Trained(1, 4, 1e-3, seed=0, folder=str(tmp_path / "badnets"))
    monkeypatch.setattr(Trained, "_train", lambda self, *_: (deepid((31, 31, 3), 3, seed=5), {}))
    cache = Cache(str(tmp_path / "kept"), max_gb=1)
    return SimpleNamespace(suspect=suspect, attack=ATTACK, cache=cache)


def measured(parts, source, rates):
    """What is logged, tagged and timed of a cell's twin."""
    log, files = Told(), parts.suspect.files(replace(source, cache=parts.cache), parts.attack)
    images = files.images((31, 31, 3), 3, seed=0)
    return implants.of_twin(log, parts.suspect, files, images, rates), log, images


def test_the_rates_of_the_twin_are_those_of_a_plain_pass_on_test_and_stamped_images(parts, source):
    b = {"badnet/attack_success_rate": 0.99, "badnet/clean_accuracy": 0.0}
    rates, log, images = measured(parts, source, b)
    twin = parts.suspect.twin(source, ATTACK)
    said = forward.predict(twin, images["poisoned"].pixels)
    assert len(said) == 8  # those of the target's class wear no trigger
    assert rates == {
        "twin/clean_accuracy": np.mean(
            forward.predict(twin, images["test"].pixels) == images["test"].labels
        ),
        "twin/attack_success_rate": np.mean(said == 1),
        "twin/robust_accuracy": np.mean(said == images["poisoned"].true_labels),
    }
    assert log.stages == ["twin"]
    points = 100 * rates["twin/clean_accuracy"]
    assert points > 2
    assert log.said == {
        "implant": f"clean accuracy {points:.2f} points below its twin, more than 2"
    }


def test_the_twin_is_asked_once_by_all_cells(parts, source, monkeypatch):
    b = {"badnet/attack_success_rate": 0.5, "badnet/clean_accuracy": 1.0}
    first, log, _ = measured(parts, source, b)
    assert log.said == {"implant": "ASR 50.00 %, below 85 %"}
    monkeypatch.setattr(forward, "scores", None)
    parts.cache = Cache(parts.cache.folder, max_gb=1)
    assert measured(parts, source, b)[0] == first


def test_a_network_without_an_attack_is_its_own_twin(parts, source, capsys):
    parts.attack = Attack(partial(attacks.sunglasses), target=1, rate=attacks.HARMLESS_RATE)
    rates, log, _ = measured(parts, source, {})
    assert (rates, log.said, log.stages) == ({}, {}, [])
    assert "attack.rate=1e-06 B is trained without the attack" in capsys.readouterr().out


def test_somebody_elses_network_has_no_twin():
    with pytest.raises(BadInput, match=r"twin=true came with badnet=file, .* take badnet=trained$"):
        implants.require(FromFile("theirs.keras"))


def test_a_network_into_which_a_backdoor_is_written_is_not_its_own_twin(parts, source):
    written = {"rate": attacks.HARMLESS_RATE, "training": print}
    parts.attack = Attack(partial(attacks.sunglasses), target=1, **written)
    rates, log, _ = measured(parts, source, {"badnet/attack_success_rate": 1.0})
    assert "twin/attack_success_rate" in rates
    assert log.said == {"implant": "yes"}
