"""The page of detectors: their rates over all cases and in each, from runs alone."""

from mlflow.entities import Run
from runs import run, table

from sweep.evaluation.detection import auroc_interval
from sweep.results.pages import detector_panel

IMAGES = ("clean", "poisoned")
COMMAND = "experiment=detectors case=faces"


def cell(detector: str, attack: str, auroc: float | None, job: int = 0, **more: float) -> Run:
    metrics = {
        "detector/detection_rate_at_1": 0.5,
        "detector/false_alarm_rate_at_1": 0.0125,
        "detector/detection_rate_at_5": 0.75,
        "detector/false_alarm_rate_at_5": 0.0625,
        "detector/seconds_per_1000": 1.5,
        "badnet/clean_accuracy": 0.95,
        "badnet/attack_success_rate": 1.0,
        "repaired/clean_accuracy": 0.9375,
        "repaired/attack_success_rate": 0.0125,
    }
    metrics |= {} if auroc is None else {"detector/auroc": auroc}
    params = {"case": "faces", "badnet": "trained", "attack": attack, "detector": detector}
    tags = {"images_test": "80", "images_attacked": "60", "mlflow.parentRunId": "p"}
    return run(f"{detector}-{attack}-{job}", metrics | more, params, job=str(job), **tags)


def shown(*cells: Run) -> str:
    return detector_panel.page([run("p", {}, {}, overrides=COMMAND)], cells)


def test_detectors_stand_by_their_mean_over_cases_with_the_lowest_and_the_highest():
    page = shown(
        cell("ted", "blend", 0.5),
        cell("ted", "warp", 0.7),
        cell("strip", "blend", 0.9),
        cell("strip", "warp", 0.8),
        cell("mine", "warp", None),
    )
    heads, *rows = table(page, "All cases").items()
    assert heads == ("detector", ["cases", "AUROC", *detector_panel.RATES, "s"])
    rates = ["50.00", "1.25", "75.00", "6.25", "1.50"]
    assert rows == [
        ("`strip`", ["2", "0.850 (0.800-0.900)", *rates]),
        ("`ted`", ["2", "0.600 (0.500-0.700)", *rates]),
        ("`mine`", ["1", "-", *rates]),
    ]


def test_a_case_has_its_intervals_its_networks_and_how_many_images_there_are():
    page = shown(cell("ted", "blend", 0.5), cell("strip", "blend", 0.9), cell("ted", "warp", 0.7))
    low, high = auroc_interval(0.9, 80, 60)
    assert table(page, "faces, blend")["B clean"] == ["B ASR", "B' clean", "B' ASR", *IMAGES]
    assert table(page, "faces, blend")["95.00"] == ["100.0", "93.75", "1.25", "80", "60"]
    strip = table(page, "faces, blend", number=1)["`strip`"]
    assert strip[0] == f"0.900 ({low:.3f}-{high:.3f})"
    assert strip[1].startswith("50.00 (")
    blend, warp = page.split("## faces, blend")[1].split("## faces, warp")
    assert blend.index("`strip`") < blend.index("`ted`")
    assert "`strip`" not in warp


def test_the_command_and_how_to_read_it_are_there_and_no_folder_is_told():
    page = detector_panel.page(
        [run("p", {}, {}, overrides=f"{COMMAND} data.root=/home/me")], [cell("ted", "warp", 0.7)]
    )
    assert "python run.py experiment=detectors case=faces data.root=DIR" in page
    assert "/home/me" not in page
    assert "A vote has no threshold" in page


def test_a_case_in_which_the_attack_did_not_take_hold_is_in_no_mean_and_told_with_why():
    weak = {"badnet/attack_success_rate": 0.6}
    page = shown(cell("ted", "blend", 0.5), cell("ted", "warp", 0.9, **weak))
    assert table(page, "All cases")["`ted`"][:2] == ["1", "0.500"]
    said = "Without those where the attack did not take hold of B: faces, warp."
    assert said in page
    assert "The attack did not take hold of B: ASR 60.00 %, below 85 %." in page
    assert "take hold" not in shown(cell("ted", "blend", 0.5))
    alone = shown(cell("ted", "warp", 0.9, **weak))
    assert "`ted`" not in alone.split("## faces, warp")[0]
    assert "`ted`" in alone
