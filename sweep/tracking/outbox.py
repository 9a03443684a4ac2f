"""What a run has found and not yet sent: to MLflow it goes in as few calls as its limits allow.

A call costs tens of milliseconds whatever it carries, so a run that asks at once for everything
it knows spends its time there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sweep.tracking import artifacts

LIMIT = 1000  # metrics, params and tags together that an MLflow server takes in one call
MOST_PARAMS = 100  # params that it takes in one, and tags
SECONDS = 10.0  # after which a run that goes on sends what it has


class Outbox:
    """Params, tags, metrics, datasets and files of one run, until they are `sent`.

    Files are copied where the run's artifacts lie on this machine, else uploaded together: none is
    seen before it is complete. What could not be sent stays, and goes with the next attempt.
    """

    def __init__(self, run: Run) -> None:
        self._run_id = run.info.run_id
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.metrics: list[Metric] = []
        self.datasets: list[DatasetInput] = []
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
        """Send what there is where the last time is a while ago."""
        if time.monotonic() - self._sent >= SECONDS:
            self.send()

    def send(self) -> None:
        """Send all that there is; what fails is raised, and the rest stays."""
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


def _first(values: Mapping[str, str], count: int) -> dict[str, str]:
    """The first `count` of some values."""
    return {name: values[name] for name in list(values)[:count]}


def _without(values: Mapping[str, str], sent: Mapping[str, str]) -> dict[str, str]:
    """The values whose names are not among those that were sent."""
    return {name: value for name, value in values.items() if name not in sent}
