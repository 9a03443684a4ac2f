"""One run in MLflow: params, tags, metrics, figures, models.

`start_run` opens a run and ends it with the right status, whatever happens inside.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import DatasetInput, Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable
from sweep.evaluation import PruningCurve, interval
from sweep.evaluation.curve import Predictions
from sweep.evaluation.intervals import images_of
from sweep.evaluation.metrics import Labels
from sweep.redaction import redacted
from sweep.tracking import artifacts, datasets, models, store
from sweep.tracking.source import source_tags

if TYPE_CHECKING:
    from sweep.data import Images
    from sweep.detectors import GoodNet
    from sweep.inspection import Verdict

BATCH = 1000  # metric values an MLflow server takes in one call
SKIPPED = "SKIPPED"
ANSWERS = "answers.npz"
SCORES = "scores.npz"
#: The tags that say how many images of each kind a rate is a share of.
IMAGE_TAGS = {"valid": "images_valid", "test": "images_test", "poisoned": "images_attacked"}
TIMES = ("badnet", "total")  # that are compared; others are looked up


class Log:
    """What one run writes down."""

    def __init__(self, run_id: str, params: Mapping[str, object] = MappingProxyType({})) -> None:
        self.run_id = run_id
        self.params = params
        self._client = MlflowClient()
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._datasets: dict[str, DatasetInput] = {}
        self._model_ids: dict[str, str] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run."""
        started = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - started

    def times(self) -> None:
        """Log the seconds of each stage as timing.json, and those that are compared as metrics.

        `time/total` is since the run began, `time/badnet` what of it made B.
        """
        seconds = self._seconds | {"total": time.perf_counter() - self._started}
        self.text("timing.json", json.dumps(seconds, indent=2))
        self.metrics({f"time/{name}": seconds[name] for name in TIMES if name in seconds})

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log numbers by their names."""
        self.curves({name: [value] for name, value in values.items()})

    def rates(self, rates: Mapping[str, float], images: Mapping[str, int]) -> None:
        """Log `rates` as metrics, and as rates.json with their 95 % intervals.

        `images` are how many there are of each kind, see `evaluation.intervals`; tags say so.
        """
        self._log_metrics([self._rate(name, value) for name, value in rates.items()])
        self.tags({IMAGE_TAGS[kind]: count for kind, count in images.items()})
        table: dict[str, dict[str, float]] = {}
        for name, value in sorted(rates.items()):
            table[name] = {"value": value}
            ends = interval(name, value, images)
            if ends is not None:
                table[name] |= {"low": ends[0], "high": ends[1]}
        self.text("rates.json", json.dumps(table, indent=2))

    def _rate(self, name: str, value: float) -> Metric:
        """A rate of the run, also of the model that it is of, on the images it is a share of."""
        images = self._datasets.get(images_of(name) or "")
        return Metric(
            name,
            float(value),
            int(time.time() * 1000),
            step=0,
            model_id=self._model_ids.get(name.partition("/")[0]),
            dataset_name=images.dataset.name if images else None,
            dataset_digest=images.dataset.digest if images else None,
            run_id=self.run_id,
        )

    def curve(self, curve: PruningCurve, locate: Callable[[int], tuple[str, int]]) -> None:
        """Log every rate at every step, as metrics `curve/<rate>` and as curve.csv.

        `locate` gives a channel's layer and its number there.
        """
        self.curves({f"curve/{name}": rate for name, rate in curve.rates.items()})
        self.text("curve.csv", curve.to_csv(locate))

    def predictions(
        self,
        curve: Mapping[str, Predictions],
        repaired: Mapping[str, Labels],
        disagreement: Mapping[str, NDArray[np.floating]],
    ) -> None:
        """Log what B and B' say of every image as answers.npz, to compare cells image by image.

        Of "valid", "test" and, where there are any, "poisoned" images: `<images>_badnet`,
        `<images>_repaired`, `<images>_label`, of those that count: int32 (images,). How far both
        are apart stands in scores.npz, by the names of the images: float32 (2, images).
        """
        answers, scores = {}, {}
        for name, of_curve in curve.items():
            counted = of_curve.counted
            answers[f"{name}_badnet"] = of_curve.predicted[0][counted].astype(np.int32)
            answers[f"{name}_repaired"] = repaired[name][counted].astype(np.int32)
            answers[f"{name}_label"] = of_curve.labels[counted].astype(np.int32)
            scores[name] = disagreement[name][:, counted].astype(np.float32)
        self._arrays(ANSWERS, answers)
        self._arrays(SCORES, scores)

    def _arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Log arrays as one file of that name."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            np.savez_compressed(path, **arrays)
            self._client.log_artifact(self.run_id, str(path))

    def datasets(self, images: Mapping[str, Images], name: str, paths: Mapping[str, str]) -> None:
        """Log sets of `images` as MLflow's datasets: of the data `name`, and from which files."""
        self._datasets = datasets.of_images(images, name, paths)
        inputs = list(self._datasets.values())
        try:
            self._client.log_inputs(self.run_id, inputs)
        except MlflowException:  # another process added the same images meanwhile: they are there
            self._client.log_inputs(self.run_id, inputs)

    def curves(self, curves: Mapping[str, Iterable[float]]) -> None:
        """Log each array as a metric with steps 0, 1, 2 ..."""
        now = int(time.time() * 1000)
        self._log_metrics(
            [
                Metric(name, float(value), now, step)
                for name, curve in curves.items()
                for step, value in enumerate(curve)
            ]
        )

    def _log_metrics(self, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + BATCH])

    def tags(self, values: Mapping[str, object]) -> None:
        tags = [RunTag(name, tag_value(value)) for name, value in values.items()]
        self._client.log_batch(self.run_id, tags=tags)

    def rename(self, name: str) -> None:
        """Give the run another name."""
        self._client.update_run(self.run_id, name=redacted(name))

    def describe(self, text: str) -> None:
        """Show `text`, Markdown, on the run's page."""
        self.tags({store.DESCRIPTION: text})

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
        """Log B' (`repaired`), GoodNet (`goodnet`, a pyfunc) and `goodnet.keras`.

        The rates that are logged next are theirs too, so MLflow's page of models compares them.
        """
        self._model_ids = models.log(self.run_id, goodnet)


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
        log.times()
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
