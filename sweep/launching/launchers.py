"""Hydra's launchers: how many cells each runs at once, and who divides the machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from sweep import BadInput
from sweep.launching import workers
from sweep.redaction import redacted

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher."
RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"


@dataclass(frozen=True)
class Launcher:
    """A launcher as it was chosen.

    in_process: cells run one after the other, in the sweep's own process; width: how many may run
    at once, as far as that is known; count: how many workers
    there are on this machine at once, 0 where the launcher sees to that; at_once: how many cells
    are launched together, None: all; threads: of a worker, None where nobody divides the cores;
    elsewhere: cells run on other machines; logs: where workers write down what goes wrong; writes:
    what a cell is to do is written into files.
    """

    name: str = "basic"
    in_process: bool = False
    width: int = 1
    count: int = 0
    at_once: int | None = None
    threads: int | None = None
    elsewhere: bool = False
    logs: str = ""
    writes: bool = False

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any], cells: int) -> "Launcher":
        """The launcher of these settings, of Hydra's, for a sweep of so many cells to run."""
        target = str(settings.get("_target_"))
        if target == BASIC:
            return cls(name, in_process=True)
        if target == JOBLIB:
            count = max(1, min(_joblib_workers(settings["n_jobs"]), cells))
            return cls(name, width=count, count=count, threads=workers.threads_of(count))
        if target.startswith(SUBMITIT):
            slurm, threads = "Slurm" in target, settings["cpus_per_task"]
            logs = str(settings["submitit_folder"]).partition("/%")[0]
            if slurm:
                width = int(settings.get("array_parallelism") or 1)
                return cls(
                    name, width=width, threads=threads, elsewhere=True, logs=logs, writes=True
                )
            at_once = max(1, workers.cores() // (threads or 1))
            threads = threads or workers.threads_of(at_once)
            return cls(
                name, width=at_once, at_once=at_once, threads=threads, logs=logs, writes=True
            )
        if target == RAY:
            init, remote = settings["ray"]["init"], settings["ray"]["remote"]
            threads = max(1, int(remote.get("num_cpus") or 1))
            width = max(1, int(init.get("num_cpus") or workers.cores()) // threads)
            elsewhere = init.get("address") is not None
            return cls(name, width=width, threads=threads, elsewhere=elsewhere)
        return cls(name)

    def require(self, uri: str) -> None:
        """Raise BadInput where it is not installed, or cells cannot log what they find at `uri`."""
        if self.name == "ray" and find_spec("hydra_plugins.hydra_ray_launcher") is None:
            raise BadInput(
                "hydra/launcher=ray needs the extra ray, in an environment of its own: "
                'pip install -e ".[ray]" -c constraints-ray.txt'
            )
        if self.elsewhere and uri.startswith("sqlite:"):
            raise BadInput(
                f"hydra/launcher={self.name} runs cells on other machines, and a SQLite file "
                f"({uri.removeprefix('sqlite:///')}) can be written from one alone; expected "
                f"tracking.uri=http://HOST:PORT of an MLflow server, or a database server's"
            )
        if self.writes and redacted(uri) != uri:
            raise BadInput(
                f"hydra/launcher={self.name} writes tracking.uri={redacted(uri)} into the files of "
                f"its jobs, with its password; expected an address without one: give the password "
                f"as MLFLOW_TRACKING_PASSWORD, or for PostgreSQL as PGPASSWORD"
            )

    def settings(self, folder: str, width: int) -> workers.Settings:
        """What its workers are told."""
        return workers.Settings(
            folder,
            threads=self.threads,
            devices=workers.gpus() if self.count > 1 else (),
            environment=workers.inherited(),
            width=width,
        )


def _joblib_workers(count: int) -> int:
    """How many workers joblib starts for `n_jobs`; -1 are as many as cores, -2 one less."""
    if count == 0:
        raise BadInput("hydra.launcher.n_jobs is 0; expected 1 or more, or -1 for all cores")
    return count if count > 0 else max(1, workers.cores() + 1 + count)
