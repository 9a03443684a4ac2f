"""Which clean image a poisoned one was made from: as the file says, or by place and looks."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweep import BadInput, NotApplicable
from sweep.data import Files, examples, pairs, sources

TARGET = 2
rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(40) % 4


def stamped(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    pixels[:, :2, :2] = 255
    return pixels


def write(path: Path, pixels: np.ndarray, **labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["data"] = np.moveaxis(pixels, -1, 1)
        for name, values in labels.items():
            file[name] = values


@pytest.fixture
def source(tmp_path) -> Files:
    for name in ("valid", "test"):
        write(tmp_path / f"cl/{name}.h5", PIXELS, label=LABELS)
    return sources.h5(str(tmp_path), scale=255)


def poisoned(source: Files, tmp_path: Path, index: np.ndarray, *, told: bool = False) -> Files:
    path = tmp_path / "bd/bd_valid.h5"
    more = {"clean_index": index} if told else {}
    write(path, stamped(PIXELS[index]), label=np.full(len(index), TARGET), **more)
    return replace(source, poisoned_valid=path)


def test_the_file_says_it_in_whatever_order(source, tmp_path):
    index = np.array([7, 3, 3, 39, 0])
    clean, bad = pairs(poisoned(source, tmp_path, index, told=True))
    np.testing.assert_array_equal(clean.pixels[:], PIXELS[index] / np.float32(255))
    np.testing.assert_array_equal(clean.labels, LABELS[index])
    np.testing.assert_array_equal(bad.pixels[:], stamped(PIXELS[index]) / np.float32(255))
    assert clean.key not in ("", bad.key)


@pytest.mark.parametrize("count", [30, 11])
def test_without_it_the_ith_is_the_ith_that_is_not_of_the_target(count, source, tmp_path):
    index = np.flatnonzero(LABELS != TARGET)[:count]
    clean, bad = pairs(poisoned(source, tmp_path, index))
    np.testing.assert_array_equal(clean.pixels[:], PIXELS[index] / np.float32(255))
    assert len(bad) == count


def test_or_the_ith_of_all_where_that_looks_more_like_it(source, tmp_path):
    index = np.arange(30)
    clean, _ = pairs(poisoned(source, tmp_path, index))
    np.testing.assert_array_equal(clean.labels, LABELS[:30])


@pytest.mark.parametrize("index", [rng.permutation(30), np.arange(40)[::-1]])
def test_images_in_another_order_are_not_taken_for_pairs(index, source, tmp_path):
    with pytest.raises(NotApplicable, match="the files do not tell; add clean_index"):
        pairs(poisoned(source, tmp_path, index))


def test_without_poisoned_validation_images_an_oracle_does_not_apply(source):
    with pytest.raises(NotApplicable, match=r"it needs poisoned validation images, bd/bd_valid.h5"):
        pairs(source)


@pytest.mark.parametrize(("index", "says"), [([0, 40], "up to 40"), ([0], "1 values")])
def test_an_index_that_cannot_be_is_refused(index, says, source, tmp_path):
    files = poisoned(source, tmp_path, np.array([0, 1]))
    with h5py.File(files.poisoned_valid, "a") as file:
        file["clean_index"] = np.array(index)
    with pytest.raises(BadInput, match=says):
        pairs(files)


def test_poisoned_images_of_another_size_are_refused(source, tmp_path):
    path = tmp_path / "other.h5"
    write(path, PIXELS[:4, :6], label=np.full(4, TARGET))
    with pytest.raises(BadInput, match=r"are \(6, 8, 3\) .* the clean ones \(8, 8, 3\)"):
        pairs(replace(source, poisoned_valid=path))


def test_the_traffic_signs_of_the_shared_files_are_told_by_place(shared):
    clean, bad = pairs(sources.h5(str(shared / "gtsrb"), scale=255))
    assert len(clean) == len(bad) == 1000
    differ = (clean.pixels[:] != bad.pixels[:]).any(axis=-1).sum(axis=(1, 2))
    assert differ.max() <= 16  # the trigger is a square of 4 x 4
    assert not (clean.labels == 8).any()


def shown(source: Files, tmp_path: Path, index: np.ndarray, label: np.ndarray) -> Files:
    path = tmp_path / "bd/bd_test.h5"
    write(path, stamped(PIXELS[index]), label=label, clean_index=index)
    return replace(source, poisoned_test=path)


def test_examples_are_pairs_of_every_target(source, tmp_path):
    index = np.flatnonzero(LABELS == 3)
    label = np.array([0, 0, 0, 1, 2, 0, 0, 0, 0, 0])
    clean, bad, classes = examples(shown(source, tmp_path, index, label))
    assert len(clean) == len(bad) == len(classes) == 4
    assert classes == [(3, 0), (3, 0), (3, 1), (3, 2)]
    np.testing.assert_array_equal(clean[:, 2:], bad[:, 2:])
    assert (bad[:, :2, :2] == 1).all()


@pytest.mark.parametrize(("count", "many"), [(30, 6), (2, 2)])
def test_of_one_target_there_are_six_examples_where_there_are_so_many(
    count, many, source, tmp_path
):
    index = np.flatnonzero(LABELS != TARGET)[:count]
    files = shown(source, tmp_path, index, np.full(count, TARGET))
    assert len(examples(files)[0]) == many


def test_no_examples_without_poisoned_images_or_without_knowing_of_what(source, tmp_path):
    assert examples(source) is None
    path = tmp_path / "bd/bd_test.h5"
    write(path, stamped(PIXELS[rng.permutation(30)]), label=np.full(30, TARGET))
    assert examples(replace(source, poisoned_test=path)) is None
