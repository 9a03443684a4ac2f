"""Where a dataset of an HDF5 file really lies: in it, or in files that links and sources name.

External links, external storage and virtual datasets lead to other files. They are followed at most
`MAX_DEPTH` deep, and never to a pipe or in a circle, on which HDF5 itself would hang.
"""

from pathlib import Path

import h5py

from sweep import BadInput

MAX_DEPTH = 8  # files of files that are followed


def lies_elsewhere(file: h5py.File, data: h5py.Dataset) -> bool:
    """Return whether all or part of `data`, asked of `file`, is kept in other files."""
    return data.is_virtual or bool(data.external) or data.file.filename != file.filename


def require_files(file: h5py.File, name: str, depth: int = 0) -> None:
    """Raise BadInput where links to other files end in what is none, or lead on and on."""
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.ExternalLink):
        return
    path = Path(file.filename).parent / link.filename
    _require_file(path, file.filename)
    if path.is_file() and h5py.is_hdf5(path):
        if depth > MAX_DEPTH:
            raise BadInput(f"{file.filename}: {name} leads on from file to file")
        with h5py.File(path) as other:
            require_files(other, link.path, depth + 1)


def require_sources(data: h5py.Dataset, filename: str) -> None:
    """Raise BadInput where what a dataset is made of is no file, or the dataset itself."""
    for place, *_ in data.external or ():
        _require_file(Path(data.file.filename).parent / place, filename)
    _require_no_circle(data)


def _require_no_circle(data: h5py.Dataset, above: tuple[tuple[Path, str], ...] = ()) -> None:
    """Raise BadInput where a virtual dataset is made of itself: HDF5 would follow that for ever."""
    if not data.is_virtual:
        return
    own_path = Path(data.file.filename).resolve()
    above = (*above, (own_path, data.name))
    sources = {(source.file_name, source.dset_name) for source in data.virtual_sources()}
    for file_name, dataset_name in sources:
        path = own_path if file_name == "." else (own_path.parent / file_name).resolve()
        name = "/" + dataset_name.strip("/")
        if (path, name) in above or len(above) > MAX_DEPTH:
            raise BadInput(f"{data.file.filename}: {data.name} is a virtual dataset of itself")
        _require_file(path, data.file.filename)
        if path.is_file() and h5py.is_hdf5(path):
            with h5py.File(path) as file:
                require_files(file, name)
                source = file.get(name)
                if isinstance(source, h5py.Dataset):
                    _require_no_circle(source, above)


def _require_file(path: Path, filename: str) -> None:
    """Raise BadInput where `path` exists and is no file: HDF5 would wait for a pipe for ever."""
    if path.exists() and not path.is_file():
        raise BadInput(f"{filename} leads to {path}, which is not a file")
