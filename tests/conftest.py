"""What tests share: quiet libraries, the real cases, small files and networks.

Keras is imported by what needs it, so that tests of the numpy parts start at once.
"""

from __future__ import annotations

import gc
import os
import signal

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    import keras
    from services import MlflowServer

# What is drawn is the same each time; --hypothesis-profile=default draws other ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# A shell has what it starts in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Let workers take the files in their order: those that take long, of few tests, not last."""
    config.option.loadscopereorder = False


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the lab's and the traffic signs' files, which lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real cases (shared/data) do not lie beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of no runs, to be copied: it costs seconds to make, once for all workers."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "mlflow.db"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            MlflowClient(f"sqlite:///{path}")
            gc.collect()  # what goes later takes its lines from under a doctest that begins
    return path


@pytest.fixture(scope="session")
def prepared(database: Path) -> Path:
    """What small sweeps share, and a database of no runs, to be copied: made once for all workers.

    In `outputs/` images, the BadNet and the cache of `crashes.SMALL`.
    """
    from crashes import SMALL, Project

    folder = database.with_name("prepared")
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            making = folder.with_name("preparing")
            making.mkdir()
            shutil.copy(database, making)
            Project(making, *SMALL, "tracking.models=false").run()
            (folder / "outputs").mkdir(parents=True)
            shutil.copy(database, folder)
            for kept in ("data", "badnets", "cache"):
                shutil.copytree(making / "outputs" / kept, folder / "outputs" / kept)
    return folder


@pytest.fixture(scope="module")
def server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server on loopback, which its tests may end."""
    from services import MlflowServer

    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database, folder)
    started = MlflowServer(f"sqlite:///{folder / 'mlflow.db'}", folder)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def _database(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sweep.tracking import store

    folder = tmp_path_factory.mktemp("store")
    shutil.copy(database, folder)
    store.connect(f"sqlite:///{folder / 'mlflow.db'}", "runs", folder)
    return folder


@pytest.fixture
def root(_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database of runs, which all tests share."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return _database


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write `write(path, data=..., label=...)`: an HDF5 file of the datasets given."""

    def write(path: Path, **datasets: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for name, values in datasets.items():
                file[name] = values
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, write: Callable[..., Path]) -> Path:
    """A folder in the lab's layout: 8 x 7 images of 3 colours, 5 classes, 20 in each file."""
    rng = np.random.default_rng(0)
    root = tmp_path / "lab"
    for place in ("cl/valid.h5", "cl/test.h5", "cl/train.h5"):
        pixels = rng.integers(0, 256, (20, 3, 8, 7), dtype=np.uint8)
        write(root / place, data=pixels, label=np.arange(20) % 5)
    for place in ("bd/bd_valid.h5", "bd/bd_test.h5"):
        pixels = rng.integers(0, 256, (12, 3, 8, 7), dtype=np.uint8)
        true = 1 + np.arange(12) % 4
        write(root / place, data=pixels, label=np.zeros(12), true_label=true)
    return root


@pytest.fixture
def small() -> Callable[..., keras.Model]:
    """Build a convolutional network for 8 x 7 images of 3 colours: logits of 5 classes."""

    def small(seed: int = 0, activation: str | None = None, classes: int = 5) -> keras.Model:
        import keras
        from zoo import randomized

        images = keras.Input((8, 7, 3))
        x = keras.layers.Conv2D(4, 3, activation="relu", name="conv_1")(images)
        x = keras.layers.Conv2D(6, 3, activation="relu", name="conv_2")(x)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        scores = keras.layers.Dense(classes, activation=activation, name="scores")(x)
        return randomized(keras.Model(images, scores, name="small"), seed)

    return small


@pytest.fixture
def images() -> np.ndarray:
    """Forty images of 8 x 7 pixels and 3 colours."""
    return np.random.default_rng(1).normal(size=(40, 8, 7, 3)).astype(np.float32)
