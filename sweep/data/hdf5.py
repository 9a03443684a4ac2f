"""One HDF5 file of images in the lab's layout: its pixels piece by piece, and its labels.

`data` holds numbers, (images, channels, height, width) or channels last, grey images also
(images, height, width); `label` and `true_label` hold a class an image, or rows that are one-hot.
No more than `BLOCK_BYTES` of a file is in memory besides what is asked for, and what only a scan of
all pixels can say (`summarize`, `digest`) is cached while the file stays as it is.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files
from sweep.cache import Arrays, Cache
from sweep.data import hdf5_links
from sweep.files import DAMAGED

BLOCK_BYTES = 2**23  # of float32 that are read at a time
CHUNK_CACHE_BYTES = 2**25  # of unpacked chunks that HDF5 keeps, lest it unpack one for each block
SMALL_BYTES = 2**28  # that may be read although nothing of them was written
MAX_COMPRESSION = 2000  # times at most that pixels are packed; deflate does not reach 1,100
DATASETS = ("data", "label", "true_label", "clean_index")
COLOURS = (1, 3, 4)  # numbers of colour channels by which a layout is told


@dataclass(frozen=True, eq=False)
class Pixels:
    """A lazy array, float32 (n, height, width, channels), / scale: read where it is sliced."""

    path: Path
    scale: float
    channels: str
    image: tuple[int, ...]  # shape of one
    rows: NDArray[np.int64]  # which images of the file
    change: Callable[[NDArray], NDArray] | None = None  # of blocks as they stand in the file
    dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.image

    def take(self, rows: NDArray[np.int64], axis: int = 0) -> "Pixels":
        """Return these images alone, as an array's `take` along the first axis; reads nothing."""
        return replace(self, rows=self.rows[rows])

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return the pixels of these images; BadInput where the file cannot be read any more."""
        wanted = self.rows[rows]
        pixels = np.empty((len(wanted), *self.image), self.dtype)

        def read(file: h5py.File) -> None:
            data, done = _images(file).astype(self.dtype), 0
            ends = np.flatnonzero(np.diff(wanted // _rows(self.shape))) + 1  # of blocks
            for part in np.split(wanted, ends) if len(wanted) else ():
                start = part.min()
                block = data[start : part.max() + 1][part - start]
                block = _channels_last(block, self.channels, self.path)
                pixels[done : done + len(part)] = self.change(block) if self.change else block
                done += len(part)

        _open(self.path, read)
        pixels /= self.scale
        return pixels


@dataclass(frozen=True)
class PixelSummary:
    """SHA-256 and highest value of all pixels, as they stand in the file; they are all finite."""

    digest: str
    brightest: float


def pixels(path: Path, scale: float = 1.0, channels: str = "auto") -> Pixels:
    """Return all images of a file; BadInput where it has none, or their layout is ambiguous."""

    def read(file: h5py.File) -> Pixels:
        shape = _images(file).shape
        image = _channels_last(np.empty((0, *shape[1:])), channels, path).shape[1:]
        return Pixels(path, scale, channels, image, np.arange(shape[0]))

    return _open(path, read)


def labels(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the classes (n,) of the images of a file, and their true classes or None.

    Raises BadInput where they are no classes.
    """

    def read(file: h5py.File) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        true = _read_labels(file, "true_label") if "true_label" in file else None
        return _read_labels(file, "label"), true

    return _open(path, read)


def whole_numbers(path: Path, name: str) -> NDArray[np.int64] | None:
    """Return what a dataset says of each image of a file, (n,); None where there is none."""

    def read(file: h5py.File) -> NDArray[np.int64] | None:
        return _read_labels(file, name) if name in file else None

    return _open(path, read)


