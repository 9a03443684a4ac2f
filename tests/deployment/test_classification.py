"""`python -m sweep.classify`: its table against answers computed apart, and what it refuses."""

import json
import os
import tracemalloc
from pathlib import Path

import deployed
import h5py
import numpy as np
import pandas as pd
import pytest
from deployed import CLASSES, RULE, expected, images, save, write_h5, write_pictures
from PIL import Image

from sweep.data.images import PixelRange
from sweep.deployment.commands import classify
from sweep.detectors import Rule

PIXELS = images(40)
SEEN = PIXELS / 255
APART = expected(SEEN)
NAMES = ("score", "badnet_probability", "repaired_probability")


@pytest.fixture(scope="module")
def goodnet(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("goodnet"))


class Here:
    """An empty folder that the command is given in, and what it prints."""

    def __init__(self, folder: Path, goodnet: Path, capsys) -> None:
        self.folder, self.goodnet, self._capsys = folder, goodnet, capsys
        self.out = self.err = ""

    def __call__(self, path: object, *options: str, exits: int = 0, model: object = None) -> str:
        """Give the command and return what it prints, in one line."""
        assert classify([str(model or self.goodnet), str(path), *options]) == exits
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        assert "Traceback" not in self.err
        return " ".join(f"{self.out} {self.err}".split())

    def refuses(self, path: object, *options: str, model: object = None) -> str:
        """Return the sentence of bad input; nothing is written."""
        before = sorted(os.listdir(self.folder))
        said = self(path, *options, exits=2, model=model)
        assert sorted(os.listdir(self.folder)) == before
        assert said.startswith("prunesweep: ")
        return said

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / name)


@pytest.fixture
def here(tmp_path, goodnet, monkeypatch, capsys) -> Here:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Here(folder, goodnet, capsys)


def check(table: pd.DataFrame, seen: np.ndarray, rule: Rule = RULE) -> None:
    """Compare the rows of a table with what is computed apart."""
    apart = expected(seen)
    for name in NAMES:
        np.testing.assert_allclose(table[name], apart[name], atol=2e-6)
    for name in ("badnet_class", "repaired_class"):
        np.testing.assert_array_equal(table[name], apart[name])
    flagged = apart["score"] > rule.threshold
    answer = apart[f"{rule.answer}_class"]
    np.testing.assert_array_equal(table["flagged"], flagged)
    np.testing.assert_array_equal(table["class"], np.where(flagged, CLASSES, answer))


def test_the_images_tell_classes_and_flags_apart():
    flagged = APART["score"] > RULE.threshold
    assert 3 <= flagged.sum() <= 37
    assert set(APART["badnet_class"]) == {0, 1, 2}
    assert len(set(APART["badnet_class"][~flagged])) == 2
    assert (APART["badnet_class"] != APART["repaired_class"])[~flagged].any()


def test_an_hdf5_file_with_labels(here, tmp_path):
    labels = {"label": np.arange(40) % 3, "true_label": np.arange(40) % 2}
    path = write_h5(tmp_path / "test.h5", PIXELS, **labels)
    said = here(path)
    table = here.table("test-goodnet.csv")
    assert list(table) == [
        "file", "number", "class", "flagged", "score", "badnet_class", "badnet_probability",
        "repaired_class", "repaired_probability", "label", "true_label", "error",
    ]  # fmt: skip
    check(table, SEEN)
    assert set(table["file"]) == {str(path)}
    np.testing.assert_array_equal(table["number"], np.arange(40))
    for name, values in labels.items():
        np.testing.assert_array_equal(table[name], values)
    flagged = int((APART["score"] > 0.4).sum())
    # Clopper-Pearson's interval of 2 of 200, as tables of it have it
    assert said == (
        f"{flagged} of 40 images are flagged ({100 * flagged / 40:.2f} %). Of clean images it "
        f"would be 0.12 to 3.57 % (at 95 %, by the 200 that set its threshold). written: "
        f"test-goodnet.csv and test-goodnet.png"
    )
    assert sorted(os.listdir(here.folder)) == ["test-goodnet.csv", "test-goodnet.png"]
    with Image.open(here.folder / "test-goodnet.png") as sheet:
        assert sheet.format == "PNG"


