"""What the tests of probes share: the images of a small BadNet, in files."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from repaired import TARGET, noisy_patterns, small_badnet, stamped

from sweep.data import Files, h5
from sweep.probes import Attacker

#: Images in each file of clean ones; a quarter of them are of the target's class.
COUNT = 120


@pytest.fixture(scope="session")
def badnet() -> keras.Model:
    return small_badnet()


@pytest.fixture(scope="session")
def innocent() -> keras.Model:
    """The same network, trained without the trigger."""
    return small_badnet(poisoned=0)


@pytest.fixture
def files(tmp_path: Path, write: Callable[..., Path]) -> Files:
    """Validation and test images, and poisoned ones of all of them, also of the target's class."""
    for number, name in enumerate(("valid", "test"), start=3):
        clean = noisy_patterns(number, COUNT)
        index = np.arange(COUNT)[::-1]
        write(tmp_path / f"cl/{name}.h5", data=clean.pixels, label=clean.labels)
        write(
            tmp_path / f"bd/bd_{name}.h5",
            data=stamped(clean.pixels)[index],
            label=np.full(COUNT, TARGET),
            true_label=clean.labels[index],
            clean_index=index,
        )
    return h5(str(tmp_path), channels="last")


@pytest.fixture
def attacker(files: Files) -> Callable[..., Attacker]:
    """Build an attacker of these images, of a network B' and what else is said."""

    def build(repaired: keras.Model, seed: int = 0, **more: object) -> Attacker:
        images = {"valid": files.read("valid"), "test": files.read("test")}
        images["poisoned"] = files.read("poisoned_test")
        given = {"badnet": repaired, "files": files, "images": images} | more
        return Attacker(repaired=repaired, seed=seed, **given)

    return build
