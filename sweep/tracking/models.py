"""B' and GoodNet as models of MLflow, and GoodNet as one Keras file.

MLflow's own `log_model` asks each time for a dozen things that are the same in all cells; here it
writes them once, without a network, and a model is a copy of that with its network and ids.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

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
LIBRARIES = ("keras", "numpy", "tensorflow")
MLMODEL = "MLmodel"
#: Where the network of a model lies in its folder, by the model's name.
NETWORKS = {"repaired": "data/model.keras", "goodnet": "artifacts/goodnet.keras"}
Shape = tuple[int | None, ...]


def log(
    run: RunInfo,
    goodnet: GoodNet,
    keras_file: Path,
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, str]:
    """Log B' (`repaired`), and GoodNet (`goodnet`, a pyfunc) also as `keras_file`; models' ids."""
    goodnet.to_keras().save(keras_file)
    save: dict[str, Callable[[Path], object]] = {
        "repaired": goodnet.repaired.save,
        "goodnet": partial(shutil.copyfile, keras_file),
    }
    client, ids = MlflowClient(), {}
    for name, save_network in save.items():
        made = client.create_logged_model(
            run.experiment_id, name, run.run_id, dict(tags), dict(params)
        )
        alike = _alike(name, tuple(goodnet.shape), goodnet.classes)
        folder = artifacts.local_path(made.artifact_location)
        if folder is not None:
            _fill(folder, alike, NETWORKS[name], save_network, run, made)
        else:
            with TemporaryDirectory() as uploads:
                _fill(Path(uploads), alike, NETWORKS[name], save_network, run, made)
                client.log_model_artifacts(made.model_id, uploads)
        client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        ids[name] = made.model_id
    client.log_outputs(run.run_id, [LoggedModelOutput(made, 0) for made in ids.values()])
    return ids


def _fill(
    folder: Path,
    alike: Alike,
    network: str,
    save_network: Callable[[Path], object],
    run: RunInfo,
    made: LoggedModel,
) -> None:
    """Write the files of a model that is created into `folder`, its network at `network`."""
    shutil.copytree(alike.path, folder, dirs_exist_ok=True)
    save_network(folder / network)
    about = alike.about | {
        "artifact_path": made.artifact_location,
        "run_id": run.run_id,
        "model_id": made.model_id,
        "model_uuid": made.model_id,
        "model_size_bytes": alike.about["model_size_bytes"] + (folder / network).stat().st_size,
    }
    Model.from_dict(about).save(str(folder / MLMODEL))


@dataclass(frozen=True)
class Alike:
    """What all models of a name have alike: what is said `about` them, and their files in `path`.

    `holder` keeps these as long as they may be asked for.
    """

    about: dict[str, Any]
    path: Path
    holder: TemporaryDirectory[str]


@lru_cache(maxsize=8)
def _alike(name: str, shape: Shape, classes: int) -> Alike:
    """What MLflow writes of a model of that name, for images of `shape`, but for its network."""
    pixels = TensorSpec(np.dtype(np.float32), (-1, *(size or -1 for size in shape)))
    scores = TensorSpec(np.dtype(np.float32), (-1, classes))
    answers = TensorSpec(np.dtype(np.int64), (-1,))
    requirements = [f"{library}=={version(library)}" for library in LIBRARIES]
    # nothing is to be guessed from an example: signature and requirements are given
    warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
    holder = TemporaryDirectory(prefix="prunesweep-")
    path, nothing = Path(holder.name, "model"), Path(holder.name, "goodnet.keras")
    if name == "repaired":
        mlflow.keras.save_model(
            SimpleNamespace(save=lambda path: None),
            str(path),
            signature=ModelSignature(Schema([pixels]), Schema([scores])),
            pip_requirements=requirements,
        )
    else:
        nothing.touch()
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(PYFUNC),
            artifacts={"goodnet": str(nothing)},
            signature=ModelSignature(Schema([pixels]), Schema([answers])),
            pip_requirements=[f"mlflow=={mlflow.__version__}", *requirements],
        )
    about = Model.load(str(path)).to_dict()
    about.pop("utc_time_created")  # each has its own
    (path / MLMODEL).unlink()
    return Alike(about, path, holder)
