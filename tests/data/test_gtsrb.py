"""The official archive becomes files in the lab's layout: tracks whole, signs cut out."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweep import BadInput
from sweep.data import sources
from sweep.data.gtsrb import convert, main

HEAD = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
TRACKS = {0: 7, 1: 12}  # by class
FRAMES = 4


def picture(number: int, track: int, frame: int) -> bytes:
    """A P6 file, wider or higher than a square: a grey frame, and a sign that tells who it is."""
    height, width = 20 + frame, 24 - frame
    pixels = np.full((height, width, 3), 127, np.uint8)
    pixels[5:15, 6:16] = (10 + 100 * number, 10 + 10 * track, 10 + 10 * frame)
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def made(path: Path, folder: str = "GTSRB/Final_Training/Images", tracks=TRACKS) -> Path:
    """An archive in the layout of the official one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("GTSRB/Readme.txt", "made")
        for number, count in tracks.items():
            rows = [HEAD]
            for track in range(count):
                for frame in range(FRAMES):
                    name = f"{track:05}_{frame:05}.ppm"
                    archive.writestr(f"{folder}/{number:05}/{name}", picture(number, track, frame))
                    rows.append(f"{name};{24 - frame};{20 + frame};6;5;15;14;{number}")
            archive.writestr(f"{folder}/{number:05}/GT-{number:05}.csv", "\r\n".join(rows) + "\r\n")
    return path


def read(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for name in ("train", "valid", "test"):
        with h5py.File(root / "cl" / f"{name}.h5") as file:
            found[name] = file["data"][:], file["label"][:]
    return found


@pytest.mark.parametrize("folder", ["GTSRB/Final_Training/Images", "GTSRB/Training"])
def test_every_image_lands_in_one_file_cut_to_its_sign(folder, tmp_path):
    counts = convert(made(tmp_path / "archive.zip", folder), tmp_path / "signs", size=32)
    files = read(tmp_path / "signs")
    assert counts == {name: len(labels) for name, (_, labels) in files.items()}
    told = []
    for pixels, labels in files.values():
        assert pixels.shape[1:] == (3, 32, 32)
        assert pixels.dtype == np.uint8
        assert (pixels == pixels[:, :, :1, :1]).all(), "the frame is cut off, to the pixel"
        for colour, number in zip(pixels[:, :, 0, 0].tolist(), labels, strict=True):
            assert colour[0] == 10 + 100 * number
            told.append((int(number), colour[1] // 10 - 1, colour[2] // 10 - 1))
    assert sorted(told) == [
        (number, track, frame)
        for number, count in TRACKS.items()
        for track in range(count)
        for frame in range(FRAMES)
    ]


def test_tracks_stay_whole_and_every_class_is_in_every_file(tmp_path):
    convert(made(tmp_path / "archive.zip"), tmp_path / "signs")
    where: dict[tuple[int, int], set[str]] = {}
    for name, (pixels, labels) in read(tmp_path / "signs").items():
        assert set(labels) == set(TRACKS)
        for track, number in zip(pixels[:, 1, 0, 0].tolist(), labels.tolist(), strict=True):
            where.setdefault((number, track), set()).add(name)
    assert len(where) == sum(TRACKS.values())
    assert all(len(names) == 1 for names in where.values())


def test_tracks_are_drawn_by_seed(tmp_path):
    archive = made(tmp_path / "archive.zip")
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        convert(archive, tmp_path / name, seed=seed)
    one, same, other = (read(tmp_path / name)["test"][0] for name in ("one", "same", "other"))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_files_are_what_a_run_reads(tmp_path):
    convert(made(tmp_path / "archive.zip"), tmp_path / "signs")
    files = sources.h5(str(tmp_path / "signs"), scale=255)
    assert files.shape == (32, 32, 3)
    assert files.classes == 2
    assert files.training_labels((32, 32, 3)) is not None


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    archive = made(tmp_path / "archive.zip")
    assert main([str(archive), str(tmp_path / "signs")]) == 0
    assert "52 images in cl/train.h5, 12 images in cl/valid.h5, 12" in capsys.readouterr().out


def test_an_archive_of_something_else_is_refused_in_a_sentence(tmp_path, capsys):
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        archive.writestr("GTSRB/Final_Test/Images/GT-final_test.test.csv", "Filename;Width\n")
    for name, says in (
        ("gone.zip", "cannot be read"),
        ("text.zip", "cannot be read"),
        ("empty.zip", "holds no tables"),
        ("test.zip", "has no column ClassId"),
    ):
        with pytest.raises(BadInput, match=says):
            convert(tmp_path / name, tmp_path / "signs")
        assert main([str(tmp_path / name), str(tmp_path / "signs")]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "signs").exists()


def test_too_few_tracks_and_missing_pictures_are_refused_in_a_sentence(tmp_path):
    few = made(tmp_path / "few.zip", tracks={0: 2})
    with pytest.raises(BadInput, match="class 0 has 2 tracks; expected at least 3"):
        convert(few, tmp_path / "signs")
    with zipfile.ZipFile(tmp_path / "torn.zip", "w") as archive:
        rows = [f"{track:05}_00000.ppm;9;9;1;1;7;7;0" for track in range(3)]
        archive.writestr("Images/00000/GT-00000.csv", "\n".join([HEAD, *rows]))
        archive.writestr("Images/00000/00000_00000.ppm", "no picture")
    with pytest.raises(BadInput, match="no picture Images/00000/0000"):
        convert(tmp_path / "torn.zip", tmp_path / "signs")
    assert not list((tmp_path / "signs").rglob("*.h5"))
