"""One HDF5 file of images: every dtype and layout, every bad file in one sentence.

Pixels stay in their file until they are sliced, and what a scan of a file said is cached.
"""

import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from image_files import LABELS, PIXELS

from sweep import BadInput
from sweep.cache import Cache
from sweep.data import Files, h5, hdf5

ONE = 4 * 3 * 8 * 7  # bytes of one of these images, as float32


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
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", block)
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
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 2 * ONE)
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
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 2 * 3 * 4)
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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.filterwarnings("error")
def test_pixels_that_are_not_finite_are_refused_with_the_number_of_the_image(
    value, read, monkeypatch
):
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 2 * ONE)
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


def test_the_digest_of_a_file_is_sha256_and_asks_for_no_images(folder):
    folder.joinpath("bd/bd_valid.h5").write_bytes(b"pixels")
    files = h5(str(folder))
    assert files.digest_of("poisoned_valid") == hashlib.sha256(b"pixels").hexdigest()
    files.digest()


@pytest.mark.parametrize("place", [0, 11, 19])
def test_the_brightest_pixel_is_told_as_it_stands_in_the_file(place, folder, monkeypatch):
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 3 * ONE)
    with h5py.File(folder / "cl/valid.h5", "a") as file:
        file["data"][:] //= 2
        file["data"][place, 2, 5, 1] = 201
    assert h5(str(folder), scale=7).brightest == 201


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


def test_a_file_that_cannot_be_opened_is_refused(folder):
    path = folder / "cl" / "valid.h5"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(BadInput, match=r"valid.h5"):
        h5(str(folder)).read("valid")
