"""Every wrong value gets its sentence before anything starts; what is right passes."""

from copy import deepcopy
from typing import Any

import pytest

from sweep import BadInput
from sweep.cli.schema import check

REPAIRS = ("finetune", "unlearn", "ft_sam", "i_bau", "fst", "unit", "nad")


def config(**changes: Any) -> dict[str, Any]:
    """A configuration in which all is right, with some values changed by their dotted names."""
    right = {
        "seed": 0,
        "repair": {name: {} for name in REPAIRS},
        "probe": {"relearn": {}, "dose": {}},
        "data": {"identities": 120, "images_per_identity": 60, "seed": 0, "scale": 1},
        "attack": {"target": 0, "rate": 0.1},
        "badnet": {"epochs": 8, "batch_size": 64, "learning_rate": 0.002, "seed": 0},
        "prune": {
            "layer": "auto",
            "scope": "global",
            "step": 1,
            "recompute": False,
            "frac": 0.04,
            "count": 10,
            "u": 3,
            "alpha": 0.05,
            "keep": "breaching",
            "semantics": "zero",
            "unit": "channel",
            "order": {"descending": False},
        },
        "goodnet": {"false_alarm": 0.01},
        "tracking": {"uri": None, "experiment": "prunesweep"},
        "cache": {"max_gb": 10, "memory_gb": 0.25},
    }
    for name, value in changes.items():
        *way, last = name.split(".")
        section = right
        for key in way:
            section = section[key]
        section[last] = value
    return right


