"""Sweeps in a database of their own, which all tests of the report share."""

import shutil
from pathlib import Path

import fake_sweep
import pytest

SKIPPED = "this order needs a BatchNormalization of the channels, and at 'conv_3' there is none"
FAILED = "OSError: /home/lodger/images.h5 is <b>damaged</b>"
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>" + "x" * 100


class Sweeps:
    """A folder with a database; `Sweeps[300]` is the parent of a sweep of so many cells."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._made = folder, {}
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"

    def __getitem__(self, kind: int | str) -> str:
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: int | str) -> str:
        if kind == "clean":
            return fake_sweep.make(self.folder, fake_sweep.GRIDS[3], poisoned=False)
        if kind == "hostile":
            grid = {"prune/order": [f"clp{HOSTILE}", f"anp{HOSTILE}"]}
            return fake_sweep.make(self.folder, grid, name=HOSTILE, experiment=HOSTILE)
        failing = {}
        if kind == 60:
            bnp = fake_sweep.ORDERS.index("bnp") * 6
            failing = {job: ("SKIPPED", SKIPPED) for job in range(bnp, bnp + 6)}
            failing |= {7: ("FAILED", FAILED)}
        return fake_sweep.make(
            self.folder, fake_sweep.GRIDS[kind], failing=failing, missing=[59] if kind == 60 else []
        )


@pytest.fixture(scope="session")
def sweeps(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(database, folder)
    return Sweeps(folder)
