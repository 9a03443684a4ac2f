"""A study: the same asked and told says the same again, and finds sooner than chance."""

import itertools
import sys

import pytest

from sweep import BadInput
from sweep.search import Found, Space, Study, require_optuna
from sweep.search.study import replayed, row_of

GIVEN = {
    "order": {"key": "prune/order", "choices": list("abcdefgh")},
    "repair": {"key": "repair", "choices": [[], ["finetune"], ["unlearn"], ["ft_sam"]]},
    "frac": {"key": "prune.frac", "choices": [0.002, 0.01, 0.02]},
    "share": {
        "key": "repair.unlearn.share",
        "low": 0.3,
        "high": 0.7,
        "when": {"repair": "unlearn"},
    },
    "steps": {"key": "prune.order.steps", "low": 1, "high": 99, "log": True},
}
SPACE = Space.of(GIVEN)


def outcome(values) -> Found:
    """What a trial comes to: unlearning helps most, a large fraction costs accuracy."""
    success = {"[]": 0.9, "[finetune]": 0.6, "[unlearn]": 0.1, "[ft_sam]": 0.3}[values["repair"]]
    success += "abcdefgh".index(values["order"]) / 100
    lost = 0.05 if values.get("frac") == "0.02" else 0.01
    return Found(lost, success)


def tried(seed: int, sampler: str = "tpe", trials: int = 14) -> list[dict]:
    study = Study(SPACE, sampler, seed, most_lost=0.02)
    values = []
    for _ in range(trials):
        suggestion = study.ask()
        values.append(dict(suggestion.values))
        study.tell(suggestion, outcome(suggestion.values))
    return values


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_questions_have_the_same_answers_and_another_seed_others(sampler):
    assert tried(0, sampler) == tried(0, sampler)
    assert tried(0, sampler) != tried(1, sampler)


def test_only_what_is_chosen_is_suggested_and_within_its_range():
    for values in tried(0, trials=20):
        assert ("frac" in values) == (values["repair"] != "[]")
        assert ("share" in values) == (values["repair"] == "[unlearn]")
        assert 0.3 <= values.get("share", 0.5) <= 0.7
        assert values.get("share", 0.5) == float(f"{values.get('share', 0.5):.3g}")
        assert isinstance(values["steps"], int)
        assert 1 <= values["steps"] <= 99


def test_trials_that_are_asked_for_together_are_told_later_and_failures_count_for_nothing():
    study = Study(SPACE, "tpe", 0, 0.02)
    batch = [study.ask() for _ in range(4)]
    assert len({row_of(one.values) for one in batch}) == 4
    study.tell(batch[0], None)
    for one in batch[1:]:
        study.tell(one, outcome(one.values))
    assert study.ask().values


def test_what_was_not_asked_for_is_learned_from_too():
    told = Study(SPACE, "tpe", 0, 0.02)
    plain = Study(SPACE, "tpe", 0, 0.02)
    for order in "abcdefgh":
        for repair in ("[]", "[unlearn]"):
            told.add(
                {"order": order, "repair": repair}, outcome({"order": order, "repair": repair})
            )
    asked = [[study.ask().values["repair"] for _ in range(10)] for study in (told, plain)]
    assert asked[0].count("[unlearn]") > asked[1].count("[unlearn]")


def table() -> dict:
    given = {name: GIVEN[name] for name in ("order", "repair", "frac")}
    space, rows = Space.of(given), {}
    for values in itertools.product(*(space.settings[at].choices for at in range(3))):
        chosen = dict(zip(given, values, strict=True))
        if chosen["repair"] == "[]":
            chosen.pop("frac")
        rows[row_of(chosen)] = outcome(chosen)
    return space, rows


def test_a_search_replayed_on_a_table_finds_the_best_in_fewer_cells_than_chance():
    space, rows = table()
    needed = {}
    for sampler in ("tpe", "random"):
        counts = []
        for seed in range(5):
            tried = replayed(Study(space, sampler, seed, 0.02), rows, len(rows))
            history = [rows[row] for row in tried]
            best = min(one.success for one in rows.values() if one.lost <= 0.02)
            counts.append(next(
                at for at, one in enumerate(history) if one.lost <= 0.02 and one.success == best
            ))  # fmt: skip
        needed[sampler] = sum(counts) / len(counts)
    assert needed["tpe"] < needed["random"]


def test_a_replay_tries_each_cell_once_and_ends_with_the_table():
    space, rows = table()
    assert len(rows) == 8 * (1 + 3 * 3)
    tried = replayed(Study(space, "tpe", 0, 0.02), rows, 10_000)
    assert len(tried) == len(set(tried)) == len(rows)
    assert set(tried) == set(rows)


def test_what_a_table_does_not_have_has_failed_and_is_tried_once():
    space, rows = table()
    some = dict(list(rows.items())[:40])
    tried = replayed(Study(space, "tpe", 0, 0.02), some, 30)
    assert len(tried) == len(set(tried)) == 30
    assert set(tried) - set(some)


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BadInput, match="needs the extra search: pip install"):
        require_optuna()
    with pytest.raises(BadInput, match="needs the extra search"):
        Study(SPACE, "tpe", 0, 0.02)
