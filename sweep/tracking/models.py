"""B' and GoodNet as models of MLflow, and GoodNet as one Keras file."""

from __future__ import annotations

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Schema, TensorSpec

if TYPE_CHECKING:
    from sweep.detectors import GoodNet

PYFUNC = Path(__file__).with_name("goodnet_pyfunc.py")


def log(run_id: str, goodnet: GoodNet) -> dict[str, str]:
    """Log B' (`repaired`), GoodNet (`goodnet`, a pyfunc) and `goodnet.keras`; the models' ids."""
    pixels = TensorSpec(np.dtype(np.float32), (-1, *(size or -1 for size in goodnet.shape)))
    scores = TensorSpec(np.dtype(np.float32), (-1, goodnet.classes))
    answers = TensorSpec(np.dtype(np.int64), (-1,))
    # nothing is to be guessed from an example: signature and requirements are given
    warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
    requirements = [f"{name}=={version(name)}" for name in ("keras", "numpy", "tensorflow")]
    repaired = mlflow.keras.log_model(
        goodnet.repaired,
        name="repaired",
        signature=ModelSignature(Schema([pixels]), Schema([scores])),
        pip_requirements=requirements,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "goodnet.keras"
        goodnet.to_keras().save(path)
        MlflowClient().log_artifact(run_id, str(path))
        pyfunc = mlflow.pyfunc.log_model(
            name="goodnet",
            python_model=str(PYFUNC),
            artifacts={"goodnet": str(path)},
            signature=ModelSignature(Schema([pixels]), Schema([answers])),
            pip_requirements=[f"mlflow=={mlflow.__version__}", *requirements],
        )
    return {"repaired": repaired.model_id, "goodnet": pyfunc.model_id}