def summarize(path: Path, cache: Cache) -> PixelSummary:
    """Return the summary of the pixels of a file, cached; BadInput where one is not finite."""
    # size and times of `path` do not show a change of another file
    elsewhere = _open(path, lambda file: hdf5_links.lies_elsewhere(file, _images(file)))
    arrays = _scan(path) if elsewhere else _cached(_scan, path, cache)
    return PixelSummary(str(arrays["digest"]), float(arrays["brightest"]))


def digest(path: Path, cache: Cache) -> str:
    """Return the SHA-256 of a file, cached."""
    return str(_cached(_hash, path, cache)["digest"])


def digest_of_images(path: Path, cache: Cache) -> str:
    """Return the SHA-256 of a file of images, and of what it holds that lies in other files."""
    elsewhere = _open(path, _digests_elsewhere) if h5py.is_hdf5(path) else []
    file_digest = digest(path, cache)
    return files.key([file_digest, elsewhere]) if elsewhere else file_digest


def _digests_elsewhere(file: h5py.File) -> list[str]:
    """Return the SHA-256 of each dataset of `file` that lies in other files."""
    names = [name for name in DATASETS if isinstance(file.get(name), h5py.Dataset)]
    datasets = [_dataset(file, name) for name in names]
    return [_values(data) for data in datasets if hdf5_links.lies_elsewhere(file, data)]


