"""Images as MLflow's datasets: what a run read, by digest, shape and place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow.entities import Dataset, DatasetInput, InputTag

if TYPE_CHECKING:
    from sweep.data import Images

CONTEXT = "mlflow.data.context"  # the tag that says what a dataset was used for
CONTEXTS = {"valid": "validation", "test": "test", "poisoned": "poisoned"}
DIGEST_LENGTH = 36  # characters that MLflow keeps


def of_images(
    images: Mapping[str, Images], name: str, paths: Mapping[str, str]
) -> dict[str, DatasetInput]:
    """The datasets of "valid", "test" and "poisoned" `images`, by these names.

    `name` is that of the data, and `paths` are the files that they are of.
    """
    return {
        kind: DatasetInput(
            _dataset(each, f"{name} {CONTEXTS[kind]}", paths[kind]),
            [InputTag(CONTEXT, CONTEXTS[kind])],
        )
        for kind, each in images.items()
    }


def _dataset(images: Images, name: str, path: str) -> Dataset:
    shape = [len(images), *images.shape]
    return Dataset(
        name,
        images.key[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": path}),
        schema=json.dumps({"mlflow_tensorspec": _tensors(images.shape)}),
        profile=json.dumps({"features_shape": shape, "targets_shape": shape[:1]}),
    )


def _tensors(shape: tuple[int, ...]) -> dict[str, str | None]:
    """The types of images of `shape` and of their labels, as MLflow writes them."""
    features = {"dtype": "float32", "shape": [-1, *shape]}
    targets = {"dtype": "int64", "shape": [-1]}
    return {
        name: json.dumps([{"type": "tensor", "tensor-spec": spec}])
        for name, spec in (("features", features), ("targets", targets))
    }