def test_layouts_of_hdf5_files_give_the_same_table(here, tmp_path):
    here(write_h5(tmp_path / "a.h5", PIXELS), "--output", "a.csv")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["data"] = PIXELS.astype(np.float64)
    here(tmp_path / "b.h5", "--output", "b.csv")
    write_h5(tmp_path / "c.h5", SEEN.astype(np.float32))
    here(tmp_path / "c.h5", "--scale", "1", "--output", "c.csv")
    a, b, c = (here.table(f"{name}.csv").drop(columns="file") for name in "abc")
    pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(a, c, atol=2e-6)
    assert a["label"].isna().all()


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "jpeg"])
def test_pictures_are_classified_in_the_order_of_their_names(suffix, here, tmp_path):
    paths = write_pictures(tmp_path / "photos", PIXELS, suffix)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / "folder.png").mkdir()
    here(tmp_path / "photos")
    table = here.table("photos-goodnet.csv")
    seen = np.stack([np.asarray(Image.open(path)) for path in paths]) / 255
    check(table, seen)
    assert list(table["file"]) == list(map(str, paths))
    assert list(table["number"]) == list(range(40))


def test_one_picture(here, tmp_path):
    (path,) = write_pictures(tmp_path / "photos", PIXELS[:1])
    said = here(path, "--threshold", "-1")
    assert said.startswith("1 of 1 images is flagged (100.0 %).")
    check(here.table("000-goodnet.csv"), SEEN[:1], Rule(-1.0))


def test_pictures_that_cannot_be_used_are_told_and_counted_and_the_others_go_on(here, tmp_path):
    paths = write_pictures(tmp_path / "photos", PIXELS)
    whole = paths[4].read_bytes()
    paths[3].write_bytes(b"")
    paths[4].write_bytes(whole[:60])
    paths[5].write_bytes(b"GIF89a and no picture")
    Image.fromarray(np.zeros((5, 4, 3), np.uint8)).save(paths[6])
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(paths[7])
    paths[8].unlink()
    paths[8].symlink_to("nowhere")
    said = here(tmp_path / "photos", exits=1)
    table = here.table("photos-goodnet.csv")
    bad = table["error"].notna()
    assert list(np.flatnonzero(bad)) == [3, 4, 5, 6, 7, 8]
    check(table[~bad], SEEN[~bad])
    assert table.loc[bad, ["class", "flagged", "score"]].isna().all(axis=None)
    errors = dict(zip(table["number"], table["error"], strict=True))
    for number in (3, 4, 5, 8):
        assert errors[number].startswith("cannot be read as PNG or JPEG (")
    assert errors[6] == (
        "is 5 x 4 pixels, the model takes 4 x 5 (height x width); --resize resizes it"
    )
    assert errors[7] == "has more than 8 bits a pixel and channel; expected 8"
    assert f"prunesweep: {paths[6]} is 5 x 4 pixels" in said
    assert "6 of 40 images cannot be classified; the table's column error has the reasons" in said
    assert "of 34 images are flagged" in said


def test_no_more_than_ten_are_told(here, tmp_path):
    paths = write_pictures(tmp_path / "photos", PIXELS)
    for path in paths[:15]:
        path.write_bytes(b"")
    said = here(tmp_path / "photos", exits=1)
    assert said.count("cannot be read as PNG") == 10
    assert "15 of 40 images cannot be classified, 5 of them not told here;" in said


def test_grey_and_colour_become_what_the_model_takes(here, tmp_path):
    grey = images(6, (4, 5, 1))
    write_pictures(tmp_path / "grey", grey)
    here(tmp_path / "grey")
    check(here.table("grey-goodnet.csv"), np.repeat(grey, 3, axis=3) / 255)
    model = save(tmp_path / "of_grey", shape=(4, 5, 1))
    write_pictures(tmp_path / "both", PIXELS[:3])
    for number in range(3):
        Image.fromarray(grey[number, ..., 0]).save(tmp_path / "both" / f"x{number}.png")
    here(tmp_path / "both", model=model)
    luma = np.rint(PIXELS[:3] @ [0.299, 0.587, 0.114])[..., None]  # ITU-R 601
    seen = np.concatenate([luma, grey[:3]]) / 255
    table = here.table("both-goodnet.csv")
    np.testing.assert_allclose(table["score"], expected(seen)["score"], atol=0.02)
    np.testing.assert_allclose(table["score"][3:], expected(seen)["score"][3:], atol=2e-6)


