"""Hydra's launchers: how many cells each runs at once, and who divides the machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep import BadInput
from sweep.launching import workers

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"


@dataclass(frozen=True)
class Launcher:
    """A launcher as it was chosen.

    in_process: cells run one after the other, in the sweep's own process; count: how many there
    are on this machine at once, 0 where the launcher runs elsewhere; at_once: how many cells are
    launched together, None: all.
    """

    in_process: bool = False
    count: int = 0
    at_once: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], cells: int) -> "Launcher":
        """The launcher of these settings, of Hydra's, for a sweep of so many cells to run."""
        target = settings.get("_target_")
        if target == BASIC:
            return cls(in_process=True)
        if target == JOBLIB:
            return cls(count=max(1, min(_joblib_workers(settings["n_jobs"]), cells)))
        return cls()

    def settings(self, folder: str, width: int) -> workers.Settings:
        """What its workers are told."""
        return workers.Settings(
            folder,
            threads=workers.threads_of(self.count) if self.count else None,
            devices=workers.gpus() if self.count > 1 else (),
            environment=workers.inherited(),
            width=width,
        )


def _joblib_workers(count: int) -> int:
    """How many workers joblib starts for `n_jobs`; -1 are as many as cores, -2 one less."""
    if count == 0:
        raise BadInput("hydra.launcher.n_jobs is 0; expected 1 or more, or -1 for all cores")
    return count if count > 0 else max(1, workers.cores() + 1 + count)