def steps(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of the rows of a float32 array of that shape, at most `BLOCK_BYTES` each."""
    count = _rows(shape)
    return (slice(start, start + count) for start in range(0, shape[0], count))


def _rows(shape: tuple[int, ...]) -> int:
    """Return how many rows of a float32 array of that shape a block holds."""
    return max(1, BLOCK_BYTES // (4 * int(np.prod(shape[1:]))))


def _cached(compute: Callable[[Path], Arrays], path: Path, cache: Cache) -> Arrays:
    """Return `compute(path)`, computed once while the file's size and times stay the same."""
    return _get_or_compute(compute, path, cache, *files.size_and_times(path))


@lru_cache(maxsize=256)
def _get_or_compute(
    compute: Callable[[Path], Arrays], path: Path, cache: Cache, *size_and_times: int
) -> Arrays:
    """Look up on disk once a process; compute once also where the cache keeps nothing."""
    key = files.key([compute.__name__, path, *size_and_times], "data/hdf5.py")
    return cache.get_or_compute(f"files/{key}", lambda: compute(path))


def _hash(path: Path) -> Arrays:
    with path.open("rb") as file:
        return {"digest": np.array(hashlib.file_digest(file, "sha256").hexdigest())}


def _values(data: h5py.Dataset) -> str:
    """Return the SHA-256 of the values of a dataset."""
    digest = hashlib.sha256(repr((data.shape, data.dtype)).encode())
    for rows in steps(data.shape) if data.shape else [()]:
        block = np.ascontiguousarray(data[rows])
        digest.update(block)  # type: ignore[arg-type]  # an array is a buffer
    return digest.hexdigest()


def _scan(path: Path) -> Arrays:
    """Read all pixels of a file once: digest and highest value; BadInput for NaN and infinity."""

    def scan(file: h5py.File) -> Arrays:
        data, brightest = _images(file), -np.inf
        digest = hashlib.sha256(repr(data.shape).encode())
        for rows in steps(data.shape):
            block = data.astype(np.float32)[rows]
            finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
            if not finite.all():
                raise BadInput(
                    f"{path}: image {rows.start + np.argmin(finite)} has pixels that are NaN or "
                    f"infinite; mend it or drop it"
                )
            digest.update(block)
            brightest = max(brightest, block.max())
        return {"digest": np.array(digest.hexdigest()), "brightest": np.array(brightest)}

    return _open(path, scan)


def _open(path: Path, read: Callable[[h5py.File], Any]) -> Any:
    """Return `read(file)` of the HDF5 file at `path`; BadInput where it is none, or damaged."""
    if not h5py.is_hdf5(path):
        raise BadInput(f"{path} is not an HDF5 file; expected one with 'data' and 'label'")
    try:
        with h5py.File(path, rdcc_nbytes=CHUNK_CACHE_BYTES) as file:
            return read(file)
    except BadInput:
        raise
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path} cannot be read ({reason}); is the file whole?") from error


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset of `file`; BadInput where there is none, or it cannot be complete."""
    hdf5_links.require_files(file, name)
    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        held = ", ".join(map(repr, file)) or "nothing"
        raise BadInput(f"{file.filename} has no dataset {name!r}; it holds {held}")
    hdf5_links.require_sources(data, file.filename)
    stored = data.id.get_storage_size()
    size = 0 if data.is_virtual or data.external else data.nbytes
    if size > max(MAX_COMPRESSION * stored, SMALL_BYTES):
        raise BadInput(
            f"{file.filename}: {name} of shape {data.shape} would be {size} bytes and "
            f"holds {stored}; is the file whole?"
        )
    return data


def _images(file: h5py.File) -> h5py.Dataset:
    """Return the dataset of the pixels of `file`; BadInput where it holds no images."""
    data = _dataset(file, "data")
    if data.ndim not in (3, 4) or not data.size or data.dtype.kind not in "fiu":
        raise BadInput(
            f"{file.filename}: data is {data.dtype} of shape {data.shape}; expected numbers, "
            f"(images, channels, height, width) or (images, height, width, channels), or "
            f"(images, height, width) of grey images"
        )
    return data


def _channels_last(pixels: NDArray, channels: str, path: Path) -> NDArray:
    """View (n, channels, height, width) or (n, height, width) as (n, height, width, channels)."""
    if pixels.ndim == 3:
        return pixels[..., np.newaxis]
    if channels == "auto":
        first, last = pixels.shape[1] in COLOURS, pixels.shape[3] in COLOURS
        if first == last:
            raise BadInput(
                f"{path}: cannot tell which axis of images {pixels.shape[1:]} is the colour; "
                f"set data.channels=first or data.channels=last"
            )
        channels = "first" if first else "last"
    return np.moveaxis(pixels, 1, -1) if channels == "first" else pixels


def _read_labels(file: h5py.File, name: str) -> NDArray[np.int64]:
    """Return the classes (n,) of a dataset of `file`, read-only; BadInput where one is none."""
    data = _dataset(file, name)
    values, complaint = _label_values(data)
    is_class = (values >= 0) & (values < 2**31) & (values == np.rint(values))
    if not is_class.all():
        bad = np.argmin(is_class)
        raise BadInput(
            f"{file.filename}: {name} is {data.dtype} of shape {data.shape}"
            f"{complaint.format(bad, values[bad])}; expected one whole number >= 0 an image, its "
            f"class, or one-hot rows"
        )
    classes = values.astype(np.int64)
    classes.setflags(write=False)
    return classes


def _label_values(data: h5py.Dataset) -> tuple[NDArray, str]:
    """Return one value an image, (n,), and a template for the error where one is no class.

    NaN stands for a row that is not one-hot, and a single one for what are no labels at all.
    """
    shape: tuple[int, ...] = (data.shape or ()) if data.dtype.kind in "fiu" else ()
    if len(shape) == 2 and shape[1] > 1:
        values = np.full(shape[0], np.nan)
        for rows in steps(shape):
            values[rows] = _from_one_hot(data[rows])
        return values, ", row {} is not one-hot"
    if shape and shape[1:] in ((), (1,)):
        return data[:].reshape(-1), ", number {} is {}"
    return np.array([np.nan]), ""


def _from_one_hot(rows: NDArray) -> NDArray[np.float64]:
    """Return where the 1 stands in each row (n, k); NaN where a row is not one 1 among zeros."""
    one_hot = (np.count_nonzero(rows, axis=1) == 1) & (rows.max(axis=1) == 1)
    return np.where(one_hot, rows.argmax(axis=1), np.nan)