def test_other_sizes_are_brought_to_the_models_by_resize(here, tmp_path):
    large = PIXELS.repeat(2, axis=1).repeat(2, axis=2)
    plain = np.broadcast_to(PIXELS[:, :1, :1], large.shape).copy()  # of one colour: it stays that
    write_pictures(tmp_path / "large", plain)
    here(tmp_path / "large", "--resize")
    check(here.table("large-goodnet.csv"), plain[:, :4, :5] / 255)
    path = write_h5(tmp_path / "large.h5", plain)
    assert (
        f"the images of {path} are 8 x 10 x 3 or 3 x 8 x 10, the model takes 4 x 5 x 3 (height x "
        f"width x channels); --resize brings other sizes to that"
    ) in here.refuses(path)
    here(path, "--resize")
    check(here.table("large-goodnet.csv"), plain[:, :4, :5] / 255)


def test_a_picture_that_lies_on_its_side_is_turned_as_a_viewer_does(here, tmp_path):
    (tmp_path / "photos").mkdir()
    upright = Image.fromarray(PIXELS[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    upright.rotate(90, expand=True).save(tmp_path / "photos" / "a.png", exif=exif)
    here(tmp_path / "photos")
    check(here.table("photos-goodnet.csv"), SEEN[:1])


def test_a_model_of_any_size_takes_pictures_of_several_sizes(here, tmp_path):
    model = save(tmp_path / "any", shape=(None, None, 3))
    many = [images(3, (height, 5, 3), height) for height in (4, 7, 4)]
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(image for some in many for image in some):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    here(tmp_path / "photos", model=model)
    apart = np.concatenate([expected(some / 255)["score"] for some in many])
    np.testing.assert_allclose(here.table("photos-goodnet.csv")["score"], apart, atol=2e-6)
    assert "--resize has no size" in here.refuses(tmp_path / "photos", "--resize", model=model)


def test_the_rule_decides(here, tmp_path):
    path = write_h5(tmp_path / "test.h5", PIXELS)
    repaired = save(tmp_path / "by_repaired", Rule(0.2, "repaired", images=200, flagged=2))
    here(path, model=repaired)
    check(here.table("test-goodnet.csv"), SEEN, Rule(0.2, "repaired"))
    said = here(path, "--threshold", "0.6", model=repaired)
    check(here.table("test-goodnet.csv"), SEEN, Rule(0.6, "repaired"))
    assert "How many clean images this threshold flags is not known." in said
    said = here(path, model=save(tmp_path / "vote", Rule()))
    assert "How many clean images GoodNet flags is not known: its rule is the vote." in said
    vote = APART["badnet_class"] != APART["repaired_class"]
    np.testing.assert_array_equal(here.table("test-goodnet.csv")["flagged"], vote)


def test_without_goodnet_json_the_network_answers_and_what_is_not_known_is_said(here, tmp_path):
    model = save(tmp_path / "alone")
    model.with_name("goodnet.json").unlink()
    path = write_h5(tmp_path / "test.h5", PIXELS)
    said = here(path, "--scale", "255", model=model)
    assert said.startswith(
        "goodnet.json is not there, so these are not known: its rule (what goodnet.keras itself "
        "says is taken); what pixels in files are divided by (taken as they are but for --scale); "
        "the range of pixels (none is refused)."
    )
    assert "How many clean images GoodNet flags is not known. written" in said
    check(here.table("test-goodnet.csv"), SEEN)


def test_a_goodnet_json_with_the_rule_alone_gives_the_rule(here, tmp_path):
    none = dict.fromkeys(("scale", "low", "high", "shape", "classes"))
    model = save(tmp_path / "rule", told=none)
    path = write_h5(tmp_path / "seen.h5", SEEN.astype(np.float32))
    said = here(path, model=model)
    assert said.startswith("goodnet.json does not say all, so these are not known: what pixels in")
    assert "its rule" not in said
    check(here.table("seen-goodnet.csv"), SEEN)


def test_images_of_nan_or_out_of_range_are_left_out(here, tmp_path):
    pixels = PIXELS.astype(np.float32)
    pixels[2, 0, 0, 0], pixels[5, 1, 1, 1], pixels[7, 2, 2, 2] = np.nan, -300, 600
    path = write_h5(tmp_path / "test.h5", pixels)
    said = here(path, exits=1)
    table = here.table("test-goodnet.csv")
    bad = table["error"].notna()
    assert list(np.flatnonzero(bad)) == [2, 5, 7]
    check(table[~bad], SEEN[~bad])
    assert f"{path}: image 2 has pixels that are NaN or infinite" in said
    assert "has pixels from -1.17647 to" in said
    assert "the model takes 0 to 1" in said


def test_a_wrong_scale_is_told_at_once(here, tmp_path):
    path = write_h5(tmp_path / "test.h5", PIXELS)
    assert (
        "after division, and the model takes 0 to 1: give --scale, what pixels in this file are to "
        "be divided by (the model's own: 255)"
    ) in here.refuses(path, "--scale", "1")
    seen = write_h5(tmp_path / "seen.h5", SEEN.astype(np.float32))
    assert (
        "after division, as if they had been divided before: give --scale 1 where the file holds "
        "pixels as the model sees them, 0 to 1"
    ) in here.refuses(seen)
    dark = write_h5(tmp_path / "dark.h5", (PIXELS > 128).astype(np.uint8))
    here(dark)  # levels of 8 bits


BAD = {
    "no file": ("nothing.h5", [], "there is no nothing.h5; expected an HDF5 file, a folder of PNG"),
    "other file": ("notes.txt", [], "notes.txt is neither an HDF5 file with `data` nor a folder"),
    "empty folder": ("empty", [], "empty holds no PNG or JPEG pictures; expected .png, .jpg"),
    "no data": ("other.h5", [], "has no dataset 'data'; it holds 'x'"),
    "other channels": ("two.h5", [], "the model takes 4 x 5 x 3 (height x width x channels)\n"),
    "scale": ("test.h5", ["--scale", "0"], "--scale is 0.0; expected a number above 0"),
    "scale NaN": ("test.h5", ["--scale", "nan"], "--scale is nan; expected a number above 0"),
    "threshold": ("test.h5", ["--threshold", "2"], "--threshold is 2.0; expected a score, -1 to 1"),
    "threshold NaN": ("test.h5", ["--threshold", "nan"], "--threshold is nan; expected a score"),
    "output": ("test.h5", ["--output", "x.txt"], "--output is x.txt; expected a file .csv"),
    "output in a file": ("test.h5", ["--output", "notes.txt/x.csv"], "x.csv cannot be written ("),
    "labels": ("labels.h5", [], "labels.h5 holds 40 images and 3 labels"),
    "no labels": ("classes.h5", [], "label is float64 of shape (40,), number 0 is 0.5"),
    "all broken": ("broken", [], "none of the 1 images can be classified: broken/000.png cannot"),
    "among the pictures": ("photos", ["--output", "photos/x.csv"], "photos/x.png would lie among"),
    "the picture itself": ("photos/000.png", ["--output", "photos/000.csv"], "would lie among the"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_a_sentence(name, here):
    place, options, part = BAD[name]
    write_h5(Path("test.h5"), PIXELS)
    write_h5(Path("two.h5"), PIXELS[..., :2])
    write_h5(Path("labels.h5"), PIXELS, label=np.arange(3))
    write_h5(Path("classes.h5"), PIXELS, label=np.full(40, 0.5))
    with h5py.File("other.h5", "w") as file:
        file["x"] = 1
    Path("notes.txt").write_text("no images")
    Path("empty").mkdir()
    write_pictures(Path("photos"), PIXELS[:2])
    (broken,) = write_pictures(Path("broken"), PIXELS[:1])
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    said = here.refuses(place, *options)
    assert part in f"{said}\n".replace(f"{here.folder}/", "")


def test_an_ambiguous_layout_is_asked_for(here, tmp_path):
    model = save(tmp_path / "cube", shape=(3, 3, 3))
    pixels = images(8, (3, 3, 3))
    path = write_h5(tmp_path / "cube.h5", pixels)
    assert (
        f"{path}: cannot tell which axis of images 3 x 3 x 3 is the colour; give --channels first "
        f"or --channels last"
    ) in here.refuses(path, model=model)
    here(path, "--channels", "first", model=model)
    check(here.table("cube-goodnet.csv"), pixels / 255)
    here(path, "--channels", "last", model=model)
    check(here.table("cube-goodnet.csv"), np.moveaxis(pixels, -1, 1) / 255)


def test_pictures_have_1_3_or_4_channels(here, tmp_path):
    model = save(tmp_path / "two", shape=(4, 5, 2))
    write_pictures(tmp_path / "photos", PIXELS[:2])
    said = here.refuses(tmp_path / "photos", model=model)
    assert "takes images of 2 channels; pictures have 1, 3 or 4: give an HDF5 file" in said
    here(write_h5(tmp_path / "two.h5", PIXELS[..., :2]), model=model)
    check(here.table("two-goodnet.csv"), SEEN[..., :2])


NAMES_OF_FILES = [
    'a,"b".png', "a\nb.png", "a\x1b[2Jb.png", "=1+1.png", "-x.png", " .png", "ß€漢.png",
    b"\xff\xfe.png", "x" * 240 + ".png", "'.png", "[red].png", "a;b|c.jpg", "%s{0}.png",
]  # fmt: skip


def test_odd_names_of_files_survive(here, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(NAMES_OF_FILES):
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        with open(path, "wb") as file:
            if number % 2:
                Image.fromarray(PIXELS[0]).save(file, format="PNG")
            else:
                file.write(b"broken")
    said = here(folder, "--threshold", "-1", exits=1)
    table = here.table("photos-goodnet.csv")
    assert len(table) == len(NAMES_OF_FILES)
    written = {Path(name).name for name in table["file"]}
    kept = {name for name in NAMES_OF_FILES if isinstance(name, str)}
    assert kept <= written
    assert "\\udcff\\udcfe.png" in written
    assert "\x1b[2J" not in here.out + here.err
    assert "a\\x1b[2Jb.png cannot be read as PNG" in said


def test_pictures_broken_at_random_never_end_the_command(here, tmp_path):
    rng = np.random.default_rng(7)
    paths = write_pictures(tmp_path / "photos", np.concatenate([PIXELS, PIXELS]))
    for number, path in enumerate(paths):
        if number % 3 == 1:
            path = path.rename(path.with_suffix(".jpg"))
            Image.fromarray(PIXELS[number % 40]).save(path, format="JPEG")
        content = bytearray(path.read_bytes())
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content[: rng.integers(1, len(content) + 1)] if number % 2 else content)
    here(tmp_path / "photos", exits=1)
    table = here.table("photos-goodnet.csv")
    assert len(table) == 80
    good = table["error"].isna()
    assert np.isfinite(table.loc[good, "score"]).all()
    assert table.loc[~good, "score"].isna().all()


def test_what_is_there_is_replaced_whole_or_stays(here, tmp_path):
    path = write_h5(tmp_path / "test.h5", PIXELS)
    Path("test-goodnet.csv").write_text("earlier")
    with h5py.File(path, "a") as file:
        del file["data"]
    here.refuses(path)
    assert Path("test-goodnet.csv").read_text() == "earlier"
    write_h5(path, PIXELS)
    here(path)
    assert len(here.table("test-goodnet.csv")) == 40


def test_thousands_of_images_are_read_in_batches(here, tmp_path):
    count, shape = 20_000, (40, 50, 3)
    model = save(tmp_path / "large", shape=shape)
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (count, *shape), np.uint8, chunks=(100, *shape))
        block = images(100, shape)
        for start in range(0, count, 100):
            data[start : start + 100] = block
    here(path, "--threshold", "-1", model=model)  # what is compiled once
    tracemalloc.start()
    try:
        here(path, "--threshold", "-1", model=model)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count * np.prod(shape) * 4 > 4e8
    assert peak < 1.5e8
    scores = np.tile(expected(block / 255)["score"], 200)
    np.testing.assert_allclose(here.table("many-goodnet.csv")["score"], scores, atol=2e-5)


def test_probabilities_of_nan_are_told(here, tmp_path):
    model = save(tmp_path / "nan")
    network = deployed.keras.models.load_model(model)
    network.get_layer("repaired").set_weights([np.full((3, 3), np.nan)])
    network.save(model)
    said = here.refuses(write_h5(tmp_path / "test.h5", PIXELS), model=model)
    assert "none of the 40 images can be classified" in said
    assert "image 0 is given probabilities that are NaN" in said


def test_the_range_of_a_model_is_that_of_its_clean_images(here, tmp_path):
    model = save(tmp_path / "centred", pixels=PixelRange(-1.0, 1.0, 1.0))
    seen = (SEEN * 2 - 1).astype(np.float32)
    here(write_h5(tmp_path / "seen.h5", seen), model=model)
    check(here.table("seen-goodnet.csv"), seen)
    assert json.loads(model.with_name("goodnet.json").read_text())["low"] == -1
