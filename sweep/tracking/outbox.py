"""What a run has found and not yet sent: to MLflow it goes in as few calls as its limits allow.

A call costs tens of milliseconds whatever it carries, so a run that asks at once for everything
it knows spends its time there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sweep.tracking import artifacts, models
from sweep.tracking.servers import patience

if TYPE_CHECKING:
    from sweep.detectors import GoodNet

VALUES, FILES, NETWORKS = "values.json", "files", ("badnet.keras", "repaired.keras")
LIMIT = 1000  # metrics, params and tags together that an MLflow server takes in one call
MOST_PARAMS = 100  # params that it takes in one, and tags
SECONDS = 10.0  # after which a run that goes on sends what it has
#: The tags of a run that its models have too.
MODEL_TAGS = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


class Outbox:
    """Params, tags, metrics, datasets and files of one run, until they are `sent`.

    Files are copied where the run's artifacts lie on this machine, else uploaded together: none is
    seen before it is complete. What could not be sent stays, and goes with the next attempt.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._run_id = run, run.info.run_id
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.metrics: list[Metric] = []
        self.datasets: list[DatasetInput] = []
        self.model_ids: dict[str, str] = {}
        self._models: tuple[GoodNet, dict[str, str], dict[str, str]] | None = None
        self._tried = False  # to log models
        self._client = MlflowClient()
        self._folder = artifacts.local_path(run.info.artifact_uri)
        self._files: TemporaryDirectory[str] | None = None
        self._sent = time.monotonic()

    def path(self, name: str) -> Path:
        """Where the file `name` of the run is to be written; its folder is there."""
        if self._files is None:
            self._files = TemporaryDirectory(prefix="prunesweep-")
        path = Path(self._files.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def send_if_due(self) -> None:
        """Send what there is where the last time is a while ago, and the server answers now."""
        if time.monotonic() - self._sent >= SECONDS:
            patience.tried(self.send)
            self._sent = time.monotonic()

    @property
    def empty(self) -> bool:
        """Whether all is sent."""
        values = self.params or self.tags or self.metrics or self.datasets
        return not (values or self._models or self._files)

    def add_models(
        self, goodnet: GoodNet, params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Log models at once, so that rates can be theirs, or where that fails when all is sent.

        `params` and `tags` are the run's; models have those that say whose and what they are.
        """
        self.path("goodnet.json").write_text(json.dumps(goodnet.about(), indent=2))
        shared = {name: value for name, value in tags.items() if name in MODEL_TAGS}
        self._models = (goodnet, dict(params), shared)
        patience.tried(self._send_models)

    def _send_models(self) -> None:
        assert self._models is not None
        goodnet, params, tags = self._models
        if self._tried:
            artifacts.delete_models(self._run)
        self._tried = True
        path = self.path("goodnet.keras")
        self.model_ids = models.log(self._run.info, goodnet, path, params, tags)
        self.metrics = [self._of_model(metric) for metric in self.metrics]
        self._models = None

    def _of_model(self, metric: Metric) -> Metric:
        """A metric, if it is a rate, as one of the model whose name it begins with."""
        model = self.model_ids.get(metric.key.partition("/")[0]) if metric.run_id else None
        return Metric(**metric.to_dictionary() | {"model_id": model})

    def send(self) -> None:
        """Send all that there is; what fails is raised, and the rest stays."""
        if self._models is not None:
            self._send_models()
        if self.datasets:
            self._send_datasets()
        self._send_values()
        if self._files is not None:
            self._send_files(self._files.name)
            self._files.cleanup()
            self._files = None
        self._sent = time.monotonic()

    def _send_files(self, folder: str) -> None:
        if self._folder is None:
            self._client.log_artifacts(self._run_id, folder)
        else:
            shutil.copytree(folder, self._folder, dirs_exist_ok=True)

    def _send_datasets(self) -> None:
        try:
            self._client.log_inputs(self._run_id, self.datasets)
        except MlflowException:  # another process added the same images meanwhile: they are there
            self._client.log_inputs(self._run_id, self.datasets)
        self.datasets = []

    def _send_values(self) -> None:
        while self.params or self.tags or self.metrics:
            params, tags = _first(self.params, MOST_PARAMS), _first(self.tags, MOST_PARAMS)
            metrics = self.metrics[: LIMIT - len(params) - len(tags)]
            self._client.log_batch(
                self._run_id,
                metrics,
                [Param(*item) for item in params.items()],
                [RunTag(*item) for item in tags.items()],
            )
            self.metrics = self.metrics[len(metrics) :]
            self.params = _without(self.params, params)
            self.tags = _without(self.tags, tags)

    def write(self, folder: Path) -> None:
        """Write all that is not sent into a new folder, for `read`."""
        folder.mkdir(parents=True)
        if self._files is not None:
            shutil.copytree(self._files.name, folder / FILES)
        values = {
            "params": self.params,
            "tags": self.tags,
            "metrics": [metric.to_dictionary() for metric in self.metrics],
            "datasets": [dataset.to_dictionary() for dataset in self.datasets],
        }
        if self._models is not None:
            goodnet, *values["models"] = self._models
            values["goodnet"] = goodnet.about()
            for name, network in zip(NETWORKS, (goodnet.badnet, goodnet.repaired), strict=True):
                network.save(folder / name)
        (folder / VALUES).write_text(json.dumps(values))

    @classmethod
    def read(cls, run: Run, folder: Path, goodnet: Callable[..., GoodNet]) -> Outbox:
        """What `write` has written of the same run; `goodnet` makes one of paths and facts."""
        outbox, values = cls(run), json.loads((folder / VALUES).read_text())
        outbox.params, outbox.tags = values["params"], values["tags"]
        outbox.metrics = [Metric(**metric) for metric in values["metrics"]]
        outbox.datasets = [
            DatasetInput(Dataset(**one["dataset"]), [InputTag(*tag) for tag in one["tags"].items()])
            for one in values["datasets"]
        ]
        if (folder / FILES).is_dir():
            for path in (folder / FILES).rglob("*"):
                if path.is_file():
                    shutil.copyfile(path, outbox.path(str(path.relative_to(folder / FILES))))
        if "models" in values:
            made = goodnet(*(folder / name for name in NETWORKS), values["goodnet"])
            outbox._models, outbox._tried = (made, *values["models"]), True
        return outbox


def _first(values: Mapping[str, str], count: int) -> dict[str, str]:
    """The first `count` of some values."""
    return {name: values[name] for name in list(values)[:count]}


def _without(values: Mapping[str, str], sent: Mapping[str, str]) -> dict[str, str]:
    """The values whose names are not among those that were sent."""
    return {name: value for name, value in values.items() if name not in sent}
