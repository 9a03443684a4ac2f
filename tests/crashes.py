"""Kill a sweep by SIGKILL at many moments, then let it finish, and look at what is left.

    python tests/crashes.py 20          at twenty random moments
    python tests/crashes.py moments     just when something is being written, see MOMENTS

prints a line for each kill and, at the end, what was found. tests/end_to_end/test_resume.py does
the same with fewer kills.
"""

import csv
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import keras
import mlflow
import numpy as np
from mlflow.entities import Run
from program import Started

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("data.identities=8", "data.images_per_identity=8", "badnet.epochs=2")
GRID = ("prune/order=mean_activation,l1_norm,random", "repair=[],[finetune]")
GRID += ("prune.frac=0.02,0.04,0.06,0.08,0.1,0.15,0.2,0.3",)
CELLS = 3 * 2 * 8
#: What is there for a moment only, or from some moment on, in the order in which a sweep writes it.
MOMENTS = (
    ".mlflow.db~*",
    "mlflow.db",
    "outputs/sweeps/*/plan.json",
    "outputs/data/.faces*",
    "outputs/badnets/*/.bd_net*",
    "outputs/cache/**/.*npz*",
    "mlruns/*/*/artifacts/config.yaml",
    "mlruns/*/*/artifacts/curve.csv",
    "mlruns/*/models/*",
    "mlruns/*/models/*/artifacts/MLmodel",
    "mlruns/*/*/artifacts/goodnet.keras",
    "mlruns/*/*/artifacts/comparison.csv",
    "mlruns/*/*/artifacts/figures/comparison.png",
)


class Project:
    """A copy of the program in a folder of its own, and one command to be given again and again."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder, self.overrides = folder, overrides
        if not (folder / "run.py").exists():
            shutil.copy(ROOT / "run.py", folder)
            shutil.copytree(ROOT / "conf", folder / "conf")

    def start(self, *more: str) -> Started:
        return Started(self.folder, "run.py", *self.overrides, *more)

    def run(self, *more: str, exits: int = 0) -> str:
        process = self.start(*more)
        printed, _ = process.communicate()
        assert process.returncode == exits, printed
        return printed

    def stop(self, after: float, how: signal.Signals, *more: str) -> str | None:
        """Run it, and send a signal after so many seconds; None where it had ended before."""
        process = self.start(*more)
        time.sleep(after)
        early = process.poll() is None
        process.send_signal(how)
        printed, _ = process.communicate()
        return printed if early else None

    def kill_at(self, moment: str, *more: str) -> str | None:
        """Run it, and kill it as soon as a new file matches `moment`; None where none ever did."""
        before, process = set(self.folder.glob(moment)), self.start(*more)
        while process.poll() is None:
            if set(self.folder.glob(moment)) - before:
                process.kill()
                printed, _ = process.communicate()
                return printed
            time.sleep(0.002)
        process.communicate()
        return None

    def runs(self, experiment: str = "prunesweep") -> list[Run]:
        """All runs of the experiment, the newest first."""
        mlflow.set_tracking_uri(f"sqlite:///{self.folder / 'mlflow.db'}")
        return mlflow.search_runs(experiment_names=[experiment], output_format="list")

    def comparison(self) -> list[dict[str, str]]:
        """The newest sweep's."""
        parents = [run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags]
        place = Path(parents[0].info.artifact_uri.removeprefix("file://"))
        return list(csv.DictReader((place / "comparison.csv").read_text().splitlines()))

    def damaged(self) -> list[Path]:
        """Networks and cache entries that cannot be read, and what was not finished."""
        bad = list(self.folder.rglob(".*~*"))
        for path in (*self.folder.rglob("*.keras"), *self.folder.rglob("*.npz")):
            try:
                if path.suffix == ".keras":
                    keras.models.load_model(path, compile=False)
                else:
                    with np.load(path) as entry:
                        assert all(entry[name] is not None for name in entry)
            except Exception:
                bad.append(path)
        return bad


def survived(project: Project, cells: int) -> None:
    """Fail unless each cell stands once in the comparison, and nothing is left half done."""
    table = project.comparison()
    assert [row["status"] for row in table] == ["FINISHED"] * cells, table
    ids = Counter(row["run_id"] for row in table)
    assert len(ids) == cells, ids
    runs = {run.info.run_id: run for run in project.runs()}
    assert {runs[run_id].info.status for run_id in ids} == {"FINISHED"}
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    experiments = list({run.info.experiment_id for run in runs.values()})
    models = mlflow.MlflowClient().search_logged_models(experiments)
    assert {str(model.status) for model in models} == {"READY"}
    assert project.damaged() == []


def told(printed: str | None) -> str:
    """The last line that was printed."""
    lines = (printed or "").strip().splitlines()
    return lines[-1] if lines else "it had not said a word"


def at_random(project: Project, kills: int) -> int:
    """Kill it so many times, at times that are drawn; how often it was at work."""
    rng, hits = np.random.default_rng(0), 0
    began = time.monotonic()
    project.run("dry_run=true")
    longest = 2 * (time.monotonic() - began)  # that the grid is not done before the last kill
    for number in range(kills):
        after = rng.uniform(0, longest)
        killed = project.stop(after, signal.SIGKILL)
        hits += killed is not None
        print(f"{number + 1}: killed after {after:.1f} s: {told(killed)}", flush=True)
    return hits


def at_moments(project: Project) -> int:
    """Kill it at each of MOMENTS; how many of them there were."""
    hits = 0
    for moment in MOMENTS:
        killed = project.kill_at(moment)
        hits += killed is not None
        print(f"{moment}: {told(killed)}" if killed is not None else f"{moment}: never", flush=True)
    return hits


def main(how: str) -> None:
    chosen = how == "moments"
    grid, cells = (GRID[-1:], 8) if chosen else (GRID, CELLS)
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), "-m", *SMALL, *grid)
        kills = len(MOMENTS) if chosen else int(how)
        hits = at_moments(project) if chosen else at_random(project, kills)
        print(project.run())
        survived(project, cells)
        counted = Counter(run.info.status for run in project.runs())
    print(
        f"{hits} of {kills} kills met a sweep at work; {cells} of {cells} cells are "
        f"FINISHED once, no file is damaged; runs: {dict(counted)}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
