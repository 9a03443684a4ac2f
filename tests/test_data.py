"""Images from files: every dtype and layout, every bad file in one sentence, faces made once."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweep import BadInput, attacks, datasets, faces
from sweep.attacks import Attack
from sweep.data import Files, Images, h5
from sweep.datasets import Faces, poisoned

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 3, 8, 7), dtype=np.uint8)  # channels first
LABELS = np.array([0, 1, 2, 0, 1, 2])
SUNGLASSES = Attack(partial(attacks.sunglasses, white=255.0), target=1, rate=0.1)


@pytest.fixture
def read(tmp_path, write):
    """Write a file of the given datasets and read it as the clean validation images."""

    def read(scale: float = 1.0, channels: str = "auto", **values) -> Images:
        path = write(tmp_path / "valid.h5", **{"data": PIXELS, "label": LABELS} | values)
        return Files(path, path, scale=scale, channels=channels).read("valid")

    return read


@pytest.mark.parametrize("dtype", ["u1", "<f4", "<f8", ">f8", ">u2", "<i8", "f2"])
@pytest.mark.parametrize("channels", ["auto", "told"])
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_any_dtype_and_layout_gives_the_same_images(dtype, channels, last, read):
    data = PIXELS.astype(dtype)
    if channels == "told":
        channels = "last" if last else "first"
    images = read(data=np.moveaxis(data, 1, -1) if last else data, channels=channels)
    assert images.pixels.dtype == np.float32
    assert images.shape == (8, 7, 3)
    assert len(images) == 6
    np.testing.assert_array_equal(images.pixels, np.moveaxis(PIXELS, 1, -1))


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_labels_of_any_dtype_become_int64(dtype, shape, read):
    images = read(label=LABELS.astype(dtype).reshape(shape), true_label=LABELS[::-1].astype(dtype))
    assert images.labels.dtype == images.true_labels.dtype == np.int64
    np.testing.assert_array_equal(images.labels, LABELS)
    np.testing.assert_array_equal(images.true_labels, LABELS[::-1])


def test_pixels_are_divided_by_the_scale(read):
    images = read(scale=255)
    assert images.pixels.dtype == np.float32
    np.testing.assert_array_equal(images.pixels, np.moveaxis(PIXELS, 1, -1) / np.float32(255))


def test_images_read_cannot_be_written_to(read):
    images = read()
    with pytest.raises(ValueError, match="read-only"):
        images.pixels[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        images.labels[0] = 0


def test_more_images_than_are_read_at_a_time_keep_their_order(read, monkeypatch):
    monkeypatch.setattr("sweep.data.ROWS", 4)
    np.testing.assert_array_equal(read().pixels, np.moveaxis(PIXELS, 1, -1))


def test_a_file_that_changes_on_disk_is_read_anew(read):
    assert read().labels.max() == 2
    assert read(label=LABELS + 5).labels.max() == 7


def test_valid_images_are_drawn_by_seed_without_replacement_in_file_order(read):
    data = np.broadcast_to(np.arange(50)[:, None, None, None], (50, 3, 8, 7))
    images = read(data=data, label=np.arange(50))
    drawn = images.sample(20, seed=3)
    assert len(drawn) == 20
    assert np.all(np.diff(drawn.labels) > 0)
    np.testing.assert_array_equal(drawn.pixels[:, 0, 0, 0], drawn.labels)
    np.testing.assert_array_equal(images.sample(20, seed=3).labels, drawn.labels)
    assert list(images.sample(20, seed=4).labels) != list(drawn.labels)
    np.testing.assert_array_equal(images.sample(50, seed=3).labels, images.labels)
    assert images.sample(None, seed=3) is images


@pytest.mark.parametrize("count", [0, -1, 7])
def test_more_or_fewer_valid_images_than_there_are_is_refused(count, read):
    with pytest.raises(BadInput, match=rf"data.valid_images is {count}; expected 1 to 6"):
        read().sample(count, seed=0)


BAD_DATA = {
    "three axes": PIXELS[:, 0],
    "five axes": PIXELS[None],
    "no images": PIXELS[:0],
    "strings": np.full((6, 3, 8, 7), b"x"),
    "complex": PIXELS + 1j,
    "bool": PIXELS > 9,
    "compound": np.zeros((6, 3, 8, 7), dtype=[("a", "f4"), ("b", "f4")]),
    "scalar": 7.0,
    "null": h5py.Empty("f4"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_is_no_images_is_refused(name, read):
    with pytest.raises(BadInput, match=r"valid.h5: data is .* of shape .*; expected numbers"):
        read(data=BAD_DATA[name])


BAD_LABELS = {
    "negative": LABELS - 1,
    "fractional": LABELS + 0.5,
    "NaN": np.array([0, 1, 2, 0, 1, np.nan]),
    "infinite": np.array([0, 1, 2, 0, 1, np.inf]),
    "huge float": np.array([0, 1, 2, 0, 1, 1e300]),
    "huge integer": np.array([0, 1, 2, 0, 1, 2**64 - 1], dtype=np.uint64),
    "strings": np.full(6, b"1"),
    "bool": LABELS > 0,
    "complex": LABELS + 0j,
    "one-hot": np.eye(3)[LABELS],
    "compound": np.zeros(6, dtype=[("a", "f4")]),
    "scalar": 1,
    "null": h5py.Empty("i8"),
}


@pytest.mark.parametrize("dataset", ["label", "true_label"])
@pytest.mark.parametrize("name", BAD_LABELS)
@pytest.mark.filterwarnings("error")
def test_labels_that_are_no_classes_are_refused(name, dataset, read):
    sentence = rf"valid.h5: {dataset} is .* of shape .*; expected one whole number >= 0 an image"
    with pytest.raises(BadInput, match=sentence):
        read(**{dataset: BAD_LABELS[name]})


@pytest.mark.parametrize("dataset", ["label", "true_label"])
@pytest.mark.parametrize("count", [0, 5])
def test_as_many_labels_as_images_are_asked_for(dataset, count, read):
    with pytest.raises(BadInput, match=rf"holds 6 images and {count} values of {dataset}"):
        read(**{dataset: LABELS[:count]})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.filterwarnings("error")
def test_pixels_that_are_not_finite_are_refused_with_the_number_of_the_image(
    value, read, monkeypatch
):
    monkeypatch.setattr("sweep.data.ROWS", 2)
    data = PIXELS.astype(float)
    data[3, 1, 4, 4] = data[5, 0, 0, 0] = value
    with pytest.raises(BadInput, match=r"valid.h5: image 3 has pixels that are NaN or infinite"):
        read(data=data)


@pytest.mark.parametrize("image", [(3, 8, 3), (5, 8, 7), (3, 3, 3), (1, 8, 4)])
def test_a_layout_that_cannot_be_told_is_refused(image, read):
    with pytest.raises(BadInput, match=r"cannot tell which axis .* set data.channels=first or"):
        read(data=np.zeros((6, *image)))


def test_a_layout_that_cannot_be_told_can_be_said(read):
    assert read(data=np.zeros((6, 5, 8, 7)), channels="first").shape == (8, 7, 5)
    assert read(data=np.zeros((6, 3, 8, 3)), channels="last").shape == (3, 8, 3)


def test_a_missing_dataset_is_refused_with_what_the_file_holds(tmp_path, write):
    path = write(tmp_path / "x.h5", images=PIXELS, label=LABELS)
    with pytest.raises(BadInput, match=r"x.h5 has no dataset 'data'; it holds 'images', 'label'"):
        Files(path, path).read("valid")
    path = write(tmp_path / "y.h5")
    with pytest.raises(BadInput, match=r"y.h5 has no dataset 'data'; it holds nothing"):
        Files(path, path).read("valid")


@pytest.mark.parametrize("name", ["data", "label", "true_label"])
def test_a_group_in_place_of_a_dataset_is_refused(name, tmp_path, write):
    datasets = {"data": PIXELS, "label": LABELS, "true_label": LABELS}
    del datasets[name]
    path = write(tmp_path / "x.h5", **datasets)
    with h5py.File(path, "a") as file:
        file.create_group(name)
    with pytest.raises(BadInput, match=rf"x.h5 has no dataset '{name}'; it holds"):
        Files(path, path).read("valid")


@pytest.mark.parametrize("name", ["data", "label", "true_label"])
@pytest.mark.parametrize("link", [h5py.ExternalLink("gone.h5", "/x"), h5py.SoftLink("/gone")])
def test_a_link_to_nowhere_is_refused(name, link, tmp_path, write):
    datasets = {"data": PIXELS, "label": LABELS, "true_label": LABELS}
    del datasets[name]
    path = write(tmp_path / "x.h5", **datasets)
    with h5py.File(path, "a") as file:
        file[name] = link
    with pytest.raises(BadInput, match=rf"x.h5 has no dataset '{name}'; it holds"):
        Files(path, path).read("valid")


def test_an_external_link_to_a_dataset_is_followed(tmp_path, write):
    write(tmp_path / "there.h5", pixels=PIXELS)
    path = write(tmp_path / "x.h5", label=LABELS)
    with h5py.File(path, "a") as file:
        file["data"] = h5py.ExternalLink("there.h5", "/pixels")
    assert len(Files(path, path).read("valid")) == 6


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(share, folder):
    path = folder / "cl" / "valid.h5"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match=r"valid.h5 (is not an HDF5 file|cannot be read)"):
        h5(str(folder)).read("valid")


def test_a_file_with_broken_chunks_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).integers(0, 256, (600, 3, 8, 7), dtype=np.uint8)
        file.create_dataset("data", data=noise, chunks=(600, 3, 8, 7), compression="gzip")
        file["label"] = np.zeros(600)
        start = file["data"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[start : start + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"x.h5 cannot be read"):
        Files(path, path).read("valid")


def test_a_file_that_is_not_hdf5_is_refused(folder):
    (folder / "cl" / "test.h5").write_text("hello")
    with pytest.raises(BadInput, match=r"test.h5 is not an HDF5 file; expected one with"):
        h5(str(folder)).read("test")


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


def test_images_of_another_shape_than_the_network_takes_are_refused(folder):
    with pytest.raises(BadInput, match=r"valid images are 8 x 7 x 3, the network expects 7 x 8"):
        h5(str(folder)).check((7, 8, 3), 5)


@pytest.mark.parametrize("place", ["cl/valid.h5", "cl/test.h5", "bd/bd_test.h5"])
def test_labels_beyond_the_classes_of_the_network_are_refused(place, folder):
    with h5py.File(folder / place, "a") as file:
        file["label"][4] = 5
    with pytest.raises(BadInput, match=r"labels go up to 5, the network has 5 classes \(0 to 4\)"):
        h5(str(folder)).check((8, 7, 3), 5)


def test_true_labels_beyond_the_classes_of_the_network_are_refused(folder):
    with h5py.File(folder / "bd/bd_test.h5", "a") as file:
        file["true_label"][4] = 9
    with pytest.raises(BadInput, match=r"the poisoned test labels go up to 9"):
        h5(str(folder)).check((8, 7, 3), 5)


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
    assert rendered.read("test").pixels.max() <= 1


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


def test_equal_settings_give_equal_bytes_and_others_do_not(rendered, tmp_path):
    names = ("train", "valid", "test", "poisoned_valid", "poisoned_test")
    again = Faces(3, 8, seed=0, folder=str(tmp_path)).files(SUNGLASSES)
    other = Faces(3, 8, seed=1, folder=str(tmp_path)).files(SUNGLASSES)
    for name in names:
        same, differs = getattr(again, name), getattr(other, name)
        assert same.read_bytes() == getattr(rendered, name).read_bytes()
        assert differs.read_bytes() != same.read_bytes()


def test_a_rendering_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_poison", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Faces(3, 4, seed=0, folder=str(tmp_path)).files(SUNGLASSES)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


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
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_own_images_are_poisoned_by_the_attack(dtype, channels, portraits, tmp_path):
    source = portraits(dtype, channels)
    files = poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES)
    stamped = files.read("poisoned_test")
    clean = source.read("test")
    index = np.flatnonzero(clean.labels != 1)
    expected = attacks.sunglasses(clean.pixels[index] * 255)
    rounding = 0.51 if dtype == "u1" else 1e-3
    np.testing.assert_allclose(stamped.pixels * 255, expected, atol=rounding)
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
    monkeypatch.setattr(datasets, "_poison", None)
    assert poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES) == first


def test_images_of_the_target_alone_cannot_be_poisoned(tmp_path, write):
    data = np.zeros((4, 3, 31, 31), np.uint8)
    for name in ("valid", "test"):
        write(tmp_path / "own" / "cl" / f"{name}.h5", data=data, label=np.ones(4))
    source = h5(str(tmp_path / "own"))
    with pytest.raises(BadInput, match=r"all valid images are of class 1, the attack's target"):
        poisoned(replace(source, folder=str(tmp_path / "made")), SUNGLASSES)
    assert [path for path in Path(tmp_path / "made").iterdir() if path.suffix != ".lock"] == []


def test_a_file_that_cannot_be_opened_is_refused(folder):
    path = folder / "cl" / "valid.h5"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(BadInput, match=r"valid.h5"):
        h5(str(folder)).read("valid")
