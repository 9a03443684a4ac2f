"""Curves thinned, thresholds of GoodNet, pictures made small and shared."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from report_entries import entry
from runs import parent

from sweep.evaluation import detection as measured
from sweep.report import attachments
from sweep.report.attachments import ALARMS, STEPS, detection, thumbnails


def png(seed: int, size=(640, 320)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 40, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def opened(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(BytesIO(base64.b64decode(data)))


def folder(path, **contents: bytes) -> str:
    path.mkdir()
    for name, data in contents.items():
        place = path / name.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
    return path.as_uri()


def curve_csv(steps: int, attacked: bool = True) -> bytes:
    rows = ["pruned,channel,layer,clean_accuracy" + (",attack_success_rate" if attacked else "")]
    for step in range(steps):
        rest = f",{step / steps:.3f}" if attacked else ""
        rows.append(f"{step},{step - 1},conv_1,{1 - step / steps}{rest}")
    return "\n".join(rows).encode()


def test_what_a_search_logged_names_the_cells_of_its_trials(tmp_path):
    told = {"trials": [{"job": 2, "lost": 0.0, "success": 0.5}], "front": [2]}
    of_search = parent("p", search="tpe")
    place = folder(tmp_path / "p", search_dot_json=json.dumps(told).encode())
    of_search.info._artifact_uri = place
    entries = [entry(job, sweep=of_search) for job in (0, 2)]
    (found,) = attachments.searches([entry(sweep=parent("other")), *entries])
    assert found == {**told, "trials": [{"job": 2, "lost": 0.0, "success": 0.5, "cell": 2}]}
    assert attachments.searches([entry(), entry(sweep=parent("other"))]) == []


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_its_stop(tmp_path):
    place = folder(tmp_path / "run", curve_dot_csv=curve_csv(1001))
    (curve,) = attachments.curves([place], [777])
    assert len(curve.pruned) <= STEPS + 1
    assert {0, 777, 1000} <= set(curve.pruned)
    assert curve.rates["clean_accuracy"][curve.pruned.index(777)] == round(1 - 777 / 1001, 4)
    assert len(curve.channels) == 1000


def test_a_curve_without_an_attack_and_one_that_is_not_there(tmp_path):
    clean = folder(tmp_path / "a", curve_dot_csv=curve_csv(3, attacked=False))
    first, second = attachments.curves([clean, folder(tmp_path / "b")], [1, 0])
    assert list(first.rates) == ["clean_accuracy"]
    assert first.channels == [("conv_1", 0), ("conv_1", 1)]
    assert second is None


def test_a_curve_of_fewer_steps_stands_at_the_channels_pruned_and_names_them_all(tmp_path):
    rows = ["pruned,channel,layer,clean_accuracy,channels", "0,-1,,1.0,"]
    rows += ["2,5,a b,0.9,conv_1:2 a b:5", "3,0,conv_1,0.5,conv_1:0"]
    place = folder(tmp_path / "a", curve_dot_csv="\n".join(rows).encode())
    (curve,) = attachments.curves([place], [2])
    assert curve.pruned == [0, 2, 3]
    assert curve.rates["clean_accuracy"] == [1.0, 0.9, 0.5]
    assert curve.channels == [("conv_1", 2), ("a b", 5), ("conv_1", 0)]


def test_a_long_curve_of_fewer_steps_keeps_its_stop(tmp_path):
    rows = ["pruned,channel,layer,clean_accuracy,channels"]
    rows += [f"{7 * step},0,conv_1,0.5," for step in range(500)]
    place = folder(tmp_path / "a", curve_dot_csv="\n".join(rows).encode())
    (curve,) = attachments.curves([place], [7 * 123])
    assert len(curve.pruned) <= STEPS + 1
    assert {0, 7 * 123, 7 * 499} <= set(curve.pruned)


def test_what_is_not_a_number_is_left_out(tmp_path):
    data = curve_csv(2).replace(b"1.0", b"nan")
    (curve,) = attachments.curves([folder(tmp_path / "a", curve_dot_csv=data)], [0])
    assert curve.rates["clean_accuracy"] == [None, 0.5]


def test_thresholds_are_those_that_the_program_itself_sets():
    rng = np.random.default_rng(0)
    scores = {name: rng.random((2, 137)).astype(np.float32) for name in ("valid", "test")}
    scores["poisoned"] = (0.5 + rng.random((2, 50)) / 2).astype(np.float32)
    found = detection(scores)
    assert len(ALARMS) == 200
    for place in (0, 10, 60, 150):
        threshold = measured.threshold(scores["valid"][1], ALARMS[place])
        ours = found["jensen_shannon"]
        assert ours.thresholds[place] == pytest.approx(threshold, rel=1e-3)
        above = float((scores["poisoned"][1] > np.float32(threshold)).mean())
        assert ours.detected[place] == pytest.approx(above, abs=1e-4)


def test_without_poisoned_images_there_are_alarms_alone():
    scores = {name: np.random.rand(2, 40).astype(np.float32) for name in ("valid", "test")}  # noqa: NPY002
    assert detection(scores)["confidence_drop"].detected == []
    assert len(detection(scores)["confidence_drop"].alarms) == 200


@pytest.mark.parametrize("room", [20_000, 100_000])
def test_thumbnails_fit_into_their_room(room):
    uris = thumbnails([png(seed) for seed in range(12)], room)
    assert sum(map(len, uris)) <= room
    assert uris


def test_few_pictures_are_larger_and_never_larger_than_they_were():
    (alone,) = thumbnails([png(0)], 5_000_000)
    assert opened(alone).size == (640, 320)
    assert thumbnails([], 100) == []


def test_a_picture_that_runs_share_is_kept_once(tmp_path):
    same, other = png(0), png(1)
    places = [
        [folder(tmp_path / "a", attack_dot_png=same, activations_dot_png=other)],
        [folder(tmp_path / "b", attack_dot_png=same)],
        [folder(tmp_path / "c")],
    ]
    found = attachments.pictures(places, [[], [], []], 1_000_000)
    assert len(found.uris) == 2
    assert found.of_runs[0]["attack"] == found.of_runs[1]["attack"]
    assert found.of_runs[2] == {}


def test_a_picture_of_a_runs_own_stands_before_one_that_it_shares(tmp_path):
    own = folder(tmp_path / "own", attack_dot_png=png(0))
    shared = folder(tmp_path / "shared", attack_dot_png=png(1), channels_dot_png=png(2))
    found = attachments.pictures([[own, shared], [own], [shared]], [[], [], []], 1_000_000)
    first, second, third = found.of_runs
    assert first["attack"] == second["attack"] != third["attack"]
    assert first["channels"] == third["channels"]


def test_of_several_layers_each_has_its_picture(tmp_path):
    place = folder(tmp_path / "a")
    for kind in ("activations", "channels"):
        (tmp_path / "a" / kind).mkdir()
        for number, layer in enumerate(("conv_1", "conv_2")):
            (tmp_path / "a" / kind / f"{layer}.png").write_bytes(png(number))
    found = attachments.pictures([[place]], [["conv_1", "conv_2"]], 1_000_000)
    kinds = ("activations", "channels")
    assert set(found.of_runs[0]) == {f"{kind}, {n}" for kind in kinds for n in ("conv_1", "conv_2")}
