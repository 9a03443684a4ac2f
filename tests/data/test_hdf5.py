"""Images from files: every dtype and layout, every bad file in one sentence, faces made once.

Pixels stay in their file until they are sliced, and what was seen of a file is remembered.
"""

import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweep import BadInput, attacks
from sweep.attacks import Attack
from sweep.cache import Cache
from sweep.data import Faces, Files, Images, faces, h5, hdf5, poisoned, poisoned_files

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 3, 8, 7), dtype=np.uint8)  # channels first
LABELS = np.array([0, 1, 2, 0, 1, 2])
SUNGLASSES = Attack(partial(attacks.sunglasses, white=255.0), target=1, rate=0.1)
ONE = 4 * 3 * 8 * 7  # bytes of one of these images, as float32


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
    assert images.pixels.dtype == images.pixels[:].dtype == np.float32
    assert images.pixels.shape == images.pixels[:].shape == (6, 8, 7, 3)
    assert images.shape == (8, 7, 3)
    assert len(images) == len(images.pixels) == 6
    np.testing.assert_array_equal(images.pixels[:], np.moveaxis(PIXELS, 1, -1))


@pytest.mark.parametrize("scale", [1.0, 255, 0.3])
@pytest.mark.parametrize("dtype", ["u1", "<f4", "<f8", ">f8", "<i8", "f2"])
@pytest.mark.parametrize("chunks", [None, (4, 1, 5, 7)], ids=["in one piece", "packed chunks"])
@pytest.mark.parametrize("block", [1, 3 * ONE, 1000 * ONE])
def test_slices_are_those_of_the_whole_file(block, chunks, dtype, scale, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK", block)
    data = (np.random.default_rng(1).normal(size=(11, 3, 8, 7)) * 100).astype(dtype)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data, chunks=chunks, compression=chunks and "gzip")
    whole = np.moveaxis(data.astype(np.float32), 1, -1).copy()
    whole /= scale
    pixels = hdf5.pixels(path, scale)
    rows = np.array([0, 3, 4, 9])
    for piece in (np.s_[:], np.s_[2:5], np.s_[7:99], np.s_[5:5], np.s_[::2], np.s_[::-1]):
        np.testing.assert_array_equal(pixels[piece], whole[piece])
        np.testing.assert_array_equal(pixels.take(rows)[piece], whole[rows][piece])
    np.testing.assert_array_equal(pixels.take(rows).take(np.array([1, 3]))[:], whole[[3, 9]])


def test_no_more_than_a_block_is_read_at_a_time_for_a_slice_of_a_subset(read, monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK", 2 * ONE)
    asked, getitem = [], h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda *args, **more: asked.append(args[1]) or getitem(*args, **more),
    )
    pixels = read(data=np.repeat(PIXELS, 2, axis=0), label=np.repeat(LABELS, 2)).pixels
    asked.clear()
    subset = pixels.take(np.array([0, 1, 5, 6, 11]))
    assert asked == []
    subset[1:]
    assert [(rows.start, rows.stop) for rows in asked] == [(1, 2), (5, 6), (6, 7), (11, 12)]


@pytest.mark.parametrize("channels", ["auto", "first", "last"])
@pytest.mark.parametrize("shape", [(6, 8, 7), (6, 1, 8, 7), (6, 8, 7, 1)])
def test_grey_images_have_one_channel(shape, channels, read):
    if len(shape) == 4 and channels != "auto":
        channels = "last" if shape[-1] == 1 else "first"
    images = read(data=PIXELS[:, 0].reshape(shape), channels=channels)
    assert images.shape == (8, 7, 1)
    np.testing.assert_array_equal(images.pixels[:][..., 0], PIXELS[:, 0])


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_labels_of_any_dtype_become_int64(dtype, shape, read):
    images = read(label=LABELS.astype(dtype).reshape(shape), true_label=LABELS[::-1].astype(dtype))
    assert images.labels.dtype == images.true_labels.dtype == np.int64
    np.testing.assert_array_equal(images.labels, LABELS)
    np.testing.assert_array_equal(images.true_labels, LABELS[::-1])


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4", "f8"])
@pytest.mark.parametrize("classes", [3, 7])
def test_one_hot_labels_become_classes(dtype, classes, read):
    one_hot = np.eye(classes, dtype=dtype)
    images = read(label=one_hot[LABELS], true_label=one_hot[LABELS[::-1]])
    assert images.labels.dtype == images.true_labels.dtype == np.int64
    np.testing.assert_array_equal(images.labels, LABELS)
    np.testing.assert_array_equal(images.true_labels, LABELS[::-1])


