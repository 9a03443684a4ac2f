"""One run in MLflow: params, tags, metrics, figures, models.

`start_run` opens a run and ends it with the right status, whatever happens inside.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import DatasetInput, Metric, Param, Run, RunData, RunInfo, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable
from sweep.evaluation import PruningCurve, interval
from sweep.evaluation.curve import Predictions
from sweep.evaluation.intervals import images_of
from sweep.evaluation.metrics import Labels
from sweep.redaction import redacted
from sweep.tracking import artifacts, datasets, reserve, store
from sweep.tracking.outbox import Outbox
from sweep.tracking.source import source_tags

if TYPE_CHECKING:
    from sweep.data import Images
    from sweep.detectors import GoodNet
    from sweep.inspection import Verdict

SKIPPED = "SKIPPED"
ANSWERS = "answers.npz"
SCORES = "scores.npz"
#: The tags that say how many images of each kind a rate is a share of.
IMAGE_TAGS = {"valid": "images_valid", "test": "images_test", "poisoned": "images_attacked"}
TIMES = ("badnet", "twin", "probe", "total")  # that are compared; others are looked up


class Log:
    """What one run writes down; it goes to MLflow when it is `sent`, at the latest at its end.

    As a context it is sent when that is left, whatever happens inside.
    """

    def __init__(self, run: Run) -> None:
        self.run_id = run.info.run_id
        self._run = run
        self.outbox = Outbox(run)
        self._params, self._tags = dict(run.data.params), dict(run.data.tags)
        self._metrics: dict[str, Metric] = {}
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._datasets: dict[str, DatasetInput] = {}
        self.complete = False  # all was found that is to be

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *failure: object) -> None:
        self.send()

    def send(self) -> None:
        """Send to MLflow what was logged since this was done last."""
        self.outbox.send()

    def run(self) -> Run:
        """The run as MLflow will give it back, by what was logged here."""
        params = [Param(*item) for item in self._params.items()]
        tags = [RunTag(*item) for item in self._tags.items()]
        return Run(self._run.info, RunData(list(self._metrics.values()), params, tags))

    @property
    def sweep(self) -> str | None:
        """The id of the sweep's run; None where this one stands alone."""
        return self._tags.get(MLFLOW_PARENT_RUN_ID)

    def end(self, status: str) -> None:
        """End the run, of which all is sent; where it did not finish, whether or not that works."""
        info = dict(self._run.info) | {"status": status}
        self._run = Run(RunInfo(**info), self._run.data)
        try:
            MlflowClient().set_terminated(self.run_id, status)
        except Exception:
            if status == "FINISHED":
                raise

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run."""
        started = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - started
        self.outbox.send_if_due()

    def times(self) -> None:
        """Log the seconds of each stage as timing.json, and those that are compared as metrics.

        `time/total` is since the run began; what made B and its twin, and probed B', is told apart.
        """
        seconds = self._seconds | {"total": time.perf_counter() - self._started}
        self.text("timing.json", json.dumps(seconds, indent=2))
        self.metrics({f"time/{name}": seconds[name] for name in TIMES if name in seconds})

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log numbers by their names."""
        self.curves({name: [value] for name, value in values.items()}, [0])

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
            model_id=self.outbox.model_ids.get(name.partition("/")[0]),
            dataset_name=images.dataset.name if images else None,
            dataset_digest=images.dataset.digest if images else None,
            run_id=self.run_id,
        )

    def curve(self, curve: PruningCurve, locate: Callable[[int], tuple[str, int]]) -> None:
        """Log every rate at every step, as metrics `curve/<rate>` and as curve.csv.

        `locate` gives a channel's layer and its number there.
        """
        rates = {f"curve/{name}": rate for name, rate in curve.rates.items()}
        self.curves(rates, curve.steps.tolist())
        self.text("curve.csv", curve.to_csv(locate))

    def predictions(
        self,
        curve: Mapping[str, Predictions],
        repaired: Mapping[str, Labels],
        goodnet: Mapping[str, Labels],
        disagreement: Mapping[str, NDArray[np.floating]],
    ) -> None:
        """Log what B, B' and GoodNet say of each image as answers.npz, to compare cells by image.

        Of "valid", "test" and, where there are any, "poisoned" images that count:
        `<images>_badnet`, `_repaired`, `_goodnet`, `_label`, int32 (images,). How far B and B' are
        apart stands in scores.npz, by the names of the images: float32 (2, images); of "valid"
        those that set thresholds.
        """
        answers, scores = {}, {}
        for name, of_curve in curve.items():
            counted = of_curve.counted
            classes = {"badnet": of_curve.predicted[0], "repaired": repaired[name]}
            classes |= {"goodnet": goodnet[name], "label": of_curve.labels}
            for kind, of_kind in classes.items():
                answers[f"{name}_{kind}"] = of_kind[counted].astype(np.int32)
            apart = disagreement[name]
            scores[name] = (apart[:, counted] if name == "poisoned" else apart).astype(np.float32)
        for file, arrays in ((ANSWERS, answers), (SCORES, scores)):
            np.savez_compressed(self.outbox.path(file), **dict[str, Any](arrays))

    def datasets(self, images: Mapping[str, Images], name: str, paths: Mapping[str, str]) -> None:
        """Log sets of `images` as MLflow's datasets: of the data `name`, and from which files."""
        self._datasets = datasets.of_images(images, name, paths)
        self.outbox.datasets += self._datasets.values()

    def curves(self, curves: Mapping[str, Iterable[float]], steps: Sequence[int]) -> None:
        """Log each array as a metric with these steps."""
        now = int(time.time() * 1000)
        self._log_metrics(
            [
                Metric(name, float(value), now, step)
                for name, curve in curves.items()
                for step, value in zip(steps, curve, strict=True)
            ]
        )

    def _log_metrics(self, metrics: Sequence[Metric]) -> None:
        self.outbox.metrics += metrics
        self._metrics |= {metric.key: metric for metric in metrics}

    def set_params(self, values: Mapping[str, object]) -> None:
        """Log the settings of the run."""
        params = {name: redacted(str(value)) for name, value in values.items()}
        self.outbox.params |= params
        self._params |= params

    def tags(self, values: Mapping[str, object]) -> None:
        tags = {name: tag_value(value) for name, value in values.items()}
        self.outbox.tags |= tags
        self._tags |= tags

    def rename(self, name: str) -> None:
        """Give the run another name."""
        if redacted(name) != self._tags.get(MLFLOW_RUN_NAME):
            self.tags({MLFLOW_RUN_NAME: name})

    def describe(self, text: str) -> None:
        """Show `text`, Markdown, on the run's page."""
        self.tags({store.DESCRIPTION: text})

    def text(self, name: str, text: str) -> None:
        self.outbox.path(name).write_text(redacted(text), encoding="utf-8")

    def figure(self, name: str, figure: Figure) -> None:
        figure.savefig(self.outbox.path(name), dpi=120)

    def figures(self, figures: Mapping[str, Figure]) -> None:
        """Log figures by their names."""
        for name, figure in figures.items():
            self.figure(name, figure)

    def verdict(self, verdict: Verdict, figure: Figure) -> None:
        """Log the verdict on B, its signs, and what pruning costs, if that was asked."""
        self.figure("figures/verdict.png", figure)
        self.tags({"verdict": verdict.sentence})
        self.metrics(verdict.metrics)
        for name, table in verdict.tables.items():
            self.text(name, table)

    def models(self, goodnet: GoodNet) -> None:
        """Log B' (`repaired`), GoodNet (`goodnet`, a pyfunc) and `goodnet.keras`.

        The rates that are logged next are theirs too, so MLflow's page of models compares them.
        """
        self.outbox.add_models(goodnet, self._params, self._tags)


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
    lineage = {} if parent is None else {MLFLOW_PARENT_RUN_ID: parent}
    values = {key: tag_value(value) for key, value in {**source_tags(), **lineage, **tags}.items()}
    run = MlflowClient().create_run(experiment_id, tags=values, run_name=redacted(name))
    log, status, closed = Log(run), "FAILED", False
    try:
        log.set_params(params)
        yield log
        log.times()
        log.complete = True
        log.send()
        status = "FINISHED"
    except NotApplicable as error:
        log.tags({"status": SKIPPED, "error": error})
        log.send()
        status = "FINISHED"
        raise
    except Exception as error:
        closed = store.logging_failure(error) is not None
        if closed:
            store.stop_retrying()
        log.tags({"error": _error_line(error)})
        raise
    except BaseException:
        status = "KILLED"
        raise
    finally:
        if status != "FINISHED":
            with suppress(Exception):  # a full disk takes neither this, nor what follows
                log.send()
        if closed:
            reserve.release()  # now: what is sent would take the room of the status
        log.end(status)
        if status != "FINISHED":
            with suppress(Exception):
                artifacts.delete_unfinished(run)


def _error_line(error: BaseException) -> str:
    """An error in one line; those of the program itself by the name of their kind."""
    return str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"


def tag_value(value: object) -> str:
    """A tag's value: truth as true and false, all else as it reads, but for passwords."""
    return str(value).lower() if isinstance(value, bool) else redacted(str(value))
