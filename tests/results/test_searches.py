"""What a search came to: objectives, front, pick, history, what is printed and written of it."""

import csv
import json
from dataclasses import replace
from io import StringIO

import pytest
from runs import parent

from sweep.results import searches
from sweep.results.cells import FINISHED, Cell
from sweep.results.pick import EXCESS, RESIDUAL
from sweep.results.searches import NO_PICK, Outcome, found, pick_of, without_search
from sweep.search import Found, Space

ASR = "repaired/attack_success_rate"


def cell(job: int, lost: float, reversed_: float, corrupted: float, asr=0.5, **overrides) -> Cell:
    metrics = {"badnet/valid_accuracy": 0.95, "repaired/valid_accuracy": 0.95 - lost, ASR: asr}
    metrics |= {RESIDUAL: reversed_, EXCESS: corrupted}
    metrics |= {"badnet/clean_accuracy": 0.94, "repaired/clean_accuracy": 0.94 - lost}
    metrics |= {"badnet/attack_success_rate": 1.0}
    known = {"threat_model": "defender", "status": FINISHED, "error": "", "run_id": f"run{job}"}
    return Cell(job, overrides or {"prune/order": f"order{job}"}, metrics=metrics, **known)


CELLS = [
    cell(0, 0.01, 0.2, 0.6, strategy="answer"),
    cell(1, 0.0, 0.9, 0.1, asr=0.9),
    cell(2, 0.015, 0.3, 0.4, asr=0.01),
    cell(3, 0.05, 0.1, 0.1, asr=0.0),
    cell(4, 0.02, 0.5, 0.5),
    replace(cell(5, 0.0, 0.0, 0.0), status="FAILED", error="out of memory"),
]


def outcome(*cells: Cell, objective: str = "defender") -> Outcome:
    cells = cells or CELLS
    values = [{"order": f"order{one.job}", "how": "same"} for one in cells]
    commands = [f"python run.py prune/order=order{one.job}" for one in cells]
    return Outcome(cells, values, commands, objective, 0.02)


def cell_without(metric: str) -> Cell:
    whole = CELLS[0]
    return replace(whole, metrics={k: v for k, v in whole.metrics.items() if k != metric})


def test_a_trial_is_told_by_accuracy_and_by_the_mean_of_reversed_triggers_and_corruptions():
    one = found(CELLS[0], "defender")
    assert (one.lost, one.success) == (pytest.approx(0.01), pytest.approx(0.4))
    assert found(CELLS[1], "defender").success == 0.5
    assert found(CELLS[1], "oracle") == Found(0.0, 0.9)


def test_what_has_not_finished_or_was_not_rechecked_is_told_as_failed():
    assert found(CELLS[5], "defender") is None
    assert found(cell_without(EXCESS), "defender") is None
    assert found(cell_without(EXCESS), "oracle").success == 0.5


def test_true_attack_success_moves_neither_front_nor_pick():
    swapped = [replace(one, metrics={**one.metrics, ASR: 0.77}) for one in CELLS]
    assert outcome(*swapped).front == outcome().front == [1, 0, 2, 3]
    assert outcome(*swapped).pick.cell.job == outcome().pick.cell.job == 2
    assert outcome(*swapped).history == outcome().history


def test_the_pick_loses_at_most_what_may_be_lost():
    assert outcome(CELLS[3]).pick.cell is None
    assert replace(outcome(CELLS[3]), most_lost=0.05).pick.cell.job == 3
    assert "at most 5 points below B" in replace(outcome(CELLS[3]), most_lost=0.05).pick.sentence


def test_the_history_is_the_least_within_the_constraint():
    assert outcome().history == pytest.approx([0.4, 0.4, 0.35, 0.35, 0.35, 0.35])
    assert outcome(CELLS[3]).history == [None]


def test_an_oracle_search_has_no_pick():
    assert outcome(objective="oracle").pick.sentence == NO_PICK
    assert outcome(objective="oracle").front == [1, 0, 2, 3]


