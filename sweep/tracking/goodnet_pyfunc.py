"""GoodNet as MLflow serves it: logged as code, next to the Keras file that it answers with.

It imports nothing of this package, so that the logged model works where the package is not.
"""

from typing import Any

import keras
import mlflow
import numpy as np


# MLflow loads its module `pyfunc` lazily, so that mypy cannot see the class
class GoodNetModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Images float32 (n, height, width, channels), as B sees them, to classes int64 (n,)."""

    def load_context(self, context: Any) -> None:
        self.network = keras.models.load_model(context.artifacts["goodnet"], compile=False)

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        _require_finite(model_input)
        classes = self.network.predict(model_input, batch_size=256, verbose=0)
        return np.asarray(classes, dtype=np.int64)


def _require_finite(images: np.ndarray) -> None:
    """Raise an invalid parameter, for which a server says 400, where pixels are no numbers.

    The networks would answer some class all the same.
    """
    finite = np.isfinite(images).all(axis=tuple(range(1, np.ndim(images))))
    bad = len(finite) - int(finite.sum())
    if bad:
        raise mlflow.MlflowException.invalid_parameter_value(
            f"{bad} of {len(finite)} images hold NaN or infinity; expected pixels as B sees them, "
            f"all finite: mend or leave out these images"
        )


mlflow.models.set_model(GoodNetModel())
