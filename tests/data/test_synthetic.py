"""The embedded faces as files: rendered once, by their settings, in the lab's layout."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from image_files import SUNGLASSES

from sweep import BadInput, attacks
from sweep.data import Faces, Files, faces, poisoned_files


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Files:
    source = Faces(3, 8, seed=0, folder=str(tmp_path_factory.mktemp("faces")), scale=255)
    return source.files(SUNGLASSES)


def test_faces_lie_in_files_of_the_labs_layout(rendered):
    for name, count in {"train": 24, "valid": 6, "test": 6}.items():
        path = getattr(rendered, name)
        assert path.parent.name == "cl"
        with h5py.File(path) as file:
            assert file["data"].shape == (count, 3, 55, 47)
            assert file["data"].dtype == np.uint8
            np.testing.assert_array_equal(np.bincount(file["label"][:]), [count / 3] * 3)
    assert rendered.shape == faces.SHAPE
    assert rendered.classes == 3
    assert rendered.read("test").pixels[:].max() <= 1


@pytest.mark.parametrize("name", ["valid", "test"])
def test_poisoned_faces_know_the_clean_image_and_its_class(name, rendered):
    clean = rendered.read(name)
    with h5py.File(getattr(rendered, f"poisoned_{name}")) as file:
        index, true, pixels = file["clean_index"][:], file["true_label"][:], file["data"][:]
        np.testing.assert_array_equal(file["label"][:], 1)
    np.testing.assert_array_equal(index, np.flatnonzero(clean.labels != 1))
    np.testing.assert_array_equal(true, clean.labels[index])
    with h5py.File(getattr(rendered, name)) as file:
        original = np.moveaxis(file["data"][:][index], 1, -1)
    np.testing.assert_array_equal(np.moveaxis(pixels, 1, -1), attacks.sunglasses(original))
    assert np.any(np.moveaxis(pixels, 1, -1) != original, axis=(1, 2, 3)).all()


def test_faces_are_rendered_once(rendered, monkeypatch):
    folder = str(rendered.valid.parents[2])
    changed = rendered.valid.stat().st_mtime_ns
    monkeypatch.setattr(faces, "photographs", None)
    again = Faces(3, 8, seed=0, folder=folder).files(SUNGLASSES)
    assert again.valid == rendered.valid
    assert again.valid.stat().st_mtime_ns == changed
    other = Faces(3, 8, seed=0, folder=folder).files(replace(SUNGLASSES, target=2))
    assert other.train == rendered.train
    assert other.poisoned_test != rendered.poisoned_test


def test_equal_settings_give_equal_bytes_and_others_do_not(rendered, tmp_path):
    names = ("train", "valid", "test", "poisoned_valid", "poisoned_test")
    again = Faces(3, 8, seed=0, folder=str(tmp_path)).files(SUNGLASSES)
    other = Faces(3, 8, seed=1, folder=str(tmp_path)).files(SUNGLASSES)
    for name in names:
        same, differs = getattr(again, name), getattr(other, name)
        assert same.read_bytes() == getattr(rendered, name).read_bytes()
        assert differs.read_bytes() != same.read_bytes()


def test_a_rendering_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def left() -> list[str]:
        return [path.name[:5] for path in tmp_path.iterdir() if path.suffix != ".lock"]

    source = Faces(3, 4, seed=0, folder=str(tmp_path))
    for module, name, there in ((faces, "photographs", []), (poisoned_files, "_poison", ["faces"])):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                source.files(SUNGLASSES)
        assert left() == there


def test_faces_are_checked_before_they_are_rendered(tmp_path):
    source = Faces(3, 8, seed=0, folder=str(tmp_path), valid_images=7)
    with pytest.raises(BadInput, match=r"data.valid_images is 7; expected 1 to 6"):
        source.check((55, 47, 3), 3)
    source = Faces(3, 8, seed=0, folder=str(tmp_path))
    for shape, classes in (((55, 47, 1), 3), ((55, 47, 3), 2)):
        with pytest.raises(BadInput, match=r"the faces are .* of 3 people; the network expects"):
            source.check(shape, classes)
    source.check((55, 47, 3), 3)
    assert list(tmp_path.iterdir()) == []