def test_the_csv_has_a_line_for_each_trial_with_its_command():
    rows = list(csv.DictReader(StringIO(searches.to_csv(outcome()))))
    assert [row["trial"] for row in rows] == list("012345")
    assert [row["front"] for row in rows] == list("111100")
    assert [row["pick"] for row in rows] == list("001000")
    assert rows[2]["command"] == "python run.py prune/order=order2"
    assert rows[2]["order"] == "order2"
    assert (rows[2]["success"], rows[5]["success"], rows[5]["status"]) == ("0.35", "", "FAILED")


def test_what_the_report_reads_is_json():
    told = json.loads(json.dumps(searches.to_dict(outcome())))
    assert (told["front"], told["pick"], told["oracle"]) == ([1, 0, 2, 3], 2, False)
    assert len(told["trials"]) == 5


def test_the_front_the_given_strategies_and_the_pick_are_printed(capsys):
    searches.print_outcome(outcome(), {"finished before": 2, "refused": 0})
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    assert "2 pick: order=order2 1.50 35.00 92.50 1.00" in words
    assert "0 front: strategy=answer 1.00 40.00" in words
    assert "B 94.00 100.0" in words
    assert "how=" not in words  # the same in all
    assert "cell 5 FAILED: out of memory" in words
    assert "6 trials, 5 of them finished; 2 finished before; trials.csv has each." in words
    assert printed.rstrip().endswith("python run.py prune/order=order2")
    assert max(map(len, printed.splitlines())) <= 80


def test_a_given_strategy_that_is_not_on_the_front_is_printed_too(capsys):
    worse = cell(0, 0.03, 0.9, 0.9, strategy="lab")
    searches.print_outcome(outcome(worse, *CELLS[1:]), {})
    assert "0 given: strategy=lab 3.00 90.00" in " ".join(capsys.readouterr().out.split())


def test_of_no_finished_trial_that_is_said(capsys):
    searches.print_outcome(outcome(CELLS[5]), {})
    words = " ".join(capsys.readouterr().out.split())
    assert "1 trials, 0 of them finished" in words
    assert "No pick: triggers were not reversed anew" in words


def test_the_pick_of_a_sweep_is_by_the_rule_of_what_it_was():
    found_by_grid, found_by_search = CELLS[0], CELLS[2]  # reversed triggers alone; the mean of both
    cells = [CELLS[0], CELLS[2]]
    of_search = {"search": "tpe", "search.most_lost": "0.02"}
    assert pick_of(None, cells).cell == pick_of(parent(), cells).cell == found_by_grid
    assert pick_of(parent(**of_search), cells).cell == found_by_search
    assert pick_of(parent(**of_search, threat_model="oracle"), cells).sentence == NO_PICK


def test_the_words_of_a_search_are_no_words_of_its_cells():
    words = ["experiment=search", "search=own", "search.trials=9", "~search.space.layer", "seed=1"]
    assert without_search([*words, "case=faces"]) == ["seed=1", "case=faces"]
    assert without_search(["experiment=answer"]) == ["experiment=answer"]


def test_the_space_is_printed_with_what_its_settings_hang_on(capsys):
    given = {
        "repair": {"key": "repair", "choices": [[], ["unlearn"]]},
        "frac": {"key": "prune.frac", "choices": [0.002, 0.02]},
        "share": {"key": "repair.unlearn.share", "low": 0.3, "high": 0.7},
    }
    given["share"]["when"] = {"repair": "unlearn"}
    searches.print_space(Space.of(given), ["seed=1"], [["strategy=lab", "verdict=false"]])
    words = " ".join(capsys.readouterr().out.split())
    assert "repair [], [unlearn]" in words
    assert "prune.frac 0.002, 0.02 repaired" in words
    assert "repair.unlearn.share 0.3 to 0.7 repair unlearn" in words
    assert "given, and not searched: seed=1" in words
    assert "first: strategy=lab verdict=false" in words


def test_the_figure_has_the_front_the_history_and_what_settings_explain():
    from sweep.results.figures.search import draw_search

    trials, history, settings = draw_search(outcome()).axes[:3]
    drawn = {line.get_gid(): line for line in [*trials.lines, *history.lines]}
    assert drawn["front"].get_xdata().tolist() == pytest.approx([0, 1, 1.5, 5])
    assert drawn["history"].get_ydata() == pytest.approx([0.4, 0.4, 0.35, 0.35, 0.35, 0.35])
    assert len(settings.patches) == 2
