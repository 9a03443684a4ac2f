"""The sentences on top: who is best, at what price, and whether that is chance."""

import pytest
from report_entries import entry, hits

from sweep.report.answer import answer
from sweep.report.data import report


def said(*entries, known=None):
    """The answer to these cells, all of one network."""
    known = known or [None] * len(entries)
    made = report(entries, known)
    (panel,) = made.panels
    return answer(made, panel, known)


def told(found) -> str:
    return " ".join([found.headline, *found.sentences])


def test_a_defence_that_removes_the_backdoor_cheaply_is_named_with_its_intervals():
    found = said(
        entry(0, 0.01, 0.99, prune__order="clp"), entry(1, 0.9, 0.99, prune__order="random")
    )
    assert found.headline == "clp removes the backdoor here for 1.00 points of clean accuracy"
    assert "clp leaves the least attack success: 1.00 % [0.54, 1.83]" in told(found)
    assert "at clean accuracy 99.00 % [98.17, 99.46], 1.00 points below B" in told(found)
    assert "is more than chance (their 95 % intervals do not overlap)" in told(found)


def test_the_least_attack_success_at_a_ruined_accuracy_is_not_the_answer():
    found = said(
        entry(0, 0.0, 0.05, prune__order="clp"),
        entry(1, 0.6, 0.95, prune__order="l1_norm"),
        entry(2, 0.7, 0.93, prune__order="random"),
    )
    assert found.headline == (
        "No defence here removes the backdoor for 10 points of clean accuracy or less: after the "
        "best, l1_norm, 60.00 % of attacks succeed"
    )
    assert [choice.best and choice.best.label for choice in found.choices] == [
        None,
        "l1_norm",
        "l1_norm",
        "clp",
    ]


def test_where_images_are_the_same_they_are_compared_one_by_one():
    entries = [entry(0, 0.50, prune__order="clp"), entry(1, 0.52, prune__order="l1_norm")]
    by_intervals = said(*entries)
    assert "is not more than chance (their 95 % intervals overlap)" in told(by_intervals)
    by_images = said(*entries, known=[hits(0.50), hits(0.52)])
    assert "is more than chance (McNemar on the same 1,000 poisoned images, p = " in told(by_images)
    assert "the best is below that by more than chance (McNemar, p < 1e-99)" in told(by_images)


def test_seeds_are_one_strategy_and_must_all_agree():
    both = [
        entry(0, 0.50, prune__order="clp", seed="0"),
        entry(1, 0.50, prune__order="clp", seed="1"),
        entry(2, 0.52, prune__order="l1_norm", seed="0"),
        entry(3, 0.52, prune__order="l1_norm", seed="1"),
    ]
    known = [hits(0.50), hits(0.50), hits(0.52), hits(0.52)]
    found = said(*both, known=known)
    assert "(mean of 2 seeds)" in told(found)
    assert "poisoned images in each of 2 seeds, p = " in told(found)
    assert "is more than chance" in found.sentences[1]
    # in one seed it is the other way round
    turned = [hits(0.48), hits(0.55), hits(0.52), hits(0.50)]
    assert "is not more than chance" in said(*both, known=turned).sentences[1]


def test_one_that_does_no_better_than_b_is_told_so():
    found = said(entry(0, 1.0), known=[hits(1.0)])
    assert "It is the only one" in told(found)
    assert "the best is not below that by more than chance (McNemar, p = 1)" in told(found)


def test_an_oracle_is_never_the_answer():
    found = said(
        entry(0, 0.0, 0.99, oracle=True, prune__order="tac"),
        entry(1, 0.8, 0.99, prune__order="random"),
    )
    assert found.headline.endswith("after the best, random, 80.00 % of attacks succeed")
    assert "the control that knows nothing" in told(found)
    assert found.sentences[-1] == (
        "An oracle, which is shown poisoned images and is no defence, gets to 0.00 % (tac†, clean "
        "99.00 %)."
    )
    worse = said(entry(0, 0.9, oracle=True, prune__order="tac"), entry(1, 0.8, prune__order="clp"))
    assert "oracle" not in told(worse)
    alone = said(entry(0, 0.0, 0.99, oracle=True, prune__order="tac"))
    assert alone.headline == "No defence was tried here, only oracles"


def test_without_poisoned_images_nobody_knows_the_best():
    found = said(entry(0, None, 0.9, prune__frac="0.1"), entry(1, None, 0.95, prune__frac="0.02"))
    assert found.headline == "What is left of the attack is not known"
    assert "mean_activation frac=0.02 keeps the most clean accuracy: 95.00 %" in told(found)


@pytest.mark.parametrize("status", ["SKIPPED", "FAILED", "KILLED"])
def test_of_cells_without_rates_that_is_said(status):
    assert said(entry(0, status=status, error="why")).headline == "No cell has any rates"


def test_many_comparisons_are_raised_and_counted():
    orders = ["clp", "l1_norm", "bnp", "anp"]
    left = [0.500, 0.506, 0.6, 0.7]
    found = said(
        *(entry(job, one, prune__order=orders[job]) for job, one in enumerate(left)),
        known=[hits(one) for one in left],
    )
    assert "raised for 3 comparisons" in told(found)
    assert "It differs from all 3 others" in told(found) or "1 of the 3 others" in told(found)


def test_the_pick_of_a_defender_is_told_where_there_is_one():
    one, other = entry(0, 0.5, 0.99, prune__order="clp"), entry(1, 0.2, 0.99, prune__order="anp")
    one.cell.metrics["repaired/reversed_trigger_success"] = 0.1
    other.cell.metrics["repaired/reversed_trigger_success"] = 0.3
    assert said(one, other).sentences[-1].startswith("The pick is cell 0: of the 2 defenders'")
    assert "pick is cell" not in told(said(entry(0, 0.5, 0.99)))
