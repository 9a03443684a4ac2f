"""A space of settings: which are chosen under which others, and the words that choose them."""

import re

import pytest

from sweep import BadInput
from sweep.search import Space
from sweep.search.space import word

GIVEN = {
    "order": {"key": "prune/order", "choices": ["clp", "anp"]},
    "repair": {"key": "repair", "choices": [[], ["finetune"], ["unlearn", "finetune"]]},
    "frac": {"key": "prune.frac", "choices": [0.002, 0.02]},
    "share": {
        "key": "repair.unlearn.share",
        "low": 0.3,
        "high": 0.7,
        "when": {"repair": "unlearn"},
    },
}


def space(repaired: bool = False, **more) -> Space:
    return Space.of({**GIVEN, **more}, repaired)


def chosen(space: Space, **values) -> list[str]:
    """The names of the settings that are chosen where these values are."""
    return [setting.name for setting in space.settings if space.is_chosen(setting, values)]


def test_what_hangs_on_a_repair_is_chosen_where_the_list_holds_it():
    assert chosen(space(), repair="[unlearn,finetune]") == ["order", "repair", "frac", "share"]
    assert chosen(space(), repair="[finetune]") == ["order", "repair", "frac"]


def test_where_to_stop_is_no_trial_of_its_own_without_a_repair():
    assert chosen(space(), repair="[]") == ["order", "repair"]
    of_stop = {"key": "prune.stop.window", "low": 1, "high": 9}
    assert "window" not in chosen(space(window=of_stop), repair="[]")
    assert "window" in chosen(space(window=of_stop), repair="[finetune]")


@pytest.mark.parametrize("repaired", [True, False])
def test_where_no_setting_repairs_the_command_line_says_whether_there_is_a_repair(repaired):
    alone = Space.of({name: GIVEN[name] for name in ("order", "frac")}, repaired)
    assert [setting.name for setting in alone.settings] == ["order", "frac"]
    assert chosen(alone) == (["order", "frac"] if repaired else ["order"])


def test_the_words_of_a_command_line_choose_the_values_in_turn():
    values = {"order": "clp", "repair": "[unlearn,finetune]", "frac": "0.02", "share": 0.612}
    assert space().overrides(values) == [
        "prune/order=clp",
        "repair=[unlearn,finetune]",
        "prune.frac=0.02",
        "repair.unlearn.share=0.612",
    ]


def test_each_choice_and_each_end_of_a_range_stands_beside_what_it_needs():
    singles = space().single_choices()
    told = {(setting.name, value) for setting, value, _ in singles}
    assert told == {
        ("order", "clp"), ("order", "anp"),
        ("repair", "[]"), ("repair", "[finetune]"), ("repair", "[unlearn,finetune]"),
        ("frac", "0.002"), ("frac", "0.02"), ("share", 0.3), ("share", 0.7),
    }  # fmt: skip
    for setting, value, values in singles:
        assert values[setting.name] == value
        assert [*values] == chosen(space(), **values)


def test_what_hangs_on_what_is_given_is_searched_where_that_holds_it_and_no_longer_hangs_on_it():
    left = space().fixing({"repair": ["unlearn"]})
    assert [one.name for one in left.settings] == ["order", "frac", "share"]
    assert "share" in chosen(Space(left.settings, True))
    deeper = {"key": "seed", "choices": [1, 2], "when": {"share": 0.5}}
    for repair in ([], ["finetune"]):
        left = space(deeper=deeper).fixing({"repair": repair})
        assert [one.name for one in left.settings] == ["order", "frac"]


def test_text_that_means_something_on_the_command_line_stands_in_quotes():
    odd = {"key": "tracking.experiment", "choices": ["a,b", "it's", "plain", None]}
    of_odd = Space.of({"odd": odd})
    words = [of_odd.overrides({"odd": value})[0] for value in of_odd.settings[0].choices]
    assert words == [
        "tracking.experiment='a,b'", "tracking.experiment='it\\'s'", "tracking.experiment=plain",
        "tracking.experiment=null",
    ]  # fmt: skip


def test_what_hangs_on_what_no_other_is_is_never_chosen():
    never = {"key": "seed", "choices": [1], "when": {"repair": "nad"}}
    assert [one.name for one in space(never=never).never_chosen] == ["never"]
    assert [one.name for one in space().fixing({"repair": []}).never_chosen] == ["frac"]
    assert space().never_chosen == []


def test_a_choice_can_be_taken_out():
    left = space().without_choice("order", "clp")
    assert [*left.settings[0].choices] == ["anp"]
    assert [*space().settings[0].choices] == ["clp", "anp"]


def test_a_value_of_a_config_is_found_among_the_choices_or_within_the_range():
    order, repair, frac, share = space().settings
    assert order.read("anp") == "anp"
    assert order.read("tac") is None
    assert repair.read(["unlearn", "finetune"]) == "[unlearn,finetune]"
    assert frac.read(0.02) == "0.02"
    assert (share.read(0.5), share.read(0.9), share.read(True)) == (0.5, None, None)


def test_a_range_of_whole_numbers_is_one():
    given = {"steps": {"key": "prune.order.steps", "low": 10, "high": 100, "log": True}}
    assert Space.of(given).settings[0].whole
    assert [Space.of(given).settings[0].read(value) for value in (20, 20.5, 200)] == [
        20,
        None,
        None,
    ]
    assert not space().settings[3].whole


def test_what_is_null_is_left_out():
    assert [one.name for one in space(order=None).settings] == ["repair", "frac", "share"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("clp", "search.space.new is 'clp'; expected key and choices, or key, low and high"),
        ({"choices": [1]}, "expected key and choices, or key, low and high"),
        ({"key": "seed", "choices": []}, "search.space.new: expected a list of choices"),
        ({"key": "seed", "choices": 3}, "expected a list of choices"),
        ({"key": "seed", "choices": [1], "low": 0}, "expected a list of choices, or low and high"),
        ({"key": "seed"}, "goes from None to None; expected choices, or low and high"),
        ({"key": "seed", "low": 3, "high": 3}, "goes from 3 to 3"),
        ({"key": "seed", "low": 0, "high": 3, "log": True}, "numbers above 0 of which high is"),
        ({"key": "seed", "low": "a", "high": 3}, "goes from 'a' to 3"),
        ({"key": "seed", "low": False, "high": True}, "goes from False to True"),
        ({"key": "seed", "choices": [1], "upto": 3}, "has upto; expected key, choices, low"),
        ({"key": "seed", "choices": [1], "when": {"later": 1}},
         "is chosen by what later is; expected the name of a setting before it: order, repair"),
        ({"key": "prune/order", "choices": ["rnp"]}, "sets prune/order twice"),
        ({"key": "strategy", "choices": ["lab"]}, "sets strategy, which is all of it at once"),
    ],
)  # fmt: skip
def test_what_is_no_setting_is_refused(setting, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        space(new=setting)


def test_words_are_such_as_hydra_reads():
    assert [word(value) for value in (["a", "b"], None, False, 3, 0.02, "x")] == [
        "[a,b]", "null", "false", "3", "0.02", "x",
    ]  # fmt: skip
