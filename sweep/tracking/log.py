"""One run in MLflow: params, tags, metrics, figures, models.

`start_run` opens a run and ends it with the right status, whatever happens inside.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import Metric, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Schema, TensorSpec

from sweep import BadInput, NotApplicable, processes
from sweep.evaluation import PruningCurve
from sweep.evaluation.curve import Predictions
from sweep.evaluation.metrics import Labels
from sweep.redaction import redacted
from sweep.tracking import artifacts, store

if TYPE_CHECKING:
    from sweep.detectors import GoodNet
    from sweep.inspection import Verdict

PYFUNC = Path(__file__).with_name("goodnet_pyfunc.py")
BATCH = 1000  # metric values an MLflow server takes in one call
SKIPPED = "SKIPPED"
ANSWERS = "answers.npz"


class Log:
    """What one run writes down."""

    def __init__(self, run_id: str, params: Mapping[str, object] = MappingProxyType({})) -> None:
        self.run_id = run_id
        self.params = params
        self._client = MlflowClient()
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run as metric `time/<name>`, in seconds."""
        started = time.perf_counter()
        yield
        self.metrics({f"time/{name}": time.perf_counter() - started})

    def total_time(self) -> None:
        """Log the time since the run began as metric `time/total`, in seconds."""
        self.metrics({"time/total": time.perf_counter() - self._started})

    def metrics(self, values: Mapping[str, float]) -> None:
        self.curves({name: [value] for name, value in values.items()})

    def curve(self, curve: PruningCurve, locate: Callable[[int], tuple[str, int]]) -> None:
        """Log every rate at every step, as metrics `curve/<rate>` and as curve.csv.

        `locate` gives a channel's layer and its number there.
        """
        self.curves({f"curve/{name}": rate for name, rate in curve.rates.items()})
        self.text("curve.csv", curve.to_csv(locate))

    def predictions(self, curve: Mapping[str, Predictions], repaired: Mapping[str, Labels]) -> None:
        """Log what B and B' say of every image as answers.npz, to compare cells image by image.

        Of "valid", "test" and, where there are any, "poisoned" images: `<images>_badnet`,
        `<images>_repaired`, `<images>_label`, of those that count: int32 (images,).
        """
        arrays = {}
        for name, of_curve in curve.items():
            counted = of_curve.counted
            arrays[f"{name}_badnet"] = of_curve.predicted[0][counted].astype(np.int32)
            arrays[f"{name}_repaired"] = repaired[name][counted].astype(np.int32)
            arrays[f"{name}_label"] = of_curve.labels[counted].astype(np.int32)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ANSWERS
            np.savez_compressed(path, **arrays)
            self._client.log_artifact(self.run_id, str(path))

    def curves(self, curves: Mapping[str, Iterable[float]]) -> None:
        """Log each array as a metric with steps 0, 1, 2 ..."""
        now = int(time.time() * 1000)
        values = [
            Metric(name, float(value), now, step)
            for name, curve in curves.items()
            for step, value in enumerate(curve)
        ]
        for start in range(0, len(values), BATCH):
            self._client.log_batch(self.run_id, metrics=values[start : start + BATCH])

    def tags(self, values: Mapping[str, object]) -> None:
        tags = [RunTag(name, tag_value(value)) for name, value in values.items()]
        self._client.log_batch(self.run_id, tags=tags)

    def text(self, name: str, text: str) -> None:
        self._client.log_text(self.run_id, redacted(text), name)

    def figure(self, name: str, figure: Figure) -> None:
        self._client.log_figure(self.run_id, figure, name, save_kwargs={"dpi": 120})

    def figures(self, figures: Mapping[str, Figure]) -> None:
        """Log figures by their names."""
        for name, figure in figures.items():
            self.figure(name, figure)

    def verdict(self, verdict: Verdict, figure: Figure) -> None:
        """Log the verdict on B, and what pruning costs, if that was asked."""
        self.figure("figures/verdict.png", figure)
        self.tags({"verdict": verdict.sentence})
        self.metrics(verdict.metrics)
        if verdict.costs:
            self.text("verdict.csv", verdict.to_csv())

    def models(self, goodnet: GoodNet) -> None:
        """Log B' (`repaired`), GoodNet (`goodnet`, a pyfunc) and `goodnet.keras`."""
        pixels = TensorSpec(np.dtype(np.float32), (-1, *(size or -1 for size in goodnet.shape)))
        scores = TensorSpec(np.dtype(np.float32), (-1, goodnet.classes))
        answers = TensorSpec(np.dtype(np.int64), (-1,))
        # nothing is to be guessed from an example: signature and requirements are given
        warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
        requirements = [f"{name}=={version(name)}" for name in ("keras", "numpy", "tensorflow")]
        mlflow.keras.log_model(
            goodnet.repaired,
            name="repaired",
            signature=ModelSignature(Schema([pixels]), Schema([scores])),
            pip_requirements=requirements,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "goodnet.keras"
            goodnet.to_keras().save(path)
            self._client.log_artifact(self.run_id, str(path))
            mlflow.pyfunc.log_model(
                name="goodnet",
                python_model=str(PYFUNC),
                artifacts={"goodnet": str(path)},
                signature=ModelSignature(Schema([pixels]), Schema([answers])),
                pip_requirements=[f"mlflow=={mlflow.__version__}", *requirements],
            )


@contextmanager
def start_run(
    experiment_id: str,
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, object],
    parent: str | None = None,
) -> Iterator[Log]:
    """Open a run; at the end it is FINISHED, or FAILED with its sentence, or KILLED.

    NotApplicable ends it FINISHED, tagged SKIPPED. All exceptions go on to the caller.
    """
    run = mlflow.start_run(
        experiment_id=experiment_id,
        run_name=redacted(name),
        parent_run_id=parent,
        tags={key: tag_value(value) for key, value in {**source_tags(), **tags}.items()},
    )
    log, status = Log(run.info.run_id, params), "FAILED"
    try:
        mlflow.log_params({key: redacted(str(value)) for key, value in params.items()})
        yield log
        log.total_time()
        status = "FINISHED"
    except NotApplicable as error:
        log.tags({"status": SKIPPED, "error": error})
        status = "FINISHED"
        raise
    except Exception as error:
        if store.logging_failure(error):
            store.stop_retrying()
        with suppress(Exception):  # a full disk takes neither
            log.tags({"error": _error_line(error)})
        raise
    except BaseException:
        status = "KILLED"
        raise
    finally:
        _end_active_run(status)
        if status != "FINISHED":
            with suppress(Exception):  # nor does a full disk take this
                artifacts.delete_unfinished(run)


def _end_active_run(status: str) -> None:
    """End the run that is active; where that can't be written, only MLflow's memory of it."""
    try:
        mlflow.end_run(status)
    except Exception:
        if status == "FINISHED":
            raise


def _error_line(error: BaseException) -> str:
    """An error in one line; those of the program itself by the name of their kind."""
    return str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"


def tag_value(value: object) -> str:
    """A tag's value: truth as true and false, all else as it reads, but for passwords."""
    return str(value).lower() if isinstance(value, bool) else redacted(str(value))


def source_tags() -> dict[str, object]:
    """Tags that say where a run comes from: commit, host, process, versions."""
    root = Path(__file__).parents[2]
    tags: dict[str, object] = {
        "mlflow.source.name": "run.py",
        **processes.current_process(),
        "python": sys.version.split()[0],
        "keras": version("keras"),
        "tensorflow": version("tensorflow"),
    }
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=-3).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True, stderr=-3)
    except (OSError, subprocess.CalledProcessError):
        return tags
    return tags | {
        "mlflow.source.git.commit": commit,
        "git_commit": commit,
        "git_dirty": bool(changed),
    }
