"""B' and GoodNet as models of MLflow, and GoodNet as one Keras file.

MLflow's own `log_model` asks each time for a dozen things that are the same in all cells; here it
writes them once, without a network, and a model is a copy of that with its network and ids.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

from sweep.tracking import artifacts

if TYPE_CHECKING:
    from sweep.detectors import GoodNet

PYFUNC = Path(__file__).with_name("goodnet_pyfunc.py")
LIBRARIES = ("keras", "numpy", "tensorflow")
MLMODEL = "MLmodel"
#: Where the network of a model lies in its folder, by the model's name.
NETWORKS = {"repaired": "data/model.keras", "goodnet": "artifacts/goodnet.keras"}
ABOUT = "artifacts/goodnet.json"
#: What `goodnet_pyfunc.py` finds in its context.
ARTIFACTS = {"goodnet": NETWORKS["goodnet"], "about": ABOUT}
#: What GoodNet answers for each image, by MLflow's name of the type.
COLUMNS = {"class": "long", "flagged": "boolean", "score": "float"}
COLUMNS |= {"badnet_class": "long", "badnet_probability": "float"}
COLUMNS |= {"repaired_class": "long", "repaired_probability": "float"}
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
    return log_files(run, goodnet.repaired.save, keras_file, goodnet.about(), params, tags)


def log_files(
    run: RunInfo,
    save_repaired: Callable[[Path], object],
    keras_file: Path,
    about: Mapping[str, Any],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> dict[str, str]:
    """Log what `save_repaired` writes, and GoodNet as `keras_file` holds it; return models' ids.

    `about` becomes the model's goodnet.json: shape (null: any) and range of pixels that B sees
    (null: not known) and the scale they were divided by, the number of classes, and by which rule
    and threshold an image is flagged. The range of pixels that are accepted is added.
    """
    about = {**about, "accepted": accepted(about["low"], about["high"], about["scale"])}
    client, ids = MlflowClient(), {}
    shape, classes = tuple(about["shape"]), int(about["classes"])

    def save_goodnet(folder: Path) -> None:
        shutil.copyfile(keras_file, folder / NETWORKS["goodnet"])
        (folder / ABOUT).write_text(json.dumps(about, indent=2))

    save: dict[str, tuple[Callable[[Path], object], dict[str, Any]]] = {
        "repaired": (lambda folder: save_repaired(folder / NETWORKS["repaired"]), {}),
        "goodnet": (save_goodnet, {"metadata": _metadata(about)}),
    }
    for name, (save_own, said) in save.items():
        made = client.create_logged_model(
            run.experiment_id, name, run.run_id, dict(tags), dict(params)
        )
        alike = _alike(name, shape, classes)
        folder = artifacts.local_path(made.artifact_location)
        if folder is not None:
            _fill(folder, alike, save_own, said, run, made)
        else:
            with TemporaryDirectory() as uploads:
                _fill(Path(uploads), alike, save_own, said, run, made)
                client.log_model_artifacts(made.model_id, uploads)
        client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        ids[name] = made.model_id
    client.log_outputs(run.run_id, [LoggedModelOutput(made, 0) for made in ids.values()])
    return ids


def accepted(low: float | None, high: float | None, scale: float) -> list[float]:
    """Return the least and the greatest pixel that are taken, by those of clean images.

    Where these fill most of what an image can hold, 0 .. 255 / scale or 0 .. 1, it is that: no
    clean image may have been quite white. Else it is a tenth more on either side.
    """
    if low is None or high is None:
        return [float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)]
    for end in (255 / scale, 1.0):
        most = end * (1 + 1e-6)  # what is divided in float32 may be rounded up
        if low >= 0 and end / 2 < high <= most:
            return [0.0, most]
    return [low - (high - low) / 10, high + (high - low) / 10]


def _metadata(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model itself says of images and classes, beside its signature."""
    return {
        "images": "float32 (n, height, width, channels), pixels as B sees them",
        "shape": list(about["shape"]),
        "pixels": {name: about[name] for name in ("low", "high", "accepted", "scale")},
        "classes": about["classes"],
        "backdoored": about["classes"],
        "answer": f"class is 0 .. {about['classes'] - 1}, or {about['classes']}: backdoored",
    }


def _fill(
    folder: Path,
    alike: Alike,
    save_own: Callable[[Path], object],
    said: Mapping[str, Any],
    run: RunInfo,
    made: LoggedModel,
) -> None:
    """Write the files of a model that is created into `folder`, with its own and what it `said`."""
    shutil.copytree(alike.path, folder, dirs_exist_ok=True)
    save_own(folder)
    files = (path for path in folder.rglob("*") if path.is_file())
    about = alike.about | {
        "artifact_path": made.artifact_location,
        "run_id": run.run_id,
        "model_id": made.model_id,
        "model_uuid": made.model_id,
        "model_size_bytes": sum(path.stat().st_size for path in files),
        **said,
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
    requirements = [f"{library}=={version(library)}" for library in LIBRARIES]
    # nothing is to be guessed from an example: signature and requirements are given
    warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
    holder = TemporaryDirectory(prefix="prunesweep-")
    path = Path(holder.name, "model")
    if name == "repaired":
        mlflow.keras.save_model(
            SimpleNamespace(save=lambda path: None),
            str(path),
            signature=ModelSignature(Schema([pixels]), Schema([scores])),
            pip_requirements=requirements,
        )
    else:
        nothing = {key: Path(holder.name, Path(of).name) for key, of in ARTIFACTS.items()}
        for file in nothing.values():
            file.touch()
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(PYFUNC),
            artifacts={key: str(file) for key, file in nothing.items()},
            signature=_goodnet_signature(),
            pip_requirements=[f"mlflow=={mlflow.__version__}", *requirements],
        )
    about = Model.load(str(path)).to_dict()
    about.pop("utc_time_created")  # each has its own
    (path / MLMODEL).unlink()
    return Alike(about, path, holder)


def _goodnet_signature() -> ModelSignature:
    """What GoodNet answers. What it takes is not said: MLflow would refuse the rest at length."""
    return ModelSignature(
        outputs=Schema([ColSpec(type, name) for name, type in COLUMNS.items()]),
        params=ParamSchema(
            [ParamSpec("threshold", "double", None), ParamSpec("plain", "boolean", False)]
        ),
    )
