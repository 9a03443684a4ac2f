"""The official archive of the German traffic signs, turned into files in the lab's layout.

    python -m sweep.gtsrb GTSRB_Final_Training_Images.zip DIR
    python run.py data=h5 data.root=DIR data.scale=255

GTSRB (Stallkamp et al., Neural Networks 32, 2012) is published as folders of one class each, of
`00012_00029.ppm` (track 12, frame 29) and a `GT-00000.csv`; GTSRB-Training_fixed.zip is the same.
A track is 30 pictures of one sign, so tracks are drawn whole, for training, validation or test.
"""

import argparse
import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sweep import BadInput, files, terminal
from sweep.data.sources import LAYOUT

SHARES = {"valid": 0.15, "test": 0.15}  # of the tracks of a class; the rest is for training
_COLUMNS = ("Filename", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")


def convert(archive: Path, root: Path, *, size: int = 32, seed: int = 0) -> dict[str, int]:
    """Write cl/train.h5, cl/valid.h5 and cl/test.h5 of `size` x `size` pixels under `root`.

    Images are cut to their sign (the Roi columns) and resized; uint8, channels first. Of each class
    tracks are drawn by `seed`, at least one for each file. Returns the number of images in each.
    Raises BadInput where the archive is none of GTSRB, and where a class has fewer than 3 tracks.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            signs = _signs(file)
            split = _split(signs, seed)
            for name, rows in split.items():
                with files.atomic_write(root / LAYOUT[name]) as path:
                    _write(path, file, rows, size)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"{archive} cannot be read ({error}); expected the archive of GTSRB"
        ) from error
    return {name: len(rows) for name, rows in split.items()}


def _signs(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    """Return the rows of all tables, `Filename` with its folder."""
    signs = []
    for name in sorted(archive.namelist()):
        path = PurePosixPath(name)
        if not (path.name.startswith("GT-") and path.suffix == ".csv"):
            continue
        with archive.open(name) as raw:
            table = csv.DictReader(io.TextIOWrapper(raw, "utf-8-sig"), delimiter=";")
            missing = set(_COLUMNS) - set(table.fieldnames or ())
            if missing:
                raise BadInput(
                    f"{archive.filename}: {name} has no column {', '.join(sorted(missing))}; "
                    f"expected {';'.join(_COLUMNS)}, as in the archive of training images"
                )
            signs += [row | {"Filename": str(path.parent / row["Filename"])} for row in table]
    if not signs:
        raise BadInput(
            f"{archive.filename} holds no tables GT-00000.csv; expected the archive of training "
            f"images, GTSRB_Final_Training_Images.zip"
        )
    return signs


def _split(signs: Sequence[dict[str, str]], seed: int) -> dict[str, list[dict[str, str]]]:
    """Return the signs of each file, in the order of the archive; no track is divided."""
    tracks: dict[int, set[str]] = {}
    for sign in signs:
        tracks.setdefault(int(sign["ClassId"]), set()).add(_track(sign))
    file_of: dict[tuple[int, str], str] = {}
    for cls, names in sorted(tracks.items()):
        if len(names) <= len(SHARES):
            raise BadInput(
                f"class {cls} has {len(names)} tracks; expected at least {len(SHARES) + 1}, "
                f"one for each file"
            )
        remaining = np.random.default_rng([seed, cls]).permutation(sorted(names)).tolist()
        counts = {file: max(1, round(share * len(names))) for file, share in SHARES.items()}
        counts["train"] = len(names) - sum(counts.values())
        for file, count in counts.items():
            file_of |= {(cls, track): file for track in remaining[:count]}
            remaining = remaining[count:]
    split: dict[str, list[dict[str, str]]] = {file: [] for file in ("train", *SHARES)}
    for sign in signs:
        split[file_of[int(sign["ClassId"]), _track(sign)]].append(sign)
    return split


def _track(sign: dict[str, str]) -> str:
    return PurePosixPath(sign["Filename"]).name.partition("_")[0]


def _write(
    path: Path, archive: zipfile.ZipFile, signs: Sequence[dict[str, str]], size: int
) -> None:
    with h5py.File(path, "w") as file:
        file["label"] = np.array([int(sign["ClassId"]) for sign in signs])
        data = file.create_dataset("data", (len(signs), 3, size, size), np.uint8)
        for start in range(0, len(signs), 1000):
            block = [_picture(archive, sign, size) for sign in signs[start : start + 1000]]
            data[start : start + len(block)] = np.stack(block)


def _picture(archive: zipfile.ZipFile, sign: dict[str, str], size: int) -> NDArray[np.uint8]:
    """Return one sign, cropped and resized, (3, size, size); the Roi includes its last pixels."""
    left, top, right, bottom = (int(sign[f"Roi.{edge}"]) for edge in ("X1", "Y1", "X2", "Y2"))
    try:
        with archive.open(sign["Filename"]) as raw, Image.open(raw) as image:
            sign_only = image.convert("RGB").crop((left, top, right + 1, bottom + 1))
            resized = sign_only.resize((size, size), Image.Resampling.BILINEAR)
            return np.moveaxis(np.asarray(resized), -1, 0)
    except (KeyError, UnidentifiedImageError) as error:
        raise BadInput(f"{archive.filename}: no picture {sign['Filename']} ({error})") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 2 for bad input, which is said in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.gtsrb", description="GTSRB's archive as files in the lab's layout."
    )
    parser.add_argument("archive", type=Path, help="GTSRB_Final_Training_Images.zip")
    parser.add_argument("root", type=Path, help="folder for cl/train.h5, cl/valid.h5, cl/test.h5")
    parser.add_argument("--size", type=int, default=32, help="pixels along a side (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="draws the tracks (default 0)")
    given = parser.parse_args(arguments)

    def run() -> None:
        counts = convert(given.archive, given.root, size=given.size, seed=given.seed)
        written = ", ".join(f"{count} images in {LAYOUT[name]}" for name, count in counts.items())
        terminal.print_line(f"{given.root}: {written}", wrap=False)

    return terminal.exit_code(run)