def test_the_configuration_that_the_other_tests_change_is_right():
    check(config())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2**40),
        ("data.scale", 255),
        ("data.scale", 255.0),
        ("attack.target", [0, 1, 2]),
        ("attack.target", {"_target_": "sweep.attacks.next_class"}),
        ("badnet.epochs", None),
        ("badnet.architecture", "vgg"),
        ("data.valid_images", 1),
        ("data.valid_images", None),
        ("data.valid_per_class", 10),
        ("data.valid_changed", "mislabelled"),
        ("data.valid_changed", None),
        ("data.channels", "first"),
        ("data.channels", "last"),
        ("data.identities", 2),
        ("data.images_per_identity", 1),
        ("data.root", "~/lab"),
        ("attack.target", 1282),
        ("badnet.architecture", None),
        ("badnet.architecture", "deepid"),
        ("badnet.path", ["one.h5", "two.h5"]),
        ("badnet.custom_objects", "layers.py"),
        ("badnet.custom_objects", ["layers.py", "my_package.layers.MyLayer"]),
        ("prune.layer", "conv_3"),
        ("prune.layer", ["conv_2", "conv_3"]),
        ("prune.layer", "all"),
        ("prune.scope", "layer"),
        ("prune.step", 1),
        ("prune.step", 1000),
        ("prune.step", 0.01),
        ("prune.step", 1e-9),
        ("prune.recompute", True),
        ("prune.u", 0.5),
        ("prune.frac", 1e-6),
        ("prune.frac", 0.999),
        ("prune.keep", "safe"),
        ("prune.semantics", "gamma"),
        ("prune.unit", "head"),
        ("prune.order", {"_target_": "sweep.orders.random"}),
        ("tracking.uri", "sqlite:///runs.db"),
        ("cache.max_gb", 0),
        ("cache.memory_gb", 1.5),
    ],
)
def test_a_right_value_passes(name, value):
    check(config(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 1.5, "integer"),
        ("seed", None, "integer"),
        ("data.scale", 0, "greater than 0"),
        ("data.scale", -255, "greater than 0"),
        ("data.scale", float("inf"), "a finite number"),
        ("data.scale", float("nan"), "a finite number"),
        ("data.scale", None, "a number"),
        ("data.valid_images", 0, "greater than or equal to 1"),
        ("data.valid_images", "all", "integer"),
        ("data.valid_per_class", 0, "greater than or equal to 1"),
        ("data.valid_changed", "dark", "'brightened', 'blurred' or 'mislabelled'"),
        ("twin", 1, "boolean"),
        ("data.channels", "middle", "'auto', 'first' or 'last'"),
        ("data.identities", 1, "greater than or equal to 2"),
        ("data.images_per_identity", 0, "greater than or equal to 1"),
        ("data.seed", -1, "greater than or equal to 0"),
        ("attack.target", -1, "a class, 0 or higher"),
        ("attack.target", 0.5, "a class, 0 or higher"),
        ("attack.rate", 0, "greater than 0"),
        ("attack.rate", 1, "less than 1"),
        ("badnet.epochs", 0, "greater than or equal to 1"),
        ("badnet.batch_size", 0, "greater than or equal to 1"),
        ("badnet.learning_rate", 0, "greater than 0"),
        ("badnet.learning_rate", float("inf"), "a finite number"),
        ("badnet.seed", -1, "greater than or equal to 0"),
        ("badnet.architecture", "lenet", "'deepid'"),
        ("badnet.custom_objects", 7, "their code runs"),
        ("prune.order", "clp", "chosen by prune/order=NAME"),
        ("prune.stop", "knee", "chosen by prune/stop=NAME"),
        ("prune.layer", 3, "a layer's name"),
        ("prune.layer", None, "a layer's name"),
        ("prune.layer", [], "expected a layer's name, a list of names, auto or all"),
        ("prune.scope", "all", "'global' or 'layer'"),
        *(
            ("prune.step", value, "channels at a time: a whole number, or a share of them between")
            for value in (0, -1, -0.5, 0.0, 1.0, 1.5, 4.0, True, False, "0.1", "many", None, [1])
        ),
        ("prune.step", float("nan"), "channels at a time"),
        ("prune.step", float("inf"), "channels at a time"),
        ("prune.recompute", "yes", "boolean"),
        ("prune.count", -1, "greater than or equal to 0"),
        ("prune.count", 1.5, "integer"),
        ("prune.u", 0, "greater than 0"),
        ("prune.alpha", 1, "less than 1"),
        ("prune.frac", 0, "greater than 0"),
        ("prune.frac", -0.02, "greater than 0"),
        ("prune.frac", 1, "less than 1"),
        ("prune.frac", 4, "less than 1"),
        ("prune.frac", float("nan"), "than"),
        ("prune.frac", "a lot", "a number"),
        ("prune.keep", "last", "'breaching' or 'safe'"),
        ("prune.semantics", "one", "'zero' or 'gamma'"),
        ("prune.unit", "heads", "'channel' or 'head'"),
        ("repair", "finetune", "a list"),
        ("repair.finetune.epochs", 0, "greater than or equal to 1"),
        (
            "repair.unlearn.by",
            "magic",
            "corruptions, universal, adversarial, mask, additive, pursued",
        ),
        ("repair.unlearn.by", [], "or some of them"),
        ("repair.unlearn.share", 1, "less than 1"),
        ("repair.ft_sam.rho", 0, "greater than 0 (how far weights are moved before a step)"),
        ("repair.fst.alpha", -0.1, "greater than or equal to 0 (weight of <w, w_old>)"),
        ("repair.i_bau.iterations", 0, "greater than or equal to 1 (of the fixed point)"),
        ("repair.unit.drop", 3, "less than 1 (of clean accuracy, at most)"),
        ("probe", "relearn", "a list of probes, as [relearn]"),
        ("probe.relearn.poisoned", 5, "a list of how many poisoned images there are"),
        ("probe.relearn.poisoned", [], "a list of how many poisoned images there are"),
        ("probe.relearn.clean", 0, "greater than or equal to 1 (clean images)"),
        ("probe.relearn.learning_rate", 0, "greater than 0"),
        ("probe.dose.doses", 0.5, "a list of factors of the change that the trigger makes"),
        ("cache.max_gb", -1, "greater than or equal to 0"),
        ("cache.memory_gb", "all", "a number"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name, value, expected):
    with pytest.raises(BadInput) as refused:
        check(config(**{name: value}))
    sentence = str(refused.value)
    assert sentence.startswith(f"{name} is {value!r}; expected ")
    assert expected in sentence
    assert "\n" not in sentence


def test_a_repair_is_refused_in_the_same_words_as_all_else():
    with pytest.raises(BadInput, match=r"^repair is \['finetune'\]; expected a list"):
        check(config(repair=["finetune"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prune.frac", "0.1"),  # a quoted number stays a string: 0 < "0.1" is a TypeError
        ("data.scale", "255"),
        ("seed", 1.0),  # default_rng(1.0) is a TypeError
        ("data.valid_images", 10.0),
        ("badnet.epochs", 2.0),
    ],
)
def test_a_value_of_another_type_is_refused_though_it_looks_like_a_number(name, value):
    with pytest.raises(BadInput, match=f"^{name} is .*; expected "):
        check(config(**{name: value}))


def test_a_whole_number_is_called_an_integer_in_good_english():
    with pytest.raises(BadInput, match="expected an integer"):
        check(config(seed="seven"))


@pytest.mark.parametrize(
    "name",
    ["seed", "repair", "probe", "data", "attack", "badnet", "prune", "prune.frac", "attack.rate"],
)
def test_a_value_that_is_not_set_is_named(name):
    given = config()
    *way, last = name.split(".")
    section = given
    for key in way:
        section = section[key]
    del section[last]
    with pytest.raises(BadInput) as refused:
        check(given)
    assert str(refused.value) == f"{name} is not set"


def test_all_wrong_values_are_told_at_once_one_a_line():
    with pytest.raises(BadInput) as refused:
        check(config(**{"seed": -1, "prune.frac": 7, "prune.keep": "last"}))
    names = [line.split(" is ")[0] for line in str(refused.value).splitlines()]
    assert sorted(names) == ["prune.frac", "prune.keep", "seed"]


def test_checking_leaves_the_configuration_as_it_is():
    given = config()
    before = deepcopy(given)
    check(given)
    assert given == before


def test_settings_of_an_order_of_ones_own_may_be_whatever_it_takes():
    mine = {"_target_": "my_package.order", "rate": 7, "steps": "many"}
    check(config(**{"prune.order": mine}))
    with pytest.raises(BadInput, match=r"prune.order.rate is 7"):
        check(config(**{"prune.order": mine | {"_target_": "sweep.orders.ep"}}))
