"""The pick: among safe cells of defenders the one on which reversed triggers do least."""

from dataclasses import replace

import pytest

from sweep.results.cells import FINISHED, Cell
from sweep.results.pick import BOTH, NONE_SAFE, NOT_COMPUTED, RESIDUAL, pick


def cell(job: int, residual: float | None, drop: float = 0.01, asr: float | None = 0.5, **more):
    metrics = {"badnet/valid_accuracy": 0.95, "repaired/valid_accuracy": 0.95 - drop}
    if residual is not None:
        metrics[RESIDUAL] = residual
    if asr is not None:
        metrics["repaired/attack_success_rate"] = asr
    known = {"threat_model": "defender", "status": FINISHED, "error": ""}
    return Cell(job, {"seed": str(job)}, metrics=metrics, **(known | more))


def test_the_cell_on_which_triggers_do_least_is_picked_and_ranked_by_true_attack_success():
    chosen = pick([cell(0, 0.4, asr=0.1), cell(1, 0.2, asr=0.3), cell(2, 0.9, asr=0.9)])
    assert chosen.cell.job == 1
    assert (chosen.rank, chosen.of) == (2, 3)
    assert "cell 1" in chosen.sentence
    assert "its place is 2 of 3" in chosen.sentence


def test_true_attack_success_moves_no_pick():
    cells = [cell(0, 0.4, asr=0.9), cell(1, 0.2, asr=0.1)]
    swapped = [cell(0, 0.4, asr=0.1), cell(1, 0.2, asr=0.9)]
    unknown = [cell(0, 0.4, asr=None), cell(1, 0.2, asr=None)]
    assert {pick(some).cell.job for some in (cells, swapped, unknown)} == {1}
    assert pick(unknown).rank is None
    assert "true attack success" not in pick(unknown).sentence


def test_of_equal_cells_the_more_accurate_is_picked_then_the_first():
    assert pick([cell(0, 0.2, 0.02), cell(1, 0.2, 0.01), cell(2, 0.2, 0.01)]).cell.job == 1


@pytest.mark.parametrize(("drop", "safe"), [(0.02, True), (0.95 - 0.93, True), (0.0201, False)])
def test_at_most_two_points_of_clean_validation_accuracy_may_be_lost(drop, safe):
    chosen = pick([cell(0, 0.1, drop)])
    assert (chosen.cell is not None) == safe
    assert safe or chosen.sentence == NONE_SAFE.format(2)


def test_oracles_and_cells_that_did_not_end_are_never_picked():
    oracle = cell(0, 0.0, threat_model="oracle")
    failed = replace(cell(1, 0.0), status="FAILED")
    assert pick([oracle, failed, cell(2, 0.5)]).cell.job == 2
    assert pick([oracle, failed]).cell is None


def test_where_triggers_were_not_reversed_anew_there_is_no_pick_and_that_is_said():
    assert pick([cell(0, None)]).sentence == NOT_COMPUTED
    assert pick([]).cell is None


def test_cells_of_several_sweeps_that_have_one_number_keep_their_own_proxy():
    first, second = cell(0, 0.4), replace(cell(0, 0.2), run_id="other")
    assert pick([first, second]).cell is second
    assert "20.0 % of the images" in pick([first, second]).sentence


def test_of_two_rates_the_mean_counts_and_one_that_is_missing_makes_it_unknown():
    both = {RESIDUAL: 0.2, "repaired/corruption_excess": 0.6}
    assert BOTH.of(both) == pytest.approx(0.4)
    assert BOTH.of({RESIDUAL: 0.2}) is None