def test_a_row_that_is_not_one_hot_is_named(read, monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK", 2 * 3 * 4)
    one_hot = np.eye(3)[LABELS]
    one_hot[3] = one_hot[5] = 0.5
    with pytest.raises(BadInput, match=r"shape \(6, 3\), row 3 is not one-hot; expected one whole"):
        read(label=one_hot)


def test_pixels_are_divided_by_the_scale(read):
    pixels = read(scale=255).pixels[:]
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, np.moveaxis(PIXELS, 1, -1) / np.float32(255))


def test_labels_read_cannot_be_written_to(read):
    images = read()
    with pytest.raises(ValueError, match="read-only"):
        images.labels[0] = 0


def test_a_file_that_changes_on_disk_is_read_anew(read):
    assert read().labels.max() == 2
    assert read(label=LABELS + 5).labels.max() == 7


def test_valid_images_are_drawn_by_seed_without_replacement_in_file_order(read):
    data = np.broadcast_to(np.arange(50)[:, None, None, None], (50, 3, 8, 7))
    images = read(data=data, label=np.arange(50))
    drawn = images.sample(20, seed=3)
    assert len(drawn) == 20
    assert np.all(np.diff(drawn.labels) > 0)
    np.testing.assert_array_equal(drawn.pixels[:][:, 0, 0, 0], drawn.labels)
    np.testing.assert_array_equal(images.sample(20, seed=3).labels, drawn.labels)
    assert list(images.sample(20, seed=4).labels) != list(drawn.labels)
    np.testing.assert_array_equal(images.sample(50, seed=3).labels, images.labels)
    assert images.sample(None, seed=3) is images


def test_images_in_memory_are_drawn_as_those_of_a_file(read):
    images = read()
    held = replace(images, pixels=images.pixels[:], key="")
    np.testing.assert_array_equal(held.sample(3, seed=1).pixels, images.sample(3, seed=1).pixels[:])
    assert held.sample(3, seed=1).key == ""


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


@pytest.mark.parametrize("count", [0, -1, 7])
def test_more_or_fewer_valid_images_than_there_are_is_refused(count, read):
    with pytest.raises(BadInput, match=rf"data.valid_images is {count}; expected 1 to 6"):
        read().sample(count, seed=0)


@pytest.mark.parametrize(
    ("given", "most", "drawn"),
    [(None, None, 20), (None, 4, 4), (None, 99, 20), (5, 4, 5), (3, 4, 3)],
)
def test_a_defender_has_at_most_so_many(given, most, drawn, folder):
    source = h5(str(folder), valid_images=given, valid_at_most=most)
    assert len(source.images((8, 7, 3), 5, seed=1)["valid"]) == drawn


