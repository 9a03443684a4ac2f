"""What an order may see, how it declares what it needs, and what is said where that is missing."""

import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import PurePath

import numpy as np
import pytest

from sweep import BadInput, NotApplicable, files
from sweep.orders import ep, l1_norm, mean_activation, random, tac, taylor, weights
from sweep.pruning import Evidence, Oracle, needs, requirements
from sweep.pruning.evidence import Training, required
from sweep.pruning.requirements import NEEDS, code_of, is_oracle, needs_of, require

MAPS = np.arange(24.0, dtype=np.float32).reshape(2, 2, 2, 3)  # two images of 2 x 2 positions
DEFENDER = Evidence([MAPS], 3, None, 0)


@needs("poisoned", "labels")
def peeking(evidence):
    raise AssertionError("nobody calls it here")


def undeclared(evidence):
    raise AssertionError("nobody calls it here")


def test_an_order_declares_what_it_needs_also_behind_partials():
    assert needs_of(l1_norm) == {"weights"}
    assert needs_of(partial(partial(l1_norm, descending=True), descending=False)) == {"weights"}
    assert needs_of(taylor) == {"weights", "labels", "gradients"}


def test_an_order_that_declares_nothing_needs_activations_and_one_may_need_nothing_at_all():
    assert needs_of(undeclared) == needs_of(mean_activation) == {"activations"}
    assert needs_of(random) == frozenset()


def test_declaring_a_need_that_nobody_knows_fails_at_once():
    with pytest.raises(ValueError, match="moonlight"):
        needs("weights", "moonlight")


def test_an_oracle_is_what_declares_poisoned_images_also_behind_partials():
    assert is_oracle(peeking)
    assert is_oracle(partial(partial(peeking)))
    assert not is_oracle(undeclared)
    assert not is_oracle(taylor)


def test_a_defenders_evidence_holds_no_poisoned_images():
    assert not {"poisoned", "clean"} & {field.name for field in fields(Evidence)}
    for name in ("poisoned", "clean"):
        with pytest.raises(AttributeError):
            getattr(DEFENDER, name)


@pytest.mark.parametrize("oracle", [ep, tac])
def test_an_oracle_cannot_look_at_a_defenders_evidence(oracle):
    seen = Evidence([MAPS], 3, None, 0, preactivations=[MAPS])
    with pytest.raises(AttributeError, match="poisoned"):
        oracle(seen)


def test_an_oracle_is_given_what_a_defender_has_and_the_pairs():
    seen = Oracle([MAPS], 3, None, 0, poisoned=DEFENDER, clean=DEFENDER)
    assert isinstance(seen, Evidence)
    assert seen.poisoned is seen.clean is DEFENDER
    with pytest.raises(TypeError):
        Oracle([MAPS], 3, None, 0)


@pytest.mark.parametrize("need", NEEDS)
def test_an_order_without_what_it_needs_is_not_applicable_and_says_what_and_where(need):
    order = needs(need)(lambda evidence: None)
    there = dict.fromkeys(NEEDS, 1)
    require(order, "add_1", there)
    with pytest.raises(NotApplicable) as raised:
        require(partial(order), "add_1", there | {need: None})
    assert f"needs {NEEDS[need]}, and at 'add_1' there is none" in str(raised.value)
    assert isinstance(raised.value, BadInput)


def test_what_an_order_does_not_need_may_be_missing():
    require(l1_norm, "conv_3", dict.fromkeys(NEEDS) | {"weights": MAPS})
    require(random, "conv_3", dict.fromkeys(NEEDS))


def test_what_nobody_looked_for_yet_is_not_called_missing():
    require(l1_norm, "conv_3", {})


def test_an_empty_array_is_there():
    require(l1_norm, "conv_3", {"weights": np.zeros(0)})


def test_the_module_of_an_order_is_found_also_behind_partials():
    assert files.module_of(partial(partial(l1_norm), descending=True)) is weights
    assert files.module_of(needs_of) is requirements


def test_the_code_of_an_order_is_all_that_orders_are_made_of_and_of_anothers_its_module():
    assert code_of(partial(l1_norm)) == ["orders", "training"]
    assert code_of(partial(PurePath)) == ["orders", "training", sys.modules[PurePath.__module__]]


def test_what_an_order_trains_with_is_not_there_for_some_of_the_channels():
    seen = replace(DEFENDER, training=Training(None, None))
    assert seen.select(np.array([0, 2])).training is None


def test_a_statistic_is_taken_image_by_image_of_maps_of_any_rank_and_progress_is_told():
    told = []
    seen = Evidence([MAPS, MAPS[:1]], 3, None, 0, told.append)
    largest = seen.per_image(lambda maps: maps.max(axis=1))
    np.testing.assert_array_equal(largest, [[9, 10, 11], [21, 22, 23], [9, 10, 11]])
    assert told == [2, 1]
    dense = Evidence([MAPS[:, 0, 0]], 3, None, 0)
    np.testing.assert_array_equal(dense.per_image(lambda maps: maps.sum(axis=1)), MAPS[:, 0, 0])


def test_a_statistic_is_taken_of_other_batches_where_some_are_given():
    told = []
    seen = Evidence([MAPS], 3, None, 0, told.append)
    of_others = seen.per_image(lambda maps: maps.min(axis=1), of=iter([-MAPS[:1]]))
    np.testing.assert_array_equal(of_others, [[-9, -10, -11]])
    assert told == [1]


def test_an_order_that_reads_what_it_does_not_declare_is_told_so():
    np.testing.assert_array_equal(required(MAPS), MAPS)
    with pytest.raises(ValueError, match="name it in its @needs"):
        l1_norm(DEFENDER)


def test_an_oracles_evidence_of_some_channels_is_of_these_alone_everywhere():
    pairs = Oracle([MAPS], 3, None, 0, poisoned=replace(DEFENDER, maps=[MAPS + 1]), clean=DEFENDER)
    some = pairs.select(np.array([2]))
    assert isinstance(some, Oracle)
    for evidence, maps in ((some, MAPS), (some.poisoned, MAPS + 1), (some.clean, MAPS)):
        assert evidence.channels == 1
        np.testing.assert_array_equal(np.concatenate(list(evidence.maps)), maps[..., 2:])
