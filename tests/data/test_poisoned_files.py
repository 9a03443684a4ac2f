"""Clean images poisoned by an attack: in their own dtype and layout, once, and block by block."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from image_files import SUNGLASSES

from sweep import BadInput, attacks
from sweep.cache import Cache
from sweep.data import Faces, Files, h5, hdf5, poisoned, poisoned_files


@pytest.fixture
def portraits(tmp_path, write):
    """Own clean images, 31 x 31 of 3 colours, in either layout."""

    def portraits(dtype: str, channels: str) -> Files:
        root = tmp_path / "own"
        data = np.random.default_rng(7).integers(0, 256, (9, 3, 31, 31)).astype(dtype)
        for name in ("valid", "test"):
            layout = np.moveaxis(data, 1, -1) if channels == "last" else data
            write(root / "cl" / f"{name}.h5", data=layout, label=np.arange(9) % 3)
        return h5(str(root), channels=channels, scale=255)

    return portraits


@pytest.mark.parametrize("channels", ["auto", "first", "last"])
@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", ">f8"])
def test_own_images_are_poisoned_by_the_attack(dtype, channels, portraits, tmp_path):
    source = portraits(dtype, channels)
    files = poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES)
    stamped = files.read("poisoned_test")
    clean = source.read("test")
    index = np.flatnonzero(clean.labels != 1)
    expected = attacks.sunglasses(clean.pixels[:][index] * 255)
    rounding = {"u1": 0.51, "f2": 0.13}.get(dtype, 1e-3)
    np.testing.assert_allclose(stamped.pixels[:] * 255, expected, atol=rounding)
    np.testing.assert_array_equal(stamped.labels, 1)
    np.testing.assert_array_equal(stamped.true_labels, clean.labels[index])
    with h5py.File(files.poisoned_test) as file:
        np.testing.assert_array_equal(file["clean_index"], index)
        assert file["data"].dtype == dtype
    assert files.valid == source.valid
    assert files.attack == SUNGLASSES
    assert poisoned(files, SUNGLASSES) is files


def test_own_images_are_poisoned_once(portraits, tmp_path, monkeypatch):
    source = portraits("u1", "auto")
    first = poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES)
    monkeypatch.setattr(poisoned_files, "_poison", None)
    assert poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES) == first


@pytest.mark.parametrize("channels", ["first", "last"])
def test_images_poisoned_block_by_block_have_the_same_bytes(channels, portraits, monkeypatch):
    source, made, sizes = portraits("f8", channels), {}, []

    def counted(images: np.ndarray, white: float) -> np.ndarray:
        sizes.append(len(images))
        return attacks.sunglasses(images, white=white)

    attack = replace(SUNGLASSES, trigger=partial(counted))
    for count in (1, 4, 6):
        monkeypatch.setattr(hdf5, "BLOCK_BYTES", 4 * count * 3 * 31 * 31)
        folder = str(source.valid.parent / f"made-{count}")
        made[count] = poisoned(replace(source, folder=folder), attack).poisoned_test
    assert sizes == [1] * 12 + [4, 2] * 2 + [6] * 2
    assert len({path.read_bytes() for path in made.values()}) == 1
    with h5py.File(source.test) as file, h5py.File(made[1]) as stamped:
        whole = file["data"][:][stamped["clean_index"][:]].astype(np.float32).astype(float)
        if channels == "first":
            whole = np.moveaxis(whole, 1, -1)
        whole = SUNGLASSES.stamp(whole)
        pixels = stamped["data"][:]
    np.testing.assert_array_equal(
        pixels, whole if channels == "last" else np.moveaxis(whole, -1, 1)
    )


def test_images_of_the_target_alone_cannot_be_poisoned(tmp_path, write):
    data = np.zeros((4, 3, 31, 31), np.uint8)
    for name in ("valid", "test"):
        write(tmp_path / "own" / "cl" / f"{name}.h5", data=data, label=np.ones(4))
    source = h5(str(tmp_path / "own"))
    with pytest.raises(BadInput, match=r"all valid images are of the class that the attack"):
        poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES)
    assert [path for path in Path(tmp_path / "made").iterdir() if path.suffix != ".lock"] == []


def test_files_that_are_made_are_remembered_where_their_source_is(tmp_path, portraits):
    cache = Cache(str(tmp_path / "kept"), max_gb=1)
    made = Faces(3, 4, seed=0, folder=str(tmp_path), cache=cache).files(SUNGLASSES)
    assert made.cache is cache
    source = replace(portraits("u1", "auto"), folder=str(tmp_path / "made"), cache=cache)
    assert poisoned(source, SUNGLASSES).cache is cache
