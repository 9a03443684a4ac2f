"""What a cell says of GoodNet's rule, if it is by itself; what curves will take."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sweep.detectors import by_score, by_vote
from sweep.estimation import Estimate, Pace
from sweep.results.printed import print_estimates, print_total, tell_rule

CLEAN = np.linspace(0, 0.6, 300)


def told(rule, sweep, capsys) -> tuple[dict, str]:
    logged = {}
    tell_rule(SimpleNamespace(sweep=sweep, text=logged.__setitem__), rule)
    return json.loads(logged["goodnet.json"]), " ".join(capsys.readouterr().out.split())


def test_of_a_score_threshold_images_and_what_they_say_of_others(capsys):
    rule = by_score(CLEAN, false_alarm=0.01)
    logged, said = told(rule, None, capsys)
    low, high = logged["tolerance"]
    assert logged["flagged"] == 3
    assert f"over {logged['threshold']:.4f} less" in said
    assert "3 of the 300 clean images that set it" in said
    assert f"{100 * low:.2f} to {100 * high:.2f} % of others" in said


def test_of_a_vote_that_it_is_one(capsys):
    logged, said = told(by_vote(CLEAN), None, capsys)
    assert logged["threshold"] is None
    assert said == "GoodNet flags an image where B and B' disagree (goodnet=vote)."


@pytest.mark.parametrize("make", [by_score, by_vote])
def test_in_a_sweep_it_is_logged_and_not_said(make, capsys):
    logged, said = told(make(CLEAN), "a sweep", capsys)
    assert logged["images"] == (300 if make is by_score else 0)
    assert said == ""


def estimated(layer: str, seconds: float, memory: float) -> Estimate:
    pace = Pace(2048, 2049, 200704, "pointwise", seconds, to_cut=0.0, curve=0.0, whole=0.5)
    return Estimate(layer, pace, images=6000, passed=6000, curves=16, memory=memory)


def test_the_widest_row_of_what_curves_take_has_80_columns(capsys):
    print_estimates(
        {3: estimated("conv5_block3_3_conv", 59_994, 2.34e9)}, {"it is not trained yet"}
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == [
        *("conv5_block3_3_conv", "pointwise", "2048", "200704", "6000", "16"),
        *("20.0", "999.9", "2.3"),
    ]
    assert lines[-1] == "What it takes cannot be estimated: it is not trained yet."


def test_a_total_is_told_from_half_a_minute_on(capsys):
    print_total([estimated("conv_1", 14, 1e9), estimated("conv_2", 15, 2e9)])
    assert capsys.readouterr().out == ""
    print_total([estimated("conv_1", 4000, 3e9), estimated("conv_2", 15, 2e9)])
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("About 1 h 7 min to come for all curves, and memory up to 3.0 GB;")