BAD_DATA = {
    "two axes": PIXELS[:, 0, 0],
    "five axes": PIXELS[None],
    "no images": PIXELS[:0],
    "no pixels": PIXELS[:, :, :0],
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
    "two of one row": np.eye(3)[LABELS] + np.eye(3)[0],
    "none of a row": np.eye(3)[LABELS] * (LABELS[:, None] > 0),
    "twos": 2 * np.eye(3)[LABELS],
    "minus ones": np.eye(3)[LABELS] - np.eye(3)[(LABELS + 1) % 3],
    "probabilities": np.full((6, 4), 0.25),
    "NaN beside a one": np.where(np.eye(3)[LABELS], 1, np.nan),
    "one-hot bool": np.eye(3)[LABELS] > 0,
    "one-hot images": np.eye(3)[LABELS].reshape(6, 3, 1),
    "no columns": np.zeros((6, 0)),
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
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("count", [0, 5])
def test_as_many_labels_as_images_are_asked_for(dataset, count, one_hot, read):
    values = np.eye(3)[LABELS] if one_hot else LABELS
    with pytest.raises(BadInput, match=rf"holds 6 images and {count} values of {dataset}"):
        read(**{dataset: values[:count]})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.filterwarnings("error")
def test_pixels_that_are_not_finite_are_refused_with_the_number_of_the_image(
    value, read, monkeypatch
):
    monkeypatch.setattr(hdf5, "BLOCK", 2 * ONE)
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
    synthetic = {"data": PIXELS, "label": LABELS, "true_label": LABELS}
    del synthetic[name]
    path = write(tmp_path / "x.h5", **synthetic)
    with h5py.File(path, "a") as file:
        file.create_group(name)
    with pytest.raises(BadInput, match=rf"x.h5 has no dataset '{name}'; it holds"):
        Files(path, path).read("valid")


@pytest.mark.parametrize("name", ["data", "label", "true_label"])
@pytest.mark.parametrize("link", [h5py.ExternalLink("gone.h5", "/x"), h5py.SoftLink("/gone")])
def test_a_link_to_nowhere_is_refused(name, link, tmp_path, write):
    synthetic = {"data": PIXELS, "label": LABELS, "true_label": LABELS}
    del synthetic[name]
    path = write(tmp_path / "x.h5", **synthetic)
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


def test_a_change_behind_a_link_is_seen(tmp_path, write):
    write(tmp_path / "there.h5", pixels=PIXELS)
    path = write(tmp_path / "x.h5", label=LABELS)
    with h5py.File(path, "a") as file:
        file["data"] = h5py.ExternalLink("there.h5", "/pixels")
    files = Files(path, path, cache=Cache(str(tmp_path / "kept"), max_gb=1))
    before = files.read("valid").key
    write(tmp_path / "there.h5", pixels=PIXELS + 1)
    assert files.read("valid").key != before


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


def test_the_digest_of_a_file_is_sha256_and_asks_for_no_images(folder):
    folder.joinpath("bd/bd_valid.h5").write_bytes(b"pixels")
    files = h5(str(folder))
    assert files.digest_of("poisoned_valid") == hashlib.sha256(b"pixels").hexdigest()
    files.digest()


@pytest.mark.parametrize("place", [0, 11, 19])
def test_the_brightest_pixel_is_told_as_it_stands_in_the_file(place, folder, monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK", 3 * ONE)
    with h5py.File(folder / "cl/valid.h5", "a") as file:
        file["data"][:] //= 2
        file["data"][place, 2, 5, 1] = 201
    assert h5(str(folder), scale=7).brightest == 201


def test_files_are_the_same_whatever_remembers_them(folder):
    assert h5(str(folder), cache=Cache(memory_gb=1)) == h5(str(folder))
    assert h5(str(folder)).cache is not h5(str(folder)).cache


def test_files_that_are_made_are_remembered_where_their_source_is(tmp_path, portraits):
    cache = Cache(str(tmp_path / "kept"), max_gb=1)
    made = Faces(3, 4, seed=0, folder=str(tmp_path), cache=cache).files(SUNGLASSES)
    assert made.cache is cache
    source = replace(portraits("u1", "auto"), folder=str(tmp_path / "made"), cache=cache)
    assert poisoned(source, SUNGLASSES).cache is cache


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """The files that were looked at, hashed or streamed, in turn."""
    seen: list[str] = []
    for name in ("_hash", "_scan"):
        make = getattr(hdf5, name)

        def counted(path: Path, make=make) -> dict:
            seen.append(f"{make.__name__} {path.name}")
            return make(path)

        counted.__name__ = name
        monkeypatch.setattr(hdf5, name, counted)
    return seen


@pytest.fixture
def opened(folder, tmp_path):
    """Open the lab's files as another process would: with a new cache on the same folder."""

    def opened(max_gb: float = 1) -> Files:
        return h5(str(folder), cache=Cache(str(tmp_path / "kept"), max_gb=max_gb))

    return opened


def look_at(files: Files) -> tuple:
    """All that a run asks of its files."""
    images = files.images((8, 7, 3), 5, seed=0)
    keys = [part.key for part in images.values()]
    return files.shape, files.classes, files.brightest, files.digest(), *keys


def test_what_was_seen_of_a_file_is_remembered_across_processes(opened, looks):
    first = look_at(opened())
    assert sorted(looks) == [
        "_hash bd_test.h5",
        "_hash bd_valid.h5",
        "_hash test.h5",
        "_hash train.h5",
        "_hash valid.h5",
        "_scan bd_test.h5",
        "_scan test.h5",
        "_scan valid.h5",
    ]
    looks.clear()
    assert look_at(opened()) == first
    assert looks == []


def test_a_file_is_looked_at_once_also_where_nothing_is_kept(opened, looks):
    files = opened(max_gb=0)
    look_at(files)
    count = len(looks)
    look_at(files)
    look_at(replace(files, scale=2.0))
    assert len(looks) == count == 8


@pytest.mark.parametrize("later", [0, 1_000_000], ids=["time set back", "later"])
def test_a_change_of_the_content_is_seen_also_at_equal_size(later, opened, folder):
    path = folder / "cl" / "valid.h5"
    before, changed = look_at(opened()), path.stat().st_mtime_ns
    content = path.read_bytes()
    with h5py.File(path) as file:
        start = file["data"].id.get_offset()
    path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    os.utime(path, ns=(changed, changed + later))
    assert look_at(opened()) != before
    path.write_bytes(content)
    assert look_at(opened()) == before


def test_a_file_that_is_refused_is_refused_again_and_read_when_it_is_mended(opened, write, folder):
    for _ in range(2):
        write(folder / "cl/valid.h5", data=np.full((6, 3, 8, 7), np.nan), label=LABELS)
        for _ in range(2):
            with pytest.raises(BadInput, match=r"image 0 has pixels that are NaN"):
                opened().read("valid")
        write(folder / "cl/valid.h5", data=PIXELS, label=LABELS)
        assert len(opened().read("valid")) == 6


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """How much memory was taken at most so far, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_a_large_file_is_never_whole_in_memory(tmp_path, peak):
    path, shape = tmp_path / "x.h5", (5000, 3, 64, 52)  # 200 MB as float32
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape, "u1", chunks=(500, *shape[1:]), compression="gzip")
        file["label"] = np.arange(5000) % 5
    files = Files(path, path, folder=str(tmp_path / "made"))
    images = files.images((64, 52, 3), 5, seed=0)
    assert (images["valid"].sample(2500, seed=0).pixels[1000:1256] == 0).all()
    assert sum(float(images["test"].pixels[rows].sum()) for rows in hdf5.steps(shape)) == 0
    assert peak() < 40e6


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
        monkeypatch.setattr(hdf5, "BLOCK", 4 * count * 3 * 31 * 31)
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


@pytest.mark.parametrize("kind", ["external", "virtual", "raw"])
@pytest.mark.parametrize("name", ["data", "label"])
def test_the_digest_changes_with_what_lies_in_other_files(folder, kind, name):
    path, real = folder / "cl" / "valid.h5", folder / "real.h5"
    path.rename(real)
    other = "label" if name == "data" else "data"
    with h5py.File(real) as file, h5py.File(path, "w") as made:
        made[other], held = file[other][:], file[name][:]
        if kind == "external":
            made[name] = h5py.ExternalLink(str(real), name)
        if kind == "virtual":
            layout = h5py.VirtualLayout(held.shape, held.dtype)
            layout[:] = h5py.VirtualSource(str(real), name, held.shape)
            made.create_virtual_dataset(name, layout)
        if kind == "raw":
            (folder / "raw").write_bytes(held.tobytes())
            where = [(str(folder / "raw"), 0, held.nbytes)]
            made.create_dataset(name, held.shape, held.dtype, external=where)
    files = h5(str(folder))
    before = files.digest()
    assert files.digest() == before
    changed = held[::-1]
    (folder / "raw").write_bytes(changed.tobytes())
    with h5py.File(real, "r+") as file:
        file[name][:] = changed
    assert files.digest() != before
