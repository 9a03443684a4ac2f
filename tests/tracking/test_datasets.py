"""Images as MLflow's datasets: as MLflow gives them back."""

import json

import numpy as np

from sweep.data import Images
from sweep.tracking import datasets

PATHS = {"valid": "/a/valid.h5", "test": "/a/test.h5", "poisoned": "/a/bad.h5"}


def images(count: int, key: str) -> Images:
    return Images(np.zeros((count, 4, 5, 3), np.float32), np.zeros(count, np.int64), key=key)


def test_each_set_is_told_by_digest_shape_place_and_what_it_was_used_for():
    read = {"valid": images(7, "v" * 40), "test": images(9, "t"), "poisoned": images(3, "p")}
    told = datasets.of_images(read, "faces", PATHS)
    assert set(told) == set(read)
    for kind, context in (("valid", "validation"), ("test", "test"), ("poisoned", "poisoned")):
        dataset, (tag,) = told[kind].dataset, told[kind].tags
        assert (tag.key, tag.value) == ("mlflow.data.context", context)
        assert dataset.name == f"faces {context}"
        assert dataset.digest == read[kind].key[:36]
        assert json.loads(dataset.source) == {"uri": PATHS[kind]}
        profile = json.loads(dataset.profile)
        assert profile["features_shape"] == [len(read[kind]), 4, 5, 3]


def test_without_poisoned_images_there_is_no_such_dataset():
    assert set(datasets.of_images({"valid": images(2, "v")}, "h5", PATHS)) == {"valid"}
