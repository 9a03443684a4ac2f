"""What runs say of themselves: Markdown that a name cannot break, and numbers of the cells."""

from sweep.results.cells import FINISHED, ORACLE, Cell
from sweep.results.descriptions import SHOWN_ROWS, of_cell, of_sweep, parent_metrics
from sweep.results.pick import RESIDUAL, pick

COMMAND = "python run.py -m prune.frac=0.02,0.04"
RATES = {
    "badnet/valid_accuracy": 0.98,
    "badnet/clean_accuracy": 0.98,
    "repaired/valid_accuracy": 0.97,
    "repaired/clean_accuracy": 0.96,
    "repaired/attack_success_rate": 0.5,
    "goodnet/detection_rate": 0.4,
    "goodnet/false_alarm_rate": 0.02,
    "prune/channels": 7.0,
}


def cell(job: int, frac: str, asr: float = 0.5, **more) -> Cell:
    metrics = RATES | {"repaired/attack_success_rate": asr} | more.pop("metrics", {})
    known = {"threat_model": "defender", "status": FINISHED, "error": ""} | more
    return Cell(job, {"prune.frac": frac}, metrics=metrics, **known)


def test_a_cell_tells_the_rates_of_each_network_with_their_intervals_and_its_command():
    text = of_cell("clp at conv_3", RATES, {"test": 100, "poisoned": 50}, COMMAND)
    assert "| B' | 96.00 (90.16-98.43) | 50.00 (36.64-63.36) |" in text
    assert "GoodNet flags 40.00 (27.61-53.82) % of the poisoned" in text
    assert f"\n    {COMMAND}\n" in f"{text}\n"


def test_a_cell_without_poisoned_images_says_nothing_of_an_attack():
    clean = {name: rate for name, rate in RATES.items() if "attack" not in name}
    del clean["goodnet/detection_rate"]
    text = of_cell("clp", clean, {}, COMMAND)
    assert "ASR" not in text
    assert "poisoned" not in text
    assert "| B' | 96.00 |" in text


def test_hostile_names_are_text_and_no_markup():
    text = of_cell("<b>x</b> | [a](b) *c* `d`", RATES, {}, COMMAND)
    assert "**\\<b\\>x\\</b\\> \\| \\[a\\](b) \\*c\\* \\`d\\`**" in text
    cells = [cell(0, "a|b"), cell(1, "c")]
    lines = of_sweep(cells, pick(cells), COMMAND, "x").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {7}


def test_a_sweep_tells_its_cells_what_stands_out_its_pick_and_how_to_repeat_it():
    cells = [
        cell(0, "0.02", metrics={RESIDUAL: 0.3}),
        cell(1, "0.04", asr=0.25, metrics={RESIDUAL: 0.2}),
        cell(2, "0.1", asr=0.1, threat_model="oracle"),
        Cell(3, {"prune.frac": "0.2"}, status="FAILED", error="it broke", threat_model="defender"),
    ]
    chosen = pick(cells)
    text = of_sweep(cells, chosen, COMMAND, "the images faces")
    assert text.startswith("**4 cells** on the images faces.")
    assert "| 0.02 | 7 | 96.00 | 50.00 | 40.00 | 2.00 |" in text
    assert f"| 0.1{ORACLE} | 7 |" in text
    assert "| 0.2 | FAILED |" in text
    assert "a defender's order leaves least with frac=0.04: 25.00 %, for 2.00 points" in text
    assert f"an oracle {ORACLE} leaves least with frac=0.1{ORACLE}: 10.00 %" in text
    assert chosen.sentence in text
    assert text.endswith(f"    {COMMAND}")

    metrics = parent_metrics(cells, chosen)
    assert metrics["cells/finished"] == 3
    assert metrics["cells/failed"] == 1
    assert metrics["cells/skipped"] == metrics["cells/reused"] == 0
    assert metrics["repaired/attack_success_rate"] == 0.25
    assert metrics["pick/rank_by_attack_success"] == 1


def test_a_sweep_without_a_pick_has_counts_alone():
    cells = [cell(0, "0.02")]
    assert set(parent_metrics(cells, pick(cells))) == {
        f"cells/{status}" for status in ("finished", "failed", "skipped", "reused")
    }


def test_a_large_sweep_fits_into_a_description():
    cells = [cell(job, f"0.{job:03}") for job in range(300)]
    text = of_sweep(cells, pick(cells), COMMAND, "the images faces")
    assert len(text) < 8000
    assert f"{300 - SHOWN_ROWS} more rows stand in comparison.csv" in text
