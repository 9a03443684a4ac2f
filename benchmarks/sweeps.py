"""What a cell of a sweep costs beside its numbers, and how many cells a minute workers bring.

python benchmarks/sweeps.py --old CHECKOUT          a warm cell, and a sweep of nothing new, of both
python benchmarks/sweeps.py --workers 1,2,4         cells a minute, cold and warm
python benchmarks/sweeps.py --workers 1,2,4 --server            of runs on a server, started for it
python benchmarks/sweeps.py --workers 1,2 'repair=[finetune]'   other cells

A warm cell finds images, network, cut and curve in the cache. Its cost is the time from the start
of a cell to the start of the next one. Old and new take turns, round by round, each in a folder of
its own, so that whatever else the machine does slows both.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import psutil
from mlflow.entities import Run

HERE = Path(__file__).resolve().parents[1]
SMALL = ("data.identities=6", "data.images_per_identity=16", "badnet.epochs=1")
GRID = ("prune/order=mean_activation,random", "prune.frac=0.02,0.04,0.06,0.08,0.1")
CELLS = 10
EXPERIMENT = "prunesweep"


@dataclass(frozen=True)
class Project:
    """The program of a `checkout`, in a `folder` where it keeps all that it makes."""

    checkout: Path
    folder: Path
    uri: str | None = None

    @classmethod
    def of(cls, checkout: Path, folder: Path, uri: str | None = None) -> "Project":
        folder.mkdir()
        shutil.copy(checkout / "run.py", folder)
        shutil.copytree(checkout / "conf", folder / "conf")
        return cls(checkout, folder, uri)

    @property
    def store(self) -> str:
        return self.uri or f"sqlite:///{self.folder / 'mlflow.db'}"

    def sweep(self, *overrides: str) -> float:
        """Run the sweep; the seconds that the whole command took."""
        given = (*SMALL, *GRID, f"tracking.uri={self.store}", f"tracking.experiment={EXPERIMENT}")
        command = [sys.executable, "run.py", "-m", *given, *overrides]
        environment = os.environ | {"PYTHONPATH": str(self.checkout)}
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return time.perf_counter() - started

    def cells(self) -> list[Run]:
        """The cells of the latest sweep, in the order in which they began."""
        mlflow.set_tracking_uri(self.store)
        search = {"experiment_names": [EXPERIMENT], "output_format": "list"}
        parent = mlflow.search_runs(filter_string="tags.cells != ''", max_results=1, **search)[0]
        mine = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        runs = mlflow.search_runs(filter_string=mine, **search)
        return sorted(runs, key=lambda run: run.info.start_time)


def cell_seconds(runs: list[Run]) -> list[float]:
    """The seconds from the start of each cell to that of the next, but for the first."""
    starts = [run.info.start_time / 1000 for run in runs]
    return [after - before for before, after in pairwise(starts[1:])]


def compare(old: Path, rounds: int, folder: Path) -> None:
    """Print what a warm cell, and a sweep all of whose cells are finished, cost in both."""
    projects = {
        "old": Project.of(old, folder / "old"),
        "new": Project.of(HERE, folder / "new"),
    }
    for project in projects.values():
        project.sweep()  # images, network, cache; and finished cells, with models
    print(f"medians of {rounds} rounds of {CELLS} cells, SQLite")
    print(f"{'':34} {'old':>8} {'new':>8}  new / old")
    for models in ("false", "true"):
        costs: dict[str, list[float]] = {name: [] for name in projects}
        for _ in range(rounds):
            for name, project in projects.items():
                project.sweep("rerun=true", f"tracking.models={models}")
                costs[name] += cell_seconds(project.cells())
        row(f"a warm cell, tracking.models={models}", costs, 1000, "ms")
    whole = {name: [] for name in projects}
    for _ in range(rounds):
        for name, project in projects.items():
            whole[name].append(project.sweep())
    row("a sweep of finished cells", whole, 1, "s")


def row(what: str, costs: dict[str, list[float]], factor: float, unit: str) -> None:
    """Print a line: the medians of both, and their ratio."""
    old, new = (factor * statistics.median(costs[name]) for name in ("old", "new"))
    digits = 0 if unit == "ms" else 1
    print(f"{what:34} {old:>5.{digits}f} {unit:2} {new:>5.{digits}f} {unit:2}  {new / old:.1%}")


def cells_a_minute(
    workers: list[int], server: psutil.Process | None, uri: str | None, cell: Sequence[str]
) -> None:
    """Print how many cells a minute so many workers bring, cold and warm."""
    store = "a server" if server else uri or "SQLite"
    print(f"{CELLS} cells, {os.cpu_count()} cores, {store}, {' '.join(cell)}")
    print("cells a minute: from the first begun to the last done")
    print("workers        whole command   cells a minute   server's CPU, a cell")
    for count in workers:
        launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}"] if count > 1 else []
        with TemporaryDirectory() as folder:
            project = Project.of(HERE, Path(folder, "project"), uri)
            for state in ("cold", "warm"):
                before = cpu_seconds(server)
                seconds = project.sweep("rerun=true", *cell, *launcher)
                served = (cpu_seconds(server) - before) / CELLS
                runs = project.cells()
                last = max(run.info.end_time for run in runs)
                rate = 60 * len(runs) / (last - runs[0].info.start_time) * 1000
                of_server = f"{1000 * served:.0f} ms" if server else "-"
                print(f"{count:7} {state:4} {seconds:13.1f} s {rate:16.1f} {of_server:>22}")


def cpu_seconds(process: psutil.Process | None) -> float:
    """What a process and its children have used of cores; 0 where there is none."""
    if process is None:
        return 0.0
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


@contextmanager
def started_server() -> Iterator[tuple[psutil.Process, str]]:
    """An `mlflow server` on a SQLite file of its own: its process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        command += ["--artifacts-destination", f"{folder}/artifacts"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = psutil.Popen(command, **quiet)
        try:
            while server.poll() is None:
                with suppress(OSError), urllib.request.urlopen(f"{uri}/health"):
                    break
                time.sleep(0.2)
            yield server, uri
        finally:
            for one in (*server.children(recursive=True), server):
                one.kill()
            server.wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--old", type=Path, help="another checkout, that this one is compared with")
    parser.add_argument("--rounds", type=int, default=3, help="of each; medians are printed")
    parser.add_argument("--workers", help="how many workers, as 1,2,4")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", action="store_true", help="of MLflow, started for this")
    where.add_argument("--uri", help="where runs are kept (default: a SQLite file)")
    parser.add_argument("cell", nargs="*", default=["tracking.models=false"], help="overrides")
    options = parser.parse_args()
    if options.old:
        with TemporaryDirectory() as folder:
            compare(options.old.resolve(), options.rounds, Path(folder))
    if options.workers:
        counts = [int(count) for count in options.workers.split(",")]
        with started_server() if options.server else nullcontext((None, options.uri)) as found:
            cells_a_minute(counts, *found, options.cell)


if __name__ == "__main__":
    main()
