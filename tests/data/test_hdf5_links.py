"""Datasets that lie in other files: links are followed, and a change behind one is noticed."""

import h5py
import pytest
from image_files import LABELS, PIXELS

from sweep import BadInput
from sweep.cache import Cache
from sweep.data import Files, h5


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
