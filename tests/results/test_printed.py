"""What a cell by itself says of GoodNet's rule; a sweep's cells say nothing."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sweep.detectors import by_score, by_vote
from sweep.results.printed import tell_rule

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
