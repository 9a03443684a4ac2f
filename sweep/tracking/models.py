"""B' and GoodNet as models of MLflow, and GoodNet as one Keras file.

MLflow's own `log_model` asks for a dozen things that are known here; the same model is made with
the calls that are left.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import mlflow
import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, RunInfo
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Schema, TensorSpec

from sweep.tracking import artifacts

if TYPE_CHECKING:
    from sweep.detectors import GoodNet

PYFUNC = Path(__file__).with_name("goodnet_pyfunc.py")


def log(
    run: RunInfo,
    goodnet: GoodNet,
    keras_file: Path,
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, str]:
    """Log B' (`repaired`), and GoodNet (`goodnet`, a pyfunc) also as `keras_file`; models' ids."""
    pixels = TensorSpec(np.dtype(np.float32), (-1, *(size or -1 for size in goodnet.shape)))
    scores = TensorSpec(np.dtype(np.float32), (-1, goodnet.classes))
    answers = TensorSpec(np.dtype(np.int64), (-1,))
    # nothing is to be guessed from an example: signature and requirements are given
    warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
    goodnet.to_keras().save(keras_file)
    save = {
        "repaired": lambda path, model: mlflow.keras.save_model(
            goodnet.repaired,
            path,
            mlflow_model=model,
            signature=ModelSignature(Schema([pixels]), Schema([scores])),
            pip_requirements=_requirements(),
        ),
        "goodnet": lambda path, model: mlflow.pyfunc.save_model(
            path,
            mlflow_model=model,
            python_model=str(PYFUNC),
            artifacts={"goodnet": str(keras_file)},
            signature=ModelSignature(Schema([pixels]), Schema([answers])),
            pip_requirements=[f"mlflow=={mlflow.__version__}", *_requirements()],
        ),
    }
    client, ids = MlflowClient(), {}
    for name, save_model in save.items():
        made = client.create_logged_model(
            run.experiment_id, name, run.run_id, dict(tags), dict(params)
        )
        _save(run, made, save_model)
        client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        ids[name] = made.model_id
    client.log_outputs(run.run_id, [LoggedModelOutput(made, 0) for made in ids.values()])
    return ids


def _save(run: RunInfo, made: LoggedModel, save_model: Callable[[str, Model], None]) -> None:
    """Save a model that is created to where its files belong."""
    about = {"run_id": run.run_id, "model_uuid": made.model_id, "model_id": made.model_id}
    model = Model(artifact_path=made.artifact_location, **about)
    folder = artifacts.local_path(made.artifact_location)
    if folder is not None:
        save_model(str(folder), model)
        return
    with TemporaryDirectory() as uploads:
        save_model(f"{uploads}/model", model)
        MlflowClient().log_model_artifacts(made.model_id, f"{uploads}/model")


@cache
def _requirements() -> list[str]:
    """What both models need, as tested."""
    return [f"{name}=={version(name)}" for name in ("keras", "numpy", "tensorflow")]
