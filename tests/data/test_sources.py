"""Which files there are, what a run reads of them, and the names of their content."""

import h5py
import numpy as np
import pytest
from image_files import LABELS, PIXELS

from sweep import BadInput
from sweep.cache import Cache
from sweep.data import h5


def test_a_key_names_pixels_labels_and_how_they_are_read(read):
    key = read().key
    assert read().key == key
    others = [
        read(data=PIXELS + 1).key,
        read(data=np.concatenate([PIXELS[:-1], PIXELS[:1]])).key,
        read(data=PIXELS.reshape(6, 3, 7, 8)).key,
        read(label=LABELS + 1).key,
        read(true_label=LABELS).key,
        read(scale=2.0).key,
        read(channels="first").key,
        read().sample(3, seed=0).key,
        read().sample(3, seed=1).key,
        read(scale=2.0).sample(3, seed=0).key,
    ]
    assert len({key, *others}) == 1 + len(others)
    assert read().sample(3, seed=0).key == read().sample(3, seed=0).key


def test_a_key_depends_neither_on_where_the_file_lies_nor_on_what_is_cached(folder, tmp_path):
    key = h5(str(folder)).read("valid").key
    moved = folder.rename(tmp_path / "moved")
    assert h5(str(moved)).read("valid").key == key
    assert h5(str(moved), cache=Cache(str(tmp_path / "kept"), max_gb=1)).read("valid").key == key


@pytest.mark.parametrize(
    ("given", "most", "drawn"),
    [(None, None, 20), (None, 4, 4), (None, 99, 20), (5, 4, 5), (3, 4, 3)],
)
def test_a_defender_has_at_most_so_many(given, most, drawn, folder):
    source = h5(str(folder), valid_images=given, valid_at_most=most)
    assert len(source.images((8, 7, 3), 5, seed=1)["valid"]) == drawn


@pytest.mark.parametrize("dataset", ["label", "true_label"])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("count", [0, 5])
def test_as_many_labels_as_images_are_asked_for(dataset, count, one_hot, read):
    values = np.eye(3)[LABELS] if one_hot else LABELS
    with pytest.raises(BadInput, match=rf"holds 6 images and {count} values of {dataset}"):
        read(**{dataset: values[:count]})


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"data.root=.*nowhere is not a folder; expected .*valid.h5"):
        h5(str(tmp_path / "nowhere"))


def test_a_home_of_nobody_is_refused_like_any_missing_folder():
    with pytest.raises(BadInput, match=r"data.root=~nobody-of-that-name/x is not a folder"):
        h5("~nobody-of-that-name/x")
    with pytest.raises(BadInput, match=r"data.valid=~nobody-of-that-name/x is not a file"):
        h5(valid="~nobody-of-that-name/x")


@pytest.mark.parametrize("name", ["valid", "test"])
def test_a_missing_clean_file_is_refused(name, folder):
    (folder / "cl" / f"{name}.h5").unlink()
    with pytest.raises(BadInput, match=rf"no clean {name} images: .* has no cl/{name}.h5; set"):
        h5(str(folder))


def test_neither_root_nor_files_is_refused():
    with pytest.raises(BadInput, match=r"no clean valid images: data.root is not set; set data.ro"):
        h5()


def test_a_named_file_that_is_missing_is_refused(folder):
    with pytest.raises(BadInput, match=r"data.train=gone.h5 is not a file; expected an HDF5 file"):
        h5(str(folder), train="gone.h5")


def test_poisoned_and_training_files_may_be_missing(folder):
    for place in ("bd/bd_valid.h5", "bd/bd_test.h5", "cl/train.h5"):
        (folder / place).unlink()
    files = h5(str(folder))
    for name in ("poisoned_valid", "poisoned_test", "train"):
        assert files.read(name) is None
    assert set(files.images((8, 7, 3), 5, seed=0)) == {"valid", "test"}


def test_files_named_by_themselves_stand_before_those_of_the_root(folder, tmp_path, write):
    own = write(tmp_path / "own.h5", data=PIXELS, label=LABELS)
    files = h5(str(folder), valid=str(own))
    assert len(files.read("valid")) == 6
    assert len(files.read("test")) == 20
    assert len(h5(valid=str(own), test=str(own)).read("test")) == 6


def test_a_relative_root_starts_where_the_command_is_given(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    files = h5("lab", valid="lab/cl/test.h5")
    monkeypatch.chdir("/")
    assert files.valid == folder / "cl" / "test.h5"
    assert len(files.read("test")) == 20


def test_a_tilde_is_the_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert h5("~/lab", valid="~/lab/cl/test.h5").valid == folder / "cl" / "test.h5"


def test_what_a_run_looks_at_comes_by_name(folder):
    images = h5(str(folder), valid_images=7).images((8, 7, 3), 5, seed=1)
    assert {name: len(part) for name, part in images.items()} == {
        "valid": 7,
        "test": 20,
        "poisoned": 12,
    }
    np.testing.assert_array_equal(images["poisoned"].labels, 0)
    assert images["poisoned"].asr_counts == "images not of the target's class"


def test_shape_and_classes_are_those_of_the_clean_images(folder):
    assert h5(str(folder)).shape == (8, 7, 3)
    assert h5(str(folder)).classes == 5
    with h5py.File(folder / "cl/train.h5", "a") as file:
        file["label"][4] = 8
    assert h5(str(folder)).classes == 9


def test_the_digest_is_of_content_and_of_how_it_is_read(folder, tmp_path):
    digest = h5(str(folder)).digest()
    moved = folder.rename(tmp_path / "moved")
    assert h5(str(moved)).digest() == digest
    assert h5(str(moved), scale=255).digest() != digest
    with h5py.File(moved / "bd/bd_test.h5", "a") as file:
        file["label"][0] = 1
    assert h5(str(moved)).digest() != digest


def test_files_are_the_same_whatever_remembers_them(folder):
    assert h5(str(folder), cache=Cache(memory_gb=1)) == h5(str(folder))
    assert h5(str(folder)).cache is not h5(str(folder)).cache
