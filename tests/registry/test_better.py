"""When the alias moves: by the rule of the pick between two versions, from clean images alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.registry.better import NUMBERS, compare, unfit
from sweep.results.pick import RESIDUAL

ORACLE = "its order looked at poisoned images, which no defender has"
NOT_RECHECKED = "triggers were not reversed anew in its B' (recheck=true)"
THE_NEW = "the rule of the pick does not take the new one, as "
THAT_ONE = "the rule of the pick does not take that one, as "


def version(residual: float | None = 0.1, drop: float = 0.01, **tags: str) -> dict[str, str]:
    numbers = {"badnet/valid_accuracy": 0.95, "repaired/valid_accuracy": 0.95 - drop}
    if residual is not None:
        numbers[RESIDUAL] = residual
    known = {"threat_model": "defender", "data_digest": "one"}
    return known | {name: repr(number) for name, number in numbers.items()} | tags


ORACLES = version(0.0, threat_model="oracle")


@pytest.mark.parametrize(
    ("new", "old", "better", "why"),
    [
        (version(0.1), version(0.4), True,
         "reversed triggers do less on it, 10.0 % of the images against 40.0 %"),
        (version(0.4), version(0.1), False,
         "reversed triggers do more on the new one, 40.0 % of the images against 10.0 %"),
        (version(0.1, 0.0), version(0.1, 0.01), True,
         "reversed triggers do as much, and clean accuracy drops less, 0.00 points against 1.00"),
        (version(0.1, 0.01), version(0.1, 0.0), False,
         "reversed triggers do as much, and clean accuracy drops more, 1.00 points against 0.00"),
        (version(), version(), False, "both are equal by the rule"),
        (version(0.9), version(None), True, THAT_ONE + NOT_RECHECKED),
        (version(0.9), ORACLES, True, THAT_ONE + ORACLE),
        (version(0.9), version(0.0, 0.03), True,
         THAT_ONE + "its B' is 3.00 points below B on clean validation images, and 2 are allowed"),
        (version(None), version(0.9), False, THE_NEW + NOT_RECHECKED),
        (version(None), version(None, 0.5), False, THE_NEW + NOT_RECHECKED),
        (ORACLES, version(0.9), False, THE_NEW + ORACLE),
        (ORACLES, version(None), False, THE_NEW + ORACLE),
        (version(0.0, 0.03), version(0.9), False,
         THE_NEW + "its B' is 3.00 points below B on clean validation images, and 2 are allowed"),
        (version(0.1), version(0.4, data_digest="two"), True,
         "reversed triggers do less on it, 10.0 % of the images against 40.0 %; "
         "measured on other images"),
        (version(0.5), version(**{RESIDUAL: "nothing"}), True, THAT_ONE + NOT_RECHECKED),
        (version(0.5), version(**{RESIDUAL: "nan"}), True, THAT_ONE + NOT_RECHECKED),
        (version(0.5), {}, True, THAT_ONE + NOT_RECHECKED + "; measured on other images"),
    ],
)  # fmt: skip
def test_which_is_better_and_why(new, old, better, why):
    verdict = compare(new, old)
    assert (verdict.better, verdict.why) == (better, why)


share = st.none() | st.floats(0, 1)
versions = st.builds(
    version, share, st.floats(-0.05, 0.5), threat_model=st.sampled_from(["defender", "oracle"])
)


@given(versions, versions)
def test_of_two_versions_at_most_one_is_better_and_never_one_that_the_rule_does_not_take(one, two):
    forth, back = compare(one, two), compare(two, one)
    assert not (forth.better and back.better)
    assert not (forth.better and unfit(one))
    if unfit(one) != unfit(two) and "" in (unfit(one), unfit(two)):
        assert forth.better == (not unfit(one))


@given(versions, versions, versions)
def test_better_than_better_is_better(one, two, three):
    if compare(one, two).better and compare(two, three).better:
        assert compare(one, three).better


def test_true_attack_success_is_not_read():
    assert not [name for name in NUMBERS if "attack" in name or "clean" in name]
    known = {"repaired/attack_success_rate": "0.0"}
    assert not compare(version(0.4) | known, version(0.1)).better
